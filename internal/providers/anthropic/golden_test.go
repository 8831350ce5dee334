package anthropic_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
	"github.com/coaidev/coai/models"
)

// Each folder of testdata is a case: input.json is the request to us,
// request.json what the upstream got, upstream.* what it answered, and
// completion.json, chunks.json or error.json what came of it (chunks and error
// when a stream broke off). Without upstream.* it must not be asked. case.json
// holds what differs from the usual.
var update = flag.Bool("update", false, "write the golden files anew")

type goldenCase struct {
	Whole         bool              `json:"whole"` // Complete instead of Stream
	Raw           bool              `json:"raw"`   // input.json came over REST
	ExtraText     string            `json:"extra"`
	UpstreamModel string            `json:"upstream_model"`
	MaxOutput     int               `json:"max_output"` // the catalogue's cap
	Drop          bool              `json:"drop_unsupported"`
	Status        int               `json:"status"`
	Headers       map[string]string `json:"headers"`
}

type goldenError struct {
	Class   string  `json:"class"`
	Status  int     `json:"status,omitempty"`
	Code    string  `json:"code,omitempty"`
	Param   string  `json:"param,omitempty"`
	Message string  `json:"message"`
	Retry   float64 `json:"retry_seconds,omitempty"`
	Cause   string  `json:"cause,omitempty"`
}

func className(c providers.Class) string {
	return [...]string{"unavailable", "rejected", "credential", "rate_limited", "no_model", "timeout", "malformed", "unusable", "canceled"}[c]
}

// created is the time of an answer, which differs each time.
var created = regexp.MustCompile(`"created":[0-9]+`)

const apiKey = "sk-ant-test-0123456789abcdef"

func TestGolden(t *testing.T) {
	folders, err := filepath.Glob("testdata/*/input.json")
	if err != nil || len(folders) < 60 {
		t.Fatalf("%d cases, %v", len(folders), err)
	}
	for _, path := range folders {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) { runGolden(t, dir) })
	}
}

func runGolden(t *testing.T, dir string) {
	c := goldenCase{UpstreamModel: "claude-sonnet-4-5", Status: http.StatusOK}
	if b, err := os.ReadFile(filepath.Join(dir, "case.json")); err == nil {
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
	}
	input := read(t, dir, "input.json")
	in := new(models.ChatCompletionInput)
	if err := json.Unmarshal(input, in); err != nil {
		t.Fatal(err)
	}
	in.Extra = models.JSON(c.ExtraText)
	if c.Raw {
		in.Raw = input
	}
	if err := in.Validate(); err != nil && !c.Raw {
		t.Fatal(err)
	}
	upstream, kind := upstreamFile(t, dir)

	var request []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if kind == "" {
			t.Error("the upstream was asked")
		}
		if request, err = io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		if r.ContentLength != int64(len(request)) {
			t.Errorf("Content-Length %d for %d bytes", r.ContentLength, len(request))
		}
		if r.Method != http.MethodPost || r.URL.Path != "/v1/messages" || r.Header.Get("X-Api-Key") != apiKey ||
			r.Header.Get("Anthropic-Version") != "2023-06-01" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		w.Header().Set("Content-Type", map[string]string{".sse": "text/event-stream", ".json": "application/json", ".html": "text/html; charset=utf-8"}[kind])
		for k, v := range c.Headers {
			w.Header().Set(k, v)
		}
		w.WriteHeader(c.Status)
		_, _ = w.Write(upstream)
	}))
	defer server.Close()
	p := anthropic.New(anthropic.Config{BaseURL: server.URL, APIKey: apiKey, DropUnsupported: c.Drop}, server.Client())
	req := providers.Request{Input: in, Model: c.UpstreamModel, MaxOutputTokens: c.MaxOutput}

	got := map[string][]byte{}
	var failure error
	if c.Whole {
		var answer *models.ChatCompletion
		if answer, failure = p.Complete(t.Context(), req); failure == nil {
			got["completion.json"], failure = answer.JSON()
			got["completion.json"] = created.ReplaceAll(got["completion.json"], []byte(`"created":0`))
			if _, err := answer.Body(); err != nil {
				t.Errorf("the answer cannot be decoded: %v", err)
			}
		}
	} else {
		var chunks [][]byte
		chunks, failure = collect(t, p, req)
		if failure == nil || len(chunks) > 0 {
			got["chunks.json"] = created.ReplaceAll(append(append([]byte("[\n"), bytes.Join(chunks, []byte(",\n"))...), "\n]"...), []byte(`"created":0`))
		}
	}
	got["request.json"] = request
	if failure != nil {
		got["error.json"] = describeError(t, failure)
	}
	for _, name := range []string{"request.json", "completion.json", "chunks.json", "error.json"} {
		compare(t, filepath.Join(dir, name), got[name])
	}
}

// collect reads a stream to its end, and gives an error other than io.EOF.
func collect(t testing.TB, p *anthropic.Provider, req providers.Request) (chunks [][]byte, failure error) {
	t.Helper()
	st, err := p.Stream(t.Context(), req)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	for {
		chunk, err := st.Next()
		if err != nil {
			if _, again := st.Next(); !errors.Is(again, err) {
				t.Errorf("after %v another call gives %v", err, again)
			}
			if errors.Is(err, io.EOF) {
				return chunks, nil
			}
			return chunks, err
		}
		raw, err := chunk.JSON()
		if err != nil || !json.Valid(raw) {
			t.Errorf("%v: %s", err, raw)
		}
		chunks = append(chunks, raw)
		if _, err := chunk.Body(); err != nil {
			t.Errorf("a chunk cannot be decoded: %v", err)
		}
	}
}

func describeError(t testing.TB, err error) []byte {
	t.Helper()
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *providers.Error", err)
	}
	if strings.Contains(e.Error(), apiKey) {
		t.Errorf("the error holds the key: %v", e)
	}
	g := goldenError{Class: className(e.Class), Status: e.Status, Code: e.Code, Param: e.Param, Message: e.Message, Retry: e.Retry.Seconds()}
	if e.Cause != nil {
		g.Cause = e.Cause.Error()
	}
	b, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(path)
	if *update {
		switch {
		case got == nil && err == nil:
			err = os.Remove(path)
		case got != nil:
			err = os.WriteFile(path, append(got, '\n'), 0o644)
		default:
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil && got != nil {
		t.Errorf("%s is new (run with -update to take it):\n%s", path, got)
		return
	}
	if !bytes.Equal(bytes.TrimSuffix(want, []byte("\n")), got) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b)
}

func upstreamFile(t *testing.T, dir string) (body []byte, kind string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "upstream.*"))
	if len(files) == 0 { // nothing may be asked of it
		return nil, ""
	}
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", dir, files, err)
	}
	body, err = os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return body, filepath.Ext(files[0])
}
