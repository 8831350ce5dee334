package ollama_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/ollama"
	"github.com/coaidev/coai/models"
)

const (
	helloLine = `{"model":"llama3.2:3b","created_at":"2026-11-24T00:00:00Z","message":{"role":"assistant","content":"Hello"},"done":false}` + "\n"
	doneLine  = `{"model":"llama3.2:3b","created_at":"2026-11-24T00:00:01Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"prompt_eval_count":26,"eval_count":2}` + "\n"
)

func hello() providers.Request {
	return providers.Request{Model: "llama3.2:3b", Input: &models.ChatCompletionInput{
		Model: "llama", Messages: []models.ChatMessage{{Role: models.RoleMessageUser, Content: models.TextContent("Hi")}},
	}}
}

func server(t testing.TB, cfg ollama.Config, script http.HandlerFunc) *ollama.Provider {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // as a server must, to see the client leave
		r.Body = io.NopCloser(bytes.NewReader(body))
		script(w, r)
	}))
	t.Cleanup(s.Close)
	cfg.BaseURL = s.URL
	return ollama.New(cfg, s.Client())
}

func wantClass(t testing.TB, err error, want providers.Class) {
	t.Helper()
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != want || errors.Is(err, io.EOF) {
		t.Errorf("%v, want class %s", err, className(want))
	}
}

func TestSilence(t *testing.T) {
	for name, first := range map[string]string{"while it loads": "", "in the middle": helloLine} {
		t.Run(name, func(t *testing.T) {
			p := server(t, ollama.Config{FirstByteTimeout: 50 * time.Millisecond, IdleTimeout: 30 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, first)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			_, err := collect(t, p, hello())
			wantClass(t, err, providers.Timeout)
			_, err = p.Complete(t.Context(), hello())
			wantClass(t, err, providers.Timeout)
		})
	}
}

func TestLineTooLarge(t *testing.T) {
	p := server(t, ollama.Config{MaxBytes: 1 << 16}, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, helloLine+`{"message":{"content":"`+strings.Repeat("x", 1<<17)+`"}}`+"\n"+doneLine)
	})
	chunks, err := collect(t, p, hello())
	wantClass(t, err, providers.Malformed)
	if len(chunks) != 2 {
		t.Errorf("%d chunks", len(chunks))
	}
}

