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
	// writeTimeout is how long a client may take nothing of what is sent to it.
	writeTimeout = 30 * time.Second
	// flushSize is how much of what is ready goes out in one write.
	flushSize = 32 << 10
)

// buffers are what streams collect their events in.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }} //nolint:gochecknoglobals // pools are shared

// streamChatCompletion sends a completion as server-sent events.
// https://platform.openai.com/docs/api-reference/chat-streaming
func (h *handler) streamChatCompletion(w http.ResponseWriter, r *http.Request, in models.ChatCompletionInput) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	chunks, err := h.resolver.Subscription().ChatCompletion(ctx, in)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	defer func() {
		cancel()
		for range chunks { // until the resolver has closed it, and so accounted for the stream
		}
	}()
	return h.sendStream(ctx, w, chunks)
}

// sendStream waits for the first chunk: until it is there the answer can still
// be an error with its own status, unless that takes longer than KeepAlive.
func (h *handler) sendStream(ctx context.Context, w http.ResponseWriter, chunks <-chan *models.ChatCompletionChunk) error {
	silence := time.NewTimer(h.cfg.KeepAlive)
	defer silence.Stop()
	select {
	case chunk, ok := <-chunks:
		switch {
		case !ok && ctx.Err() != nil:
			return fmt.Errorf("wait for the first chunk: %w", ctx.Err())
		case !ok:
			return errors.New("the stream ended without a chunk")
		case chunk.Err != nil:
			return chunk.Err
		}
		h.sendEvents(ctx, newEventWriter(w), chunk, chunks, silence)
	case <-silence.C:
		silence.Reset(h.cfg.KeepAlive)
		out := newEventWriter(w)
		out.comment()
		h.sendEvents(ctx, out, nil, chunks, silence)
	case <-ctx.Done():
		return fmt.Errorf("wait for the first chunk: %w", ctx.Err())
	}
	return nil
}

// sendEvents sends the first chunk, if it is there, and all that follow. What
// fails now becomes an event: the head of the answer is out.
func (h *handler) sendEvents(ctx context.Context, out *eventWriter, first *models.ChatCompletionChunk, chunks <-chan *models.ChatCompletionChunk, silence *time.Timer) {
	defer out.release()
	if first != nil {
		setChannel(out.w.Header(), first.ChannelID)
		setCache(out.w.Header(), first.Cache)
		if ended := out.chunk(ctx, first, true); ended {
			return
		}
	}
	for {
		if ended := out.ready(ctx, chunks); ended || !out.flush() {
			return
		}
		select {
		case chunk, ok := <-chunks:
			if ended := out.chunk(ctx, chunk, ok); ended {
				return
			}
		case <-silence.C:
			// The timer runs through: it is not set anew for each chunk.
			quiet := time.Since(out.last)
			if quiet >= h.cfg.KeepAlive {
				out.comment()
				quiet = 0
			}
			silence.Reset(h.cfg.KeepAlive - quiet)
		}
	}
}

// eventWriter collects events and writes them. It sends the head of the answer
// with the first of them.
type eventWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  *bytes.Buffer
	last time.Time // of the last write
	head bool
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	buf, _ := buffers.Get().(*bytes.Buffer)
	return &eventWriter{w: w, rc: http.NewResponseController(w), buf: buf}
}

// release gives the buffer back, unless a huge chunk has swollen it.
func (e *eventWriter) release() {
	const keep = 64 << 10
	if e.buf.Cap() <= keep {
		e.buf.Reset()
		buffers.Put(e.buf)
	}
}

// ready adds all chunks that need no waiting, as one flush costs more than an
// event. It says whether the stream has ended.
func (e *eventWriter) ready(ctx context.Context, chunks <-chan *models.ChatCompletionChunk) (ended bool) {
	for e.buf.Len() < flushSize {
		select {
		case chunk, ok := <-chunks:
			if ended := e.chunk(ctx, chunk, ok); ended {
				return true
			}
		default:
			return false
		}
	}
	return false
}

// chunk adds what was received from a channel, and says whether the stream has
// ended with it. At the end everything is flushed.
func (e *eventWriter) chunk(ctx context.Context, c *models.ChatCompletionChunk, ok bool) (ended bool) {
	switch {
	case !ok:
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

func (e *eventWriter) comment() { e.buf.WriteString(": keep-alive\n\n") }

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
	_ = e.rc.SetWriteDeadline(e.last.Add(writeTimeout)) // a writer without deadlines is one in a test
	_, err := e.w.Write(e.buf.Bytes())
	if err == nil {
		err = e.rc.Flush()
	}
	e.buf.Reset()
	return err == nil
}
