package gemini_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/gemini"
	"github.com/coaidev/coai/models"
)

const (
	helloEvent  = `{"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"},"index":0}],"modelVersion":"gemini-2.5-flash"}`
	finishEvent = `{"candidates":[{"content":{"parts":[{"text":"!"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}`
	whole       = `{"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}`

	helloChunks  = 2 // the role, the text
	finishChunks = 3 // the text, the finish reason, the usage
)

func hello() providers.Request {
	return providers.Request{Model: "gemini-2.5-flash", Input: &models.ChatCompletionInput{
		Model: "gemini-2.5-flash", Messages: []models.ChatMessage{{Role: models.RoleMessageUser, Content: models.TextContent("Hello")}},
	}}
}

func upstream(t *testing.T, cfg gemini.Config, script http.HandlerFunc) *gemini.Provider {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // as a server must to see the client leave
		script(w, r)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	cfg.BaseURL, cfg.APIKey = server.URL, apiKey
	return gemini.New(cfg, server.Client())
}

func events(w http.ResponseWriter, list ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range list {
		_, _ = fmt.Fprintf(w, "data: %s\r\n\r\n", e)
	}
	_ = http.NewResponseController(w).Flush()
}

func wantClass(t *testing.T, err error, want providers.Class) {
	t.Helper()
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != want {
		t.Errorf("%v, want the class %s", err, className(want))
	}
}

func TestFirstByteTimeout(t *testing.T) {
	p := upstream(t, gemini.Config{FirstByteTimeout: 30 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := collect(t, p, hello())
	wantClass(t, err, providers.Timeout)
	_, err = p.Complete(t.Context(), hello())
	wantClass(t, err, providers.Timeout)
}

func TestIdleTimeout(t *testing.T) {
	p := upstream(t, gemini.Config{IdleTimeout: 30 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		events(w, helloEvent)
		<-r.Context().Done()
	})
	chunks, err := collect(t, p, hello())
	wantClass(t, err, providers.Timeout)
	if len(chunks) != helloChunks {
		t.Errorf("%d chunks before the silence", len(chunks))
	}
}

// A server that has finished its answer but holds the connection is not a
// failure.
func TestSilenceAfterTheEnd(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"events": func(w http.ResponseWriter) { events(w, helloEvent, finishEvent) },
		"array": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "["+helloEvent+",\r\n"+finishEvent)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := upstream(t, gemini.Config{IdleTimeout: 30 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
				answer(w)
				<-r.Context().Done()
			})
			if chunks, err := collect(t, p, hello()); err != nil || len(chunks) != helloChunks+finishChunks {
				t.Errorf("%d chunks, %v", len(chunks), err)
			}
		})
	}
}

// Events that have come together are known to be there.
func TestReady(t *testing.T) {
	p := upstream(t, gemini.Config{}, func(w http.ResponseWriter, _ *http.Request) { events(w, helloEvent, helloEvent, finishEvent) })
	st, err := p.Stream(t.Context(), hello())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Next(); err != nil {
		t.Fatal(err)
	}
	waiting, ok := st.(interface{ Ready() bool })
	if !ok {
		t.Fatal("nobody can ask it")
	}
	chunks := 1
	for ; waiting.Ready(); chunks++ {
		if _, err := st.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if chunks < helloChunks+1 { // beyond the first event
		t.Errorf("%d chunks are known to be there", chunks)
	}
}

// An array's elements are passed on as they come.
func TestArrayIsRead(t *testing.T) {
	seen := make(chan struct{})
	p := upstream(t, gemini.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "["+helloEvent)
		_ = http.NewResponseController(w).Flush()
		<-seen
		_, _ = io.WriteString(w, ",\n"+finishEvent+"\n]\n")
	})
	st, err := p.Stream(t.Context(), hello())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for n := 1; ; n++ {
		_, err := st.Next()
		if n == helloChunks {
			close(seen)
		}
		if errors.Is(err, io.EOF) && n == helloChunks+finishChunks+1 {
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
	for name, phase := range map[string]struct{ headers, byClose bool }{
		"before the headers":         {false, false},
		"in the stream":              {true, false},
		"in the stream, by its user": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			arrived, gone := make(chan struct{}), make(chan struct{})
			p := upstream(t, gemini.Config{}, func(w http.ResponseWriter, r *http.Request) {
				if phase.headers {
					events(w, helloEvent)
				}
				close(arrived)
				<-r.Context().Done()
				close(gone)
			})
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
				defer st.Close()
				for range helloChunks {
					if _, err := st.Next(); err != nil {
						t.Fatal(err)
					}
				}
				if phase.byClose {
					_ = st.Close()
				} else {
					cancel()
				}
				_, err = st.Next()
				wantClass(t, err, providers.Canceled)
			}
			select {
			case <-gone:
			case <-time.After(time.Second):
				t.Error("the upstream still has its connection after a second")
			}
		})
	}
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
	dropped := func(t *testing.T, response string) *gemini.Provider {
		return upstream(t, gemini.Config{}, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, response)
			conn.Close()
		})
	}
	for name, test := range map[string]struct {
		response string
		chunks   int
	}{
		"no answer":             {"", 0},
		"in the middle":         {chunked(event(helloEvent)), helloChunks},
		"inside an event":       {chunked(event(helloEvent), "data: {\"candidates\""), helloChunks},
		"length lies, too long": {head + "Content-Length: 9999\r\n\r\n" + event(helloEvent), helloChunks},
	} {
		t.Run(name, func(t *testing.T) {
			chunks, err := collect(t, dropped(t, test.response), hello())
			wantClass(t, err, providers.Unavailable)
			if len(chunks) != test.chunks {
				t.Errorf("%d chunks", len(chunks))
			}
		})
	}
	t.Run("after the finish", func(t *testing.T) {
		chunks, err := collect(t, dropped(t, chunked(event(helloEvent), event(finishEvent))), hello())
		if err != nil || len(chunks) != helloChunks+finishChunks {
			t.Errorf("%d chunks, %v", len(chunks), err)
		}
	})
	t.Run("whole, length lies", func(t *testing.T) {
		p := dropped(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(whole)+5, whole))
		_, err := p.Complete(t.Context(), hello())
		wantClass(t, err, providers.Malformed)
	})
}