// Lines of megabytes are real: long arguments of tools.
func TestLongLine(t *testing.T) {
	text := strings.Repeat("word ", 1<<20)
	p := server(t, ollama.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"message":{"content":"`+text+`"}}`+"\n"+doneLine)
	})
	answer, err := p.Complete(t.Context(), hello())
	if err != nil {
		t.Fatal(err)
	}
	if body, err := answer.Body(); err != nil || *body.Choices[0].Message.Content != text {
		t.Errorf("the text was cut, or %v", err)
	}
}

// A connection whose answer was read to its end is used again.
func TestConnectionIsUsedAgain(t *testing.T) {
	seen := map[string]bool{}
	p := server(t, ollama.Config{}, func(w http.ResponseWriter, r *http.Request) {
		seen[r.RemoteAddr] = true
		_, _ = io.WriteString(w, helloLine+doneLine)
	})
	for range 3 {
		if _, err := collect(t, p, hello()); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d connections", len(seen))
	}
}

func TestEmbeddings(t *testing.T) {
	var sent []byte
	var path string
	p := server(t, ollama.Config{}, func(w http.ResponseWriter, r *http.Request) {
		sent, _ = io.ReadAll(r.Body)
		path = r.URL.Path
		_, _ = io.WriteString(w, `{"model":"nomic","embeddings":[[0.25,-1.5],[1e-3,2]],"total_duration":14,"prompt_eval_count":8}`)
	})
	if !p.Serves(providers.Embeddings) || p.Serves(providers.Responses) {
		t.Error("serves the wrong endpoints")
	}
	for format, want := range map[string]string{
		"float": `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-1.5]},{"object":"embedding","index":1,"embedding":[1e-3,2]}],"model":"emb","usage":{"prompt_tokens":8,"total_tokens":8}}`,
		"base64": `{"object":"list","data":[{"object":"embedding","index":0,"embedding":"` + floats(0.25, -1.5) +
			`"},{"object":"embedding","index":1,"embedding":"` + floats(1e-3, 2) + `"}],"model":"emb","usage":{"prompt_tokens":8,"total_tokens":8}}`,
	} {
		reply, err := p.Relay(t.Context(), providers.Call{
			Endpoint: providers.Embeddings, Model: "nomic", Asked: "emb",
			Body: []byte(`{"model":"emb","input":["a","b"],"encoding_format":"` + format + `","dimensions":2,"user":"u"}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(reply.Body); err != nil || string(got) != want || reply.ContentType != "application/json" {
			t.Errorf("%s: %s, %v", format, got, err)
		}
		if string(sent) != `{"model":"nomic","input":["a","b"],"dimensions":2}` || path != "/api/embed" {
			t.Errorf("sent %s to %s", sent, path)
		}
	}
	for body, param := range map[string]string{
		`{"input":[1,2]}`:                           "input",
		`{"input":[[1]]}`:                           "input",
		`{"model":"x"}`:                             "input",
		`{"input":"a","encoding_format":"int8"}`:    "encoding_format",
		`{"input":"a","input_type":"search_query"}`: "input_type",
	} {
		_, err := p.Relay(t.Context(), providers.Call{Endpoint: providers.Embeddings, Body: []byte(body)})
		wantClass(t, err, providers.Rejected)
		if e := providers.AsError(err); e.Param != param {
			t.Errorf("%s: param %q", body, e.Param)
		}
	}
	_, err := p.Relay(t.Context(), providers.Call{Endpoint: providers.Speech})
	wantClass(t, err, providers.NoModel)
}

func floats(list ...float32) string {
	var b []byte
	for _, x := range list {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestEmbeddingFailures(t *testing.T) {
	for answer, want := range map[string]providers.Class{
		`{"embeddings":["x"]}`: providers.Malformed,
		`{}`:                   providers.Malformed,
		`<html>`:               providers.Malformed,
	} {
		p := server(t, ollama.Config{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		_, err := p.Relay(t.Context(), providers.Call{Endpoint: providers.Embeddings, Body: []byte(`{"input":"a"}`)})
		wantClass(t, err, want)
	}
	p := server(t, ollama.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":"model \"nomic\" not found, try pulling it first"}`)
	})
	_, err := p.Relay(t.Context(), providers.Call{Endpoint: providers.Embeddings, Body: []byte(`{"input":"a"}`)})
	wantClass(t, err, providers.NoModel)
}

func TestModels(t *testing.T) {
	p := server(t, ollama.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/api/tags" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		_, _ = io.WriteString(w, `{"models":[{"name":"llama3.2:latest","size":1},{"name":"nomic-embed-text:latest"}]}`)
	})
	names, err := p.Models(t.Context())
	if err != nil || strings.Join(names, " ") != "llama3.2:latest nomic-embed-text:latest" {
		t.Errorf("%v, %v", names, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever a server sends: no panic, only JSON objects as chunks, the same
// outcome when asked again, and a proper end only after a finish reason.
func FuzzStream(f *testing.F) {
	f.Add([]byte(helloLine + doneLine))
	f.Add([]byte(`{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},{"function":{"arguments":"{}"}}]},"done":true}`))
	f.Add([]byte(helloLine + `{"error":"boom"}`))
	f.Add([]byte("\xef\xbb\xbf" + helloLine + "\r\n\r\n" + doneLine[:40]))
	f.Add([]byte(`{"message":{"content":"\ud800 ` + "\xff" + `"},"done":true,"eval_count":-1,"prompt_eval_count":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := ollama.New(ollama.Config{BaseURL: "http://upstream.test", MaxBytes: 1 << 16}, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1}, nil
		})})
		chunks, err := collect(t, p, hello())
		finished := false
		for _, raw := range chunks {
			var c models.ChunkBody
			if err := json.Unmarshal(raw, &c); err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			for _, choice := range c.Choices {
				finished = finished || choice.FinishReason != nil
			}
		}
		if (err == nil) != finished {
			t.Errorf("finished %v, but %v", finished, err)
		}
		whole, failure := p.Complete(t.Context(), hello())
		if (failure == nil) != (err == nil) {
			t.Errorf("streamed: %v, whole: %v", err, failure)
		}
		if failure == nil {
			if raw, err := whole.JSON(); err != nil || !json.Valid(raw) {
				t.Errorf("%s, %v", raw, err)
			}
		}
	})
}
