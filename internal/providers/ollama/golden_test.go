package ollama_test

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

	"go.uber.org/goleak"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/ollama"
	"github.com/coaidev/coai/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each folder of testdata is a case: input.json is the request to us,
// request.json what the upstream got, upstream.ndjson what it answered, and
// completion.json, chunks.json or error.json what came of it (chunks and error
// when a stream broke off). case.json holds what differs from the usual. Ids and
// times of our own making are written as id and 0.
var update = flag.Bool("update", false, "write the golden files anew")

type goldenCase struct {
	Whole  bool   `json:"whole"` // Complete instead of Stream
	Raw    bool   `json:"raw"`   // input.json came over REST
	Drop   bool   `json:"drop"`  // leave out what is not supported
	Status int    `json:"status"`
	Type   string `json:"type"` // of the answer's content
}

type goldenError struct {
	Class   string `json:"class"`
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Param   string `json:"param,omitempty"`
	Message string `json:"message"`
	Cause   string `json:"cause,omitempty"`
}

func className(c providers.Class) string {
	return [...]string{"unavailable", "rejected", "credential", "rate_limited", "no_model", "timeout", "malformed", "unusable", "canceled"}[c]
}

const apiKey = "ollama-test-0123456789abcdef"

func TestGolden(t *testing.T) {
	folders, err := filepath.Glob("testdata/*/input.json")
	if err != nil || len(folders) < 20 {
		t.Fatalf("%d cases, %v", len(folders), err)
	}
	for _, path := range folders {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) { runGolden(t, dir) })
	}
}

func runGolden(t *testing.T, dir string) {
	c := goldenCase{Status: http.StatusOK, Type: "application/x-ndjson"}
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
	if err := in.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Raw {
		in.Raw = input
	}
	upstream, err := os.ReadFile(filepath.Join(dir, "upstream.ndjson"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var request []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if request, err = io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/api/chat" || r.Header.Get("Authorization") != "Bearer "+apiKey {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		w.Header().Set("Content-Type", c.Type)
		w.WriteHeader(c.Status)
		_, _ = w.Write(upstream)
	}))
	defer server.Close()
	p := ollama.New(ollama.Config{BaseURL: server.URL, APIKey: apiKey, DropUnsupported: c.Drop}, server.Client())
	req := providers.Request{Input: in, Model: "llama3.2:3b"}

	got := map[string][]byte{}
	var failure error
	if c.Whole {
		var answer *models.ChatCompletion
		if answer, failure = p.Complete(t.Context(), req); failure == nil {
			got["completion.json"], failure = answer.JSON()
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
func collect(t testing.TB, p *ollama.Provider, req providers.Request) (chunks [][]byte, failure error) {
	t.Helper()
	st, err := p.Stream(t.Context(), req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.Close() }()
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
		if err != nil || !json.Valid(raw) || bytes.ContainsAny(raw, "\r\n") {
			t.Errorf("%v: %s", err, raw)
		}
		chunks = append(chunks, raw)
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
	g := goldenError{Class: className(e.Class), Status: e.Status, Code: e.Code, Param: e.Param, Message: e.Message}
	if e.Cause != nil {
		g.Cause = e.Cause.Error()
	}
	b, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var made = regexp.MustCompile(`"(chatcmpl-|call_)[0-9a-v]{26}"|"created":\d+`)

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	got = made.ReplaceAllFunc(got, func(b []byte) []byte {
		if b[1] == 'c' && b[2] == 'r' {
			return []byte(`"created":0`)
		}
		return []byte(`"id"`)
	})
	want, err := os.ReadFile(path)
	if *update {
		switch {
		case len(got) == 0 && err == nil:
			err = os.Remove(path)
		case len(got) > 0:
			err = os.WriteFile(path, append(got, '\n'), 0o644)
		default:
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
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