func TestTooLarge(t *testing.T) {
	long := strings.Replace(helloEvent, "Hello", strings.Repeat("x", 5000), 1)
	for name, answer := range map[string]func(http.ResponseWriter){
		"event":   func(w http.ResponseWriter) { events(w, long) },
		"element": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "["+long+"]") },
		"whole":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, long) },
	} {
		t.Run(name, func(t *testing.T) {
			p := upstream(t, gemini.Config{MaxBytes: 4096}, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
			_, err := collect(t, p, hello())
			wantClass(t, err, providers.Malformed)
		})
	}
}

// Lines of many megabytes are real: images come in one event.
func TestLargeEvent(t *testing.T) {
	image := strings.Repeat("QUJD", 2<<20)
	p := upstream(t, gemini.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		events(w, `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"`+image+`"}}]},"finishReason":"STOP"}]}`)
	})
	chunks, err := collect(t, p, hello())
	if err != nil || len(chunks) != 3 || !strings.Contains(string(chunks[1]), image) {
		t.Errorf("%d chunks, %v", len(chunks), err)
	}
}

func TestURLs(t *testing.T) {
	for _, test := range []struct{ base, model, want string }{
		{"", "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"},
		{"/", "models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"},
		{"/v1", "gemini-2.5-flash", "/v1/models/gemini-2.5-flash:generateContent"},
		{"/v1alpha/", "tunedModels/mine", "/v1alpha/tunedModels/mine:generateContent"},
		{"/proxy", "a b?c#d", "/proxy/v1beta/models/a%20b%3Fc%23d:generateContent"},
		{"/v1/projects/p/publishers/google", "m", "/v1/projects/p/publishers/google/models/m:generateContent"},
	} {
		var got string
		p := gemini.New(gemini.Config{BaseURL: "http://upstream.test" + test.base}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = r.URL.EscapedPath()
			return nil, errors.New("that will do")
		})})
		req := hello()
		req.Model = test.model
		_, err := p.Complete(t.Context(), req)
		wantClass(t, err, providers.Unavailable)
		if got != test.want {
			t.Errorf("%q, %q: asked %s, want %s", test.base, test.model, got, test.want)
		}
	}
	for _, model := range []string{"../secrets", "models/..", "a//b", "/"} {
		p := gemini.New(gemini.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			t.Errorf("%q: asked %s", model, r.URL)
			return nil, errors.New("no")
		})})
		req := hello()
		req.Model = model
		_, err := p.Complete(t.Context(), req)
		wantClass(t, err, providers.NoModel)
	}
	for _, base := range []string{"", "ftp://x", "://", "host"} {
		_, err := gemini.New(gemini.Config{BaseURL: base}, http.DefaultClient).Complete(t.Context(), hello()) //nolint:forbidigo // nothing is sent
		wantClass(t, err, providers.Unavailable)
	}
}
