package openai_test

import (
	"bytes"
	"context"
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

func TestFirstByteTimeout(t *testing.T) {
	for name, script := range map[string]http.HandlerFunc{
		"no headers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no body": func(w http.ResponseWriter, r *http.Request) {
			events(w)
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := upstream(t, openai.Config{FirstByteTimeout: 30 * time.Millisecond}, readFirst(script))
			_, err := collect(t, p, hello())
			wantClass(t, err, providers.Timeout)
			_, err = p.Complete(t.Context(), hello())
			if name == "no headers" {
				wantClass(t, err, providers.Timeout)
			}
		})
	}
}

// readFirst reads the request, as a server must to see the client leave.
func readFirst(script http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		script(w, r)
	}
}

func TestIdleTimeout(t *testing.T) {
	p := upstream(t, openai.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
		events(w, helloChunk)
		<-r.Context().Done()
	}))
	chunks, err := collect(t, p, hello())
	wantClass(t, err, providers.Timeout)
	if len(chunks) != 1 {
		t.Errorf("%d chunks before the silence", len(chunks))
	}

	p = upstream(t, openai.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, completion[:20])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	_, err = p.Complete(t.Context(), hello())
	wantClass(t, err, providers.Timeout)
}

// A server that has finished its answer but holds the connection is not a
// failure.
func TestSilenceAfterTheEnd(t *testing.T) {
	p := upstream(t, openai.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
		events(w, helloChunk, finishChunk)
		<-r.Context().Done()
	}))
	if chunks, err := collect(t, p, hello()); err != nil || len(chunks) != 2 {
		t.Errorf("%d chunks, %v", len(chunks), err)
	}
}

// Only waiting for the upstream counts as its silence.
func TestSlowReader(t *testing.T) {
	const idle = 20 * time.Millisecond
	release := make(chan struct{})
	p := upstream(t, openai.Config{IdleTimeout: idle}, readFirst(func(w http.ResponseWriter, _ *http.Request) {
		events(w, helloChunk)
		<-release
		events(w, helloChunk, finishChunk, "[DONE]")
	}))
	st := open(t, p)
	if _, err := st.Next(); err != nil {
		t.Fatal(err)
	}
	<-time.After(5 * idle)
	close(release)
	for n := 1; ; n++ {
		_, err := st.Next()
		if errors.Is(err, io.EOF) && n == 3 {
			return
		}
		if err != nil {
			t.Fatalf("chunk %d: %v", n, err)
		}
	}
}

