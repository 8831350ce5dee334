package rest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coaidev/coai/models"
)

// wire is a client's end of an answer that remembers what each flush sent.
type wire struct {
	*httptest.ResponseRecorder
	mu      sync.Mutex
	flushed []string
	sent    int
	fail    error // from Flush
}

func newWire() *wire { return &wire{ResponseRecorder: httptest.NewRecorder()} }

func (w *wire) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushed = append(w.flushed, w.Body.String()[w.sent:])
	w.sent = w.Body.Len()
	return w.fail
}

func (w *wire) flushes() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.flushed)
}

func rawChunk(s string) *models.ChatCompletionChunk {
	return models.RawChunk([]byte(`{"c":"` + s + `"}`))
}

// send sends a stream as a handler does whose resolver gave the chunks.
func send(ctx context.Context, w http.ResponseWriter, keepAlive time.Duration, chunks <-chan *models.ChatCompletionChunk) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	e := newEventWriter[*models.ChatCompletionChunk](w, openAI(), keepAlive, stop)
	defer e.release()
	return e.sendAll(ctx, received{ctx, chunks})
}

// received are chunks that come through a channel.
type received struct {
	ctx    context.Context //nolint:containedctx // the stream's
	chunks <-chan *models.ChatCompletionChunk
}

func (r received) Next() *models.ChatCompletionChunk {
	select {
	case c := <-r.chunks:
		return c
	case <-r.ctx.Done():
		return nil
	}
}

func (r received) Poll() (*models.ChatCompletionChunk, bool) {
	select {
	case c := <-r.chunks:
		return c, true
	default:
		return nil, false
	}
}

func TestWaitingChunksGoOutTogether(t *testing.T) {
	chunks := make(chan *models.ChatCompletionChunk, 5)
	for _, s := range []string{"a", "b", "c"} {
		chunks <- rawChunk(s)
	}
	chunks <- models.RawChunk([]byte("{\"c\":\r\n1}")) // an upstream that breaks lines
	close(chunks)
	w := newWire()
	if err := send(t.Context(), w, time.Minute, chunks); err != nil {
		t.Fatal(err)
	}
	want := "data: {\"c\":\"a\"}\n\ndata: {\"c\":\"b\"}\n\ndata: {\"c\":\"c\"}\n\ndata: {\"c\":  1}\n\ndata: [DONE]\n\n"
	if got := w.flushes(); len(got) != 1 || got[0] != want {
		t.Errorf("got %q", got)
	}
	for name, value := range map[string]string{"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"} {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s: got %q, want %q", name, got, value)
		}
	}
}

func TestEachChunkGoesOutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunks := make(chan *models.ChatCompletionChunk)
		w := newWire()
		go func() { _ = send(t.Context(), w, time.Minute, chunks) }()
		for i, s := range []string{"a", "b"} {
			chunks <- rawChunk(s)
			synctest.Wait()
			if got := w.flushes(); len(got) != i+1 || got[i] != "data: {\"c\":\""+s+"\"}\n\n" {
				t.Fatalf("after chunk %d: %q", i, got)
			}
		}
		close(chunks)
		synctest.Wait()
		if got := w.flushes()[len(w.flushes())-1]; got != "data: [DONE]\n\n" {
			t.Errorf("the end: %q", got)
		}
	})
}

func TestSilenceIsFilledWithComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keepAlive = 15 * time.Second
		chunks := make(chan *models.ChatCompletionChunk)
		w := newWire()
		start := time.Now()
		go func() { _ = send(t.Context(), w, keepAlive, chunks) }()
		after := func(d time.Duration, want string) {
			t.Helper()
			<-time.After(time.Until(start.Add(d)))
			synctest.Wait()
			if got := strings.Join(w.flushes(), "|"); got != want {
				t.Errorf("after %v: got %q, want %q", d, got, want)
			}
		}
		const comment, a = ": keep-alive\n\n", "data: {\"c\":\"a\"}\n\n"
		after(10*time.Second, "")
		chunks <- rawChunk("a")
		after(24*time.Second, a) // 15 s after the start, but 5 s after a chunk, there was none
		after(26*time.Second, a+"|"+comment)
		after(39*time.Second, a+"|"+comment)
		after(41*time.Second, a+"|"+comment+"|"+comment)
		close(chunks)
		after(42*time.Second, a+"|"+comment+"|"+comment+"|data: [DONE]\n\n")
	})
}

// Events that are only passed on get comments too, between whole events.
func TestSilenceOfPassedEventsIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &handler{cfg: Config{KeepAlive: 15 * time.Second}}
		w := newWire()
		from, to := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.passEvents(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/completions", nil), from)
		}()
		_, _ = io.WriteString(to, "data: a\n\n")
		<-time.After(16 * time.Second)
		_, _ = io.WriteString(to, "data: [DONE]\n\n")
		_ = to.Close()
		<-done
		if got, want := strings.Join(w.flushes(), "|"), "data: a\n\n|: keep-alive\n\n|data: [DONE]\n\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if h := w.Header(); h.Get("Content-Type") != "text/event-stream; charset=utf-8" || h.Get("X-Accel-Buffering") != "no" {
			t.Errorf("headers %v", h)
		}
	})
}

