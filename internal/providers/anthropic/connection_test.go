package anthropic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
)

func TestFirstByteTimeout(t *testing.T) {
	for name, script := range map[string]http.HandlerFunc{
		"no headers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no body": func(w http.ResponseWriter, r *http.Request) {
			events(w)
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := upstream(t, anthropic.Config{FirstByteTimeout: 30 * time.Millisecond}, readFirst(script))
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
	p := upstream(t, anthropic.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
		events(w, helloEvent)
		<-r.Context().Done()
	}))
	chunks, err := collect(t, p, hello())
	wantClass(t, err, providers.Timeout)
	if len(chunks) != 1 {
		t.Errorf("%d chunks before the silence", len(chunks))
	}

	p = upstream(t, anthropic.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, message[:20])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	_, err = p.Complete(t.Context(), hello())
	wantClass(t, err, providers.Timeout)
}

// A server that has finished its answer but holds the connection is not a
// failure.
func TestSilenceAfterTheEnd(t *testing.T) {
	p := upstream(t, anthropic.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
		events(w, helloEvent, finishEvent)
		<-r.Context().Done()
	}))
	if chunks, err := collect(t, p, hello()); err != nil || len(chunks) != 3 {
		t.Errorf("%d chunks, %v", len(chunks), err)
	}
}

// Events that have come together are known to be there, pings among them or not.
func TestReady(t *testing.T) {
	p := upstream(t, anthropic.Config{}, readFirst(func(w http.ResponseWriter, _ *http.Request) {
		events(w, helloEvent, textEvent, `{"type":"ping"}`, finishEvent, stopEvent)
	}))
	st := open(t, p)
	if _, err := st.Next(); err != nil {
		t.Fatal(err)
	}
	waiting, ok := st.(interface{ Ready() bool })
	if !ok {
		t.Fatal("nobody can ask it")
	}
	for n := 2; waiting.Ready(); n++ {
		if _, err := st.Next(); errors.Is(err, io.EOF) && n == 5 { // the text, the finish, the usage
			return
		} else if err != nil {
			t.Fatalf("chunk %d: %v", n, err)
		}
	}
	t.Error("what has come is not known to be there")
}

// Only waiting for the upstream counts as its silence.
func TestSlowReader(t *testing.T) {
	const idle = 20 * time.Millisecond
	release := make(chan struct{})
	p := upstream(t, anthropic.Config{IdleTimeout: idle}, readFirst(func(w http.ResponseWriter, _ *http.Request) {
		events(w, helloEvent)
		<-release
		events(w, textEvent, finishEvent, stopEvent)
	}))
	st := open(t, p)
	if _, err := st.Next(); err != nil {
		t.Fatal(err)
	}
	<-time.After(5 * idle)
	close(release)
	for n := 1; ; n++ {
		_, err := st.Next()
		if errors.Is(err, io.EOF) && n == 4 { // the role, the text, the finish, the usage
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
			p := upstream(t, anthropic.Config{}, readFirst(func(w http.ResponseWriter, r *http.Request) {
				if phase.headers {
					events(w, helloEvent)
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
	p := upstream(t, anthropic.Config{}, readFirst(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := p.Complete(ctx, hello())
	wantClass(t, err, providers.Timeout)
}

// dropped answers with raw bytes and closes the connection.
func dropped(t *testing.T, response string) *anthropic.Provider {
	return upstream(t, anthropic.Config{}, readFirst(func(w http.ResponseWriter, _ *http.Request) {
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
		"in the middle":          {chunked(event(helloEvent)), 1, providers.Unavailable},
		"inside an event":        {chunked(event(helloEvent), "data: {\"id\""), 1, providers.Unavailable},
		"bad chunk length":       {chunked(event(helloEvent)) + "zz\r\n", 1, providers.Unavailable},
		"length lies, too long":  {head + "Content-Length: 9999\r\n\r\n" + event(helloEvent), 1, providers.Unavailable},
		"length lies, too short": {head + "Content-Length: 300\r\n\r\n" + event(helloEvent) + event(helloEvent), 1, providers.Unavailable},
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
		if chunks, err := collect(t, dropped(t, chunked(event(helloEvent), event(finishEvent))), hello()); err != nil || len(chunks) != 3 {
			t.Errorf("%d chunks, %v", len(chunks), err)
		}
	})
	for name, length := range map[string]int{"length lies, too long": len(message) + 5, "length lies, too short": len(message) - 5} {
		t.Run("whole, "+name, func(t *testing.T) {
			p := dropped(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", length, message))
			_, err := p.Complete(t.Context(), hello())
			wantClass(t, err, providers.Malformed)
		})
	}
}