// Whoever gives up an answer, and in whichever phase, closes the connection to
// the upstream at once.
func TestCancel(t *testing.T) {
	const soon = 100 * time.Millisecond
	for name, phase := range map[string]struct {
		headers bool
		byClose bool
	}{
		"before the headers":         {false, false},
		"in the stream":              {true, false},
		"in the stream, by its user": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			arrived, gone := make(chan struct{}), make(chan struct{})
			p := upstream(t, openai.Config{}, readFirst(func(w http.ResponseWriter, r *http.Request) {
				if phase.headers {
					events(w, helloChunk)
				}
				close(arrived)
				<-r.Context().Done()
				close(gone)
			}))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if !phase.headers {
				go func() {
					<-arrived
					cancel()
				}()
				_, err := p.Stream(ctx, hello())
				wantClass(t, err, providers.Canceled)
			} else {
				st, err := p.Stream(ctx, hello())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.Next(); err != nil {
					t.Fatal(err)
				}
				if phase.byClose {
					_ = st.Close()
				} else {
					cancel()
				}
				_, err = st.Next()
				wantClass(t, err, providers.Canceled)
				defer st.Close()
			}
			select {
			case <-gone:
			case <-time.After(soon):
				t.Errorf("the upstream still has its connection after %v", soon)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	p := upstream(t, openai.Config{}, readFirst(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := p.Complete(ctx, hello())
	wantClass(t, err, providers.Timeout)
}

// dropped answers with raw bytes and closes the connection.
func dropped(t *testing.T, response string) *openai.Provider {
	return upstream(t, openai.Config{}, readFirst(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, response)
		conn.Close()
	}))
}

func TestBrokenConnections(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	chunked := func(data ...string) string {
		var b strings.Builder
		b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
		for _, d := range data {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(d), d)
		}
		return b.String()
	}
	event := func(data string) string { return "data: " + data + "\n\n" }
	for name, test := range map[string]struct {
		response string
		chunks   int
		want     providers.Class
	}{
		"no answer":              {"", 0, providers.Unavailable},
		"no HTTP":                {"SSH-2.0-OpenSSH\r\n", 0, providers.Unavailable},
		"in the middle":          {chunked(event(helloChunk)), 1, providers.Unavailable},
		"inside an event":        {chunked(event(helloChunk), "data: {\"id\""), 1, providers.Unavailable},
		"bad chunk length":       {chunked(event(helloChunk)) + "zz\r\n", 1, providers.Unavailable},
		"length lies, too long":  {head + "Content-Length: 9999\r\n\r\n" + event(helloChunk), 1, providers.Unavailable},
		"length lies, too short": {head + "Content-Length: 300\r\n\r\n" + event(helloChunk) + event(helloChunk), 1, providers.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			chunks, err := collect(t, dropped(t, test.response), hello())
			wantClass(t, err, test.want)
			if len(chunks) != test.chunks {
				t.Errorf("%d chunks", len(chunks))
			}
		})
	}
	t.Run("after the finish", func(t *testing.T) {
		if chunks, err := collect(t, dropped(t, chunked(event(helloChunk), event(finishChunk))), hello()); err != nil || len(chunks) != 2 {
			t.Errorf("%d chunks, %v", len(chunks), err)
		}
	})
	for name, length := range map[string]int{"length lies, too long": len(completion) + 5, "length lies, too short": len(completion) - 5} {
		t.Run("whole, "+name, func(t *testing.T) {
			p := dropped(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", length, completion))
			_, err := p.Complete(t.Context(), hello())
			wantClass(t, err, providers.Malformed)
		})
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

// A chunk's bytes must not change when the next is read.
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

// Whatever an upstream sends: no panic, only JSON objects as chunks, and the
// same outcome when asked again.
func FuzzStream(f *testing.F) {
	f.Add("text/event-stream", []byte("data: "+helloChunk+"\n\ndata: "+finishChunk+"\n\ndata: [DONE]\n\n"), 2)
	f.Add("text/event-stream", []byte("data: "+`{"choices":[{"delta":{"tool_calls":[{"id":"a"},{"index":1,"id":"b"}]},"finish_reason":""}]}`+"\n\n"), 1)
	f.Add("application/json", []byte(completion), 1)
	f.Add("text/event-stream", []byte("event: error\ndata: {\"error\":{\"code\":429}}\r\r"), 1)
	f.Add("text/plain", []byte(`{"error":"x"}`), 1)
	f.Fuzz(func(t *testing.T, contentType string, body []byte, n int) {
		transport := roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {contentType}},
				Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1,
			}, nil
		})
		p := openai.New(openai.Config{BaseURL: "http://upstream.test", MaxBytes: 1 << 16}, &http.Client{Transport: transport})
		req := hello()
		req.Input.N = &n
		st, err := p.Stream(t.Context(), req)
		if err != nil {
			_ = providers.AsError(err).Message
			return
		}
		defer st.Close()
		for {
			chunk, err := st.Next()
			if err != nil {
				if _, again := st.Next(); !errors.Is(again, err) {
					t.Errorf("%v, then %v", err, again)
				}
				return
			}
			raw, err := chunk.JSON()
			if err != nil || !json.Valid(raw) || raw[0] != '{' || bytes.ContainsAny(raw, "\r\n") {
				t.Errorf("chunk %q, %v", raw, err)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzRequest checks that a client's bytes reach the upstream with only the
// members changed that must be.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"a","MODEL":"b","stream":1,"stream_options":{"x":1},"conversation_id":2,"z":[1, 2]}`))
	f.Add([]byte(` { "\u006dodel" : "a" , "stream_options" : null } `))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in map[string]json.RawMessage
		if json.Unmarshal(raw, &in) != nil || in == nil {
			t.Skip()
		}
		for _, streamed := range []bool{false, true} {
			var sent []byte
			p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				sent, _ = io.ReadAll(r.Body)
				return nil, errors.New("that will do")
			})})
			req := providers.Request{Model: "mapped", Input: &models.ChatCompletionInput{Raw: raw}}
			if streamed {
				_, _ = p.Stream(t.Context(), req)
			} else {
				_, _ = p.Complete(t.Context(), req)
			}
			var out map[string]json.RawMessage
			if err := json.Unmarshal(sent, &out); err != nil {
				t.Fatalf("sent %q: %v", sent, err)
			}
			if string(out["model"]) != `"mapped"` || streamed != (string(out["stream"]) == "true") || streamed != (out["stream_options"] != nil) {
				t.Errorf("sent %q", sent)
			}
			for k, v := range in {
				switch strings.ToLower(k) {
				case "model", "stream", "stream_options", "conversation_id":
				default:
					if !bytes.Equal(bytes.TrimSpace(out[k]), bytes.TrimSpace(v)) {
						t.Errorf("member %q: sent %q, want %q", k, out[k], v)
					}
				}
			}
		}
	})
}

// BenchmarkStream reads a stream of 100 chunks, without the network.
func BenchmarkStream(b *testing.B) {
	var body bytes.Buffer
	for range 99 {
		_, _ = fmt.Fprintf(&body, "data: %s\n\n", helloChunk)
	}
	_, _ = fmt.Fprintf(&body, "data: %s\n\ndata: [DONE]\n\n", finishChunk)
	header := http.Header{"Content-Type": {"text/event-stream"}}
	transport := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(body.Bytes()))}, nil
	})
	p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: transport})
	req := hello()
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		st, err := p.Stream(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for ; ; n++ {
			if _, err = st.Next(); err != nil {
				break
			}
		}
		if n != 100 || !errors.Is(err, io.EOF) {
			b.Fatal(n, err)
		}
		_ = st.Close()
	}
}

func BenchmarkRequest(b *testing.B) {
	raw := []byte(`{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}],"temperature":0.5}`)
	transport := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(completion))}, nil
	})
	p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: transport})
	req := providers.Request{Model: "deployed", Input: &models.ChatCompletionInput{Model: "gpt-4o", Raw: raw}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Complete(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