func TestFailureAfterTheFirstByteIsAnEvent(t *testing.T) {
	chunks := make(chan *models.ChatCompletionChunk, 3)
	chunks <- rawChunk("a")
	chunks <- models.FailedChunk(&models.Error{Kind: models.KindUnavailable, Code: models.CodeUpstreamError, Message: "It broke off.", Final: true})
	chunks <- rawChunk("never")
	w := newWire()
	if err := send(models.WithRequestID(t.Context(), "req_1"), w, time.Minute, chunks); err != nil {
		t.Fatal(err)
	}
	want := "data: {\"c\":\"a\"}\n\ndata: {\"error\":{\"message\":\"It broke off.\",\"type\":\"service_unavailable_error\",\"param\":null,\"code\":\"upstream_error\",\"request_id\":\"req_1\"}}\n\n"
	if got := w.Body.String(); got != want {
		t.Errorf("got %q", got)
	}
}

func TestFailureBeforeTheFirstByteIsAnError(t *testing.T) {
	refused := &models.Error{Kind: models.KindNotFound, Code: models.CodeModelNotFound}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name  string
		ctx   context.Context //nolint:containedctx // a case of a table
		chunk *models.ChatCompletionChunk
		want  error
	}{
		{"a failed chunk", t.Context(), models.FailedChunk(refused), refused},
		{"the client left", cancelled, nil, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			chunks := make(chan *models.ChatCompletionChunk, 1)
			if c.chunk != nil {
				chunks <- c.chunk
			}
			close(chunks)
			w := newWire()
			if err := send(c.ctx, w, time.Minute, chunks); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if w.Body.Len() > 0 || len(w.flushes()) > 0 {
				t.Errorf("something was sent already: %q", w.Body)
			}
		})
	}
	empty := make(chan *models.ChatCompletionChunk)
	close(empty)
	if err := send(t.Context(), newWire(), time.Minute, empty); err == nil {
		t.Error("a stream of nothing counts as an answer")
	}
}

func TestSlowFirstChunkIsAwaitedWithComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunks := make(chan *models.ChatCompletionChunk, 1)
		w := newWire()
		done := make(chan error)
		go func() { done <- send(t.Context(), w, time.Second, chunks) }()
		<-time.After(2500 * time.Millisecond)
		synctest.Wait()
		if got := strings.Join(w.flushes(), "|"); got != ": keep-alive\n\n|: keep-alive\n\n" || w.Code != http.StatusOK {
			t.Errorf("got %d %q", w.Code, got)
		}
		chunks <- models.FailedChunk(models.Unavailable(models.CodeUpstreamTimeout, "Too slow."))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if last := w.flushes()[len(w.flushes())-1]; !strings.Contains(last, "upstream_timeout") || strings.Contains(last, "[DONE]") {
			t.Errorf("the end: %q", last)
		}
	})
}

// TestCancelledStreamDoesNotLookFinished: a resolver closes its channel early
// when the request's context ends.
func TestCancelledStreamDoesNotLookFinished(t *testing.T) {
	for _, c := range []struct {
		name  string
		cause error
		want  string // in the last event
	}{
		{"by the client", nil, ""},
		{"by the server", models.Unavailable(models.CodeShuttingDown, "Bye."), "shutting_down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				chunks := make(chan *models.ChatCompletionChunk)
				w := newWire()
				done := make(chan error)
				go func() { done <- send(ctx, w, time.Minute, chunks) }()
				chunks <- rawChunk("a")
				synctest.Wait()
				cancel(c.cause)
				close(chunks)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				rest := w.Body.String()[len("data: {\"c\":\"a\"}\n\n"):]
				if strings.Contains(rest, "[DONE]") || !strings.Contains(rest, c.want) || c.want == "" && rest != "" {
					t.Errorf("got %q", rest)
				}
			})
		})
	}
}

func TestStreamEndsWhenTheClientTakesNothing(t *testing.T) {
	chunks := make(chan *models.ChatCompletionChunk, 1)
	chunks <- rawChunk("a")
	w := newWire()
	w.fail = errors.New("i/o timeout")
	if err := send(t.Context(), w, time.Minute, chunks); err != nil { // it returns, although the channel is open
		t.Fatal(err)
	}
	if len(w.flushes()) != 1 {
		t.Errorf("%d flushes after the first had failed", len(w.flushes())-1)
	}
}

func TestHugeChunksDoNotStayInMemory(t *testing.T) {
	e := newEventWriter[*models.ChatCompletionChunk](newWire(), openAI(), time.Minute, func() {})
	e.event("", bytes.Repeat([]byte("x"), 1<<20))
	e.release()
	for range 10 {
		if b, _ := buffers.Get().(*bytes.Buffer); b.Cap() >= 1<<20 {
			t.Fatal("the buffer of a huge chunk was kept")
		}
	}
}

func BenchmarkChunk(b *testing.B) {
	chunk := rawChunk(strings.Repeat("x", 180))
	e := newEventWriter[*models.ChatCompletionChunk](discard{}, openAI(), time.Minute, func() {})
	b.ReportAllocs()
	for b.Loop() {
		e.send(b.Context(), chunk, received{})
	}
}

// discard is a client that takes everything.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
func (discard) FlushError() error           { return nil }
