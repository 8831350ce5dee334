package openai_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/openai"
	"github.com/coaidev/coai/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	helloChunk  = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],"usage":null}`
	finishChunk = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`
	completion  = `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}`
)

func hello() providers.Request {
	return providers.Request{Model: "gpt-4o", Input: &models.ChatCompletionInput{
		Model: "gpt-4o", Messages: []models.ChatMessage{{Role: models.RoleMessageUser, Content: models.TextContent("Hi")}},
	}}
}

// upstream runs a scripted server until the test ends.
func upstream(t testing.TB, cfg openai.Config, script http.HandlerFunc) *openai.Provider {
	t.Helper()
	server := httptest.NewServer(script)
	t.Cleanup(server.Close)
	if cfg.BaseURL == "" {
		cfg.BaseURL = server.URL + "/v1"
	} else {
		cfg.BaseURL = server.URL + cfg.BaseURL
	}
	return openai.New(cfg, server.Client())
}

// events writes data lines and sends them off.
func events(w http.ResponseWriter, data ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, d := range data {
		_, _ = fmt.Fprintf(w, "data: %s\n\n", d)
	}
	_ = http.NewResponseController(w).Flush()
}

// open starts a stream that ends with the test.
func open(t testing.TB, p *openai.Provider) providers.Stream {
	t.Helper()
	st, err := p.Stream(t.Context(), hello())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func wantClass(t testing.TB, err error, want providers.Class) {
	t.Helper()
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *providers.Error", err)
	}
	if e.Class != want {
		t.Errorf("class %s, want %s: %v", className(e.Class), className(want), err)
	}
	if errors.Is(err, io.EOF) {
		t.Errorf("%v may be taken for a proper end", err)
	}
}

func TestHeaders(t *testing.T) {
	var got *http.Request
	p := upstream(t, openai.Config{
		BaseURL: "/openai/v1/?api-version=2024", Organization: "org-1", APIKey: "sk-1234",
		Headers: map[string]string{"api-key": "azure", "User-Agent": "mine", "Host": "front.example", "Content-Length": "7"},
	}, func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = io.WriteString(w, completion)
	})
	if _, err := p.Complete(t.Context(), hello()); err != nil {
		t.Fatal(err)
	}
	if got.URL.String() != "/openai/v1/chat/completions?api-version=2024" || got.Host != "front.example" {
		t.Errorf("asked %s of %s", got.URL, got.Host)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer sk-1234", "OpenAI-Organization": "org-1", "Api-Key": "azure",
		"User-Agent": "mine", "Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "gzip",
	} {
		if v := got.Header.Get(name); v != want && name != "Accept-Encoding" {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}

	p = upstream(t, openai.Config{}, func(w http.ResponseWriter, r *http.Request) {
		got = r
		events(w, helloChunk, finishChunk, "[DONE]")
	})
	if _, err := collect(t, p, hello()); err != nil {
		t.Fatal(err)
	}
	if h := got.Header; h.Get("Accept") != "text/event-stream" || h.Get("User-Agent") != "coai" || h.Values("Authorization") != nil || h.Values("Openai-Organization") != nil {
		t.Errorf("headers without settings: %v", h)
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	listener.Close()
	for _, base := range []string{closed, "", "localhost:1", "ftp://x.test", "http://[::1", "http:///v1"} {
		p := openai.New(openai.Config{BaseURL: base}, &http.Client{})
		_, err := p.Complete(t.Context(), hello())
		wantClass(t, err, providers.Unavailable)
		_, err = p.Stream(t.Context(), hello())
		wantClass(t, err, providers.Unavailable)
		if message := providers.AsError(err).Message; strings.Contains(message, "127.0.0.1") {
			t.Errorf("the message has an address: %s", message)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var asked atomic.Int32
	p := upstream(t, openai.Config{}, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "/v1/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := p.Complete(t.Context(), hello())
	wantClass(t, err, providers.Unavailable)
	if asked.Load() != 1 {
		t.Errorf("%d requests", asked.Load())
	}
}

func TestLargeEvents(t *testing.T) {
	large := strings.Replace(helloChunk, " hello", strings.Repeat("x", 10<<20), 1)
	script := func(w http.ResponseWriter, _ *http.Request) { events(w, helloChunk, large, finishChunk, "[DONE]") }
	chunks, err := collect(t, upstream(t, openai.Config{}, script), hello())
	if err != nil || len(chunks) != 3 || string(chunks[1]) != large {
		t.Errorf("%d chunks, %v", len(chunks), err)
	}
	chunks, err = collect(t, upstream(t, openai.Config{MaxBytes: 1 << 20}, script), hello())
	wantClass(t, err, providers.Malformed)
	if len(chunks) != 1 {
		t.Errorf("%d chunks", len(chunks))
	}
}

func TestLargeAnswers(t *testing.T) {
	large := strings.Replace(completion, "Hi", strings.Repeat("x", 3<<20), 1)
	for _, announced := range []bool{true, false} {
		script := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if announced {
				w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			}
			_, _ = io.WriteString(w, large)
		}
		answer, err := upstream(t, openai.Config{}, script).Complete(t.Context(), hello())
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := answer.JSON(); err != nil || string(raw) != large {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
		_, err = upstream(t, openai.Config{MaxBytes: 1 << 20}, script).Complete(t.Context(), hello())
		wantClass(t, err, providers.Malformed)
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
	_, err := upstream(t, openai.Config{}, endless).Complete(t.Context(), hello())
	wantClass(t, err, providers.Malformed)
}

// A stream that ended properly leaves its connection for the next request.
func TestConnectionIsUsedAgain(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"stream":true`)) {
			events(w, helloChunk, finishChunk, "[DONE]")
			return
		}
		_, _ = io.WriteString(w, completion)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	p := openai.New(openai.Config{BaseURL: server.URL}, server.Client())
	for range 20 {
		if _, err := collect(t, p, hello()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Complete(t.Context(), hello()); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for requests one after another", n)
	}
}

