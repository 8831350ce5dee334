package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coaidev/coai/models"
)

const (
	// writeTimeout is how long a client may take nothing of what is sent to it, and
	// up to a second more.
	writeTimeout = 30 * time.Second
	// flushSize is how much of what is ready goes out in one write.
	flushSize = 32 << 10
)

// buffers are what streams collect their events in.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }} //nolint:gochecknoglobals // pools are shared

// chunkStream is a completion as it comes: [graph.Chunks]. Next waits and gives nil
// after the last chunk; Poll does not wait: then it gives false.
type chunkStream interface {
	Next() *models.ChatCompletionChunk
	Poll() (chunk *models.ChatCompletionChunk, ok bool)
}

// streamChatCompletion sends a completion as server-sent events.
// https://platform.openai.com/docs/api-reference/chat-streaming
func (h *handler) streamChatCompletion(w http.ResponseWriter, r *http.Request, in models.ChatCompletionInput) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	chunks, err := h.resolver.StreamChatCompletion(ctx, in)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	defer chunks.Close() // accounts for what was produced
	return h.sendStream(ctx, cancel, w, chunks)
}

// sendStream waits for the first chunk: until it is there the answer can still
// be an error with its own status, unless that takes longer than KeepAlive. What
// fails later becomes an event. stop ends ctx, and so the wait for a chunk.
func (h *handler) sendStream(ctx context.Context, stop func(), w http.ResponseWriter, chunks chunkStream) error {
	out := newEventWriter(w, h.cfg.KeepAlive, stop)
	defer out.release()
	first := chunks.Next()
	if err := out.begin(ctx, first); err != nil {
		return err
	}
	for chunk := first; ; chunk = chunks.Next() {
		if ended := out.send(ctx, chunk, chunks.Poll); ended {
			return nil
		}
	}
}

// eventWriter collects events and writes them, and fills silence with comments.
// It sends the head of the answer with the first of them.
type eventWriter struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	keepAlive time.Duration
	stop      func() // ends a stream whose client takes nothing

	mu       sync.Mutex // against silence
	silence  *time.Timer
	buf      *bytes.Buffer // nil once released
	last     time.Time     // of the last write
	deadline time.Time     // of writes
	head     bool
	broken   bool // the client takes nothing
}

func newEventWriter(w http.ResponseWriter, keepAlive time.Duration, stop func()) *eventWriter {
	buf, _ := buffers.Get().(*bytes.Buffer)
	e := &eventWriter{w: w, rc: http.NewResponseController(w), keepAlive: keepAlive, stop: stop, buf: buf, last: time.Now()}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silence = time.AfterFunc(keepAlive, e.comment)
	return e
}

// release ends the comments and gives the buffer back, unless a huge chunk has
// swollen it.
func (e *eventWriter) release() {
	const keep = 64 << 10
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silence.Stop()
	if e.buf.Cap() <= keep {
		e.buf.Reset()
		buffers.Put(e.buf)
	}
	e.buf = nil
}

// comment is called when it may have been silent for too long. The timer runs
// through: it is not set anew for each chunk.
func (e *eventWriter) comment() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.buf == nil || e.broken {
		return
	}
	quiet := time.Since(e.last)
	if quiet >= e.keepAlive {
		e.buf.WriteString(": keep-alive\n\n")
		if !e.flush() {
			e.stop()
			return
		}
		quiet = 0
	}
	e.silence.Reset(e.keepAlive - quiet)
}

// begin takes note of the first chunk. Its error is one with a status of its
// own, as long as nothing was sent.
func (e *eventWriter) begin(ctx context.Context, first *models.ChatCompletionChunk) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.head:
		return nil
	case ctx.Err() != nil && (first == nil || first.Err != nil):
		return fmt.Errorf("wait for the first chunk: %w", ctx.Err())
	case first == nil:
		return errors.New("the stream ended without a chunk")
	case first.Err != nil:
		return first.Err
	}
	setChannel(e.w.Header(), first.ChannelID)
	return nil
}

// send writes a chunk together with all that need no waiting, as one flush costs
// more than an event. It says whether the stream has ended.
func (e *eventWriter) send(ctx context.Context, chunk *models.ChatCompletionChunk, poll func() (*models.ChatCompletionChunk, bool)) (ended bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken {
		return true
	}
	for ok := true; ok; chunk, ok = poll() {
		if ended := e.chunk(ctx, chunk); ended {
			return true
		}
		if e.buf.Len() >= flushSize {
			break
		}
	}
	return !e.flush()
}

// chunk adds a chunk, nil for the end, and says whether the stream has ended with
// it. At the end everything is flushed.
func (e *eventWriter) chunk(ctx context.Context, c *models.ChatCompletionChunk) (ended bool) {
	switch {
	case c == nil, c.Err != nil && ctx.Err() != nil: // a failure is only an echo of the end of ctx
		e.end(ctx)
		return true
	case c.Err != nil:
		e.fail(ctx, c.Err)
		return true
	}
	b, err := c.JSON()
	if err != nil {
		e.fail(ctx, err)
		return true
	}
	e.event(b)
	return false
}

// event adds a JSON value. Line breaks in it can only be white space, and would
// end the event's line.
func (e *eventWriter) event(b []byte) {
	e.buf.WriteString("data: ")
	if bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 {
		b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte{'\n'}, []byte{' '}), []byte{'\r'}, []byte{' '})
	}
	e.buf.Write(b)
	e.buf.WriteString("\n\n")
}

// end finishes a stream whose chunks have ended. If the request was cancelled
// they ended too early.
func (e *eventWriter) end(ctx context.Context) {
	if ctx.Err() != nil {
		e.fail(ctx, fmt.Errorf("stream: %w", context.Cause(ctx)))
		return
	}
	e.buf.WriteString("data: [DONE]\n\n")
	e.flush()
}

// fail ends the stream with an error event, and without [DONE].
func (e *eventWriter) fail(ctx context.Context, err error) {
	known, gone := explain(ctx, err)
	if gone {
		return
	}
	e.event(encodeError(ctx, known))
	e.flush()
}

// flush writes what was collected, and says whether the client took it.
func (e *eventWriter) flush() bool {
	if e.buf.Len() == 0 {
		return true
	}
	if !e.head {
		e.head = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // nginx would hold events back
		e.w.WriteHeader(http.StatusOK)
	}
	e.last = time.Now()
	if e.deadline.Sub(e.last) < writeTimeout {
		// Set anew every second at most, for setting it costs as much as a small write.
		e.deadline = e.last.Add(writeTimeout + time.Second)
		_ = e.rc.SetWriteDeadline(e.deadline) // a writer without deadlines is one in a test
	}
	_, err := e.w.Write(e.buf.Bytes())
	if err == nil {
		err = e.rc.Flush()
	}
	e.buf.Reset()
	e.broken = err != nil
	return !e.broken
}
