package openai_test

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
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/openai"
	"github.com/coaidev/coai/models"
)

// Each folder of testdata is a case: input.json is the request to us,
// request.json what the upstream got, upstream.* what it answered, and
// completion.json, chunks.json or error.json what came of it (chunks and error
// when a stream broke off). case.json holds what differs from the usual.
var update = flag.Bool("update", false, "write the golden files anew")

type goldenCase struct {
	Whole         bool              `json:"whole"` // Complete instead of Stream
	Raw           bool              `json:"raw"`   // input.json came over REST
	ExtraText     string            `json:"extra"`
	UpstreamModel string            `json:"upstream_model"`
	Status        int               `json:"status"`
	Headers       map[string]string `json:"headers"`
	Quirks        openai.Quirks     `json:"quirks"`
	Azure         string            `json:"azure"` // path of the resource's endpoint: Azure instead of OpenAI
	Path          string            `json:"path"`  // what the upstream is asked for; default /v1/chat/completions
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

const apiKey = "sk-test-0123456789abcdef"

func TestGolden(t *testing.T) {
	folders, err := filepath.Glob("testdata/*/input.json")
	if err != nil || len(folders) < 25 {
		t.Fatalf("%d cases, %v", len(folders), err)
	}
	for _, path := range folders {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) { runGolden(t, dir) })
	}
}

func runGolden(t *testing.T, dir string) {
	c := goldenCase{UpstreamModel: "gpt-4o", Status: http.StatusOK, Path: "/v1/chat/completions"}
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
		if request, err = io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		if r.ContentLength != int64(len(request)) {
			t.Errorf("Content-Length %d for %d bytes", r.ContentLength, len(request))
		}
		key := r.Header.Get("Authorization")
		if c.Azure != "" {
			key = "Bearer " + r.Header.Get("Api-Key")
		}
		if r.Method != http.MethodPost || r.URL.String() != c.Path || key != "Bearer "+apiKey {
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
	p := openai.New(openai.Config{BaseURL: server.URL + "/v1", APIKey: apiKey, Quirks: c.Quirks}, server.Client())
	if c.Azure != "" {
		var err error
		if p, err = openai.NewAzure(openai.AzureConfig{Config: openai.Config{BaseURL: server.URL + c.Azure, APIKey: apiKey, Quirks: c.Quirks}}, server.Client()); err != nil {
			t.Fatal(err)
		}
	}
	req := providers.Request{Input: in, Model: c.UpstreamModel}

	got := map[string][]byte{}
	var failure error
	if c.Whole {
		var answer *models.ChatCompletion
		if answer, failure = p.Complete(t.Context(), req); failure == nil {
			got["completion.json"], failure = answer.JSON()
			if _, err := answer.Body(); err != nil {
				t.Errorf("the answer cannot be decoded: %v", err)
			}
		}
	} else {
		var chunks [][]byte
		chunks, failure = collect(t, p, req)
		if failure == nil || len(chunks) > 0 {
			got["chunks.json"] = append(append([]byte("[\n"), bytes.Join(chunks, []byte(",\n"))...), "\n]"...)
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
func collect(t testing.TB, p *openai.Provider, req providers.Request) (chunks [][]byte, failure error) {
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
		chunk = chunk.Owned()
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
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", dir, files, err)
	}
	body, err = os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return body, filepath.Ext(files[0])
}