// The bytes of a chunk that is kept do not change when the next is read.
func TestChunksKeepTheirBytes(t *testing.T) {
	var sent []string
	for i := range 200 {
		sent = append(sent, strings.Replace(helloChunk, " hello", strings.Repeat(fmt.Sprint(i%10), 1+i*7), 1))
	}
	p := upstream(t, openai.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		events(w, append(sent, finishChunk, "[DONE]")...)
	})
	chunks, err := collect(t, p, hello())
	if err != nil || len(chunks) != len(sent)+1 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	for i, want := range sent {
		if string(chunks[i]) != want {
			t.Errorf("chunk %d was %s", i, chunks[i])
		}
	}
}

func TestRetryAfterDate(t *testing.T) {
	for header, want := range map[string]time.Duration{
		time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		"9e99": time.Hour, "-5": 0, "NaN": 0, "soon": 0, "0": 0,
	} {
		p := upstream(t, openai.Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := p.Complete(t.Context(), hello())
		wantClass(t, err, providers.RateLimited)
		if got := providers.AsError(err).Retry; got > want || got < want-2*time.Second {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// What an upstream says about a rejected request is shown without anything
// that is not the client's business.
func TestMessagesAreScrubbed(t *testing.T) {
	const own = "opaque0own0secret"
	for text, want := range map[string]string{
		"Bad value for 'temperature': 3.":                          "Bad value for 'temperature': 3.",
		"Key sk-proj-ab12***xyz9 is wrong, see org-AbC_12.":        "Key *** is wrong, see ***",
		"key is " + own + "!":                                      "key is ***!",
		"sent Authorization: Bearer abc.def-ghi to the server":     "sent Authorization: *** to the server",
		"GET https://user:pw@internal.example:8443/v1?key=1 fails": "GET *** fails",
		`api_key="abc123", api key: xyz`:                           `***", ***`,
		"10.1.2.3:8080 and [fd00::1]:443 refused":                  "*** and *** refused",
		"ask admin@corp.example":                                   "ask ***",
		"jwt eyJhbGciOiJI.eyJzdWIi.c2ln":                           "jwt ***",
		"AIzaSyA1234567890 is\n\tnot\x00valid":                     "*** is not valid",
		"header value was hdr-secret-1":                            "header value was ***",
		strings.Repeat("é", 600):                                   strings.Repeat("é", 499) + "…",
	} {
		p := upstream(t, openai.Config{APIKey: own, Headers: map[string]string{"X-Api-Key": "hdr-secret-1"}}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			body, _ := json.Marshal(map[string]any{"error": map[string]string{"message": text}})
			_, _ = w.Write(body)
		})
		_, err := p.Complete(t.Context(), hello())
		wantClass(t, err, providers.Rejected)
		if got := providers.AsError(err).Message; got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
