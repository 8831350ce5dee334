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

// streamed is what streams give: a chunk or an event, or the failure that ends
// the stream.
type streamed interface {
	JSON() ([]byte, error)
	Name() string // of the event; empty: it has none, and then a failure has no JSON either
	Failure() *models.Error
	Channel() string
}

// language is how a stream ends.
type language struct {
	done string // the data of the event that ends a stream which succeeded; empty: there is none
	fail func(context.Context, *models.Error) (name string, data []byte)
}

// openAI is the language of chat completions, whose events have no names.
func openAI() language {
	return language{done: "[DONE]", fail: func(ctx context.Context, e *models.Error) (string, []byte) {
		return "", encodeError(ctx, e)
	}}
}

// streamChatCompletion sends a completion as server-sent events.
// https://platform.openai.com/docs/api-reference/chat-streaming
func (h *handler) streamChatCompletion(w http.ResponseWriter, r *http.Request, in models.ChatCompletionInput) error {
	return stream(h, w, r, openAI(), func(ctx context.Context) (<-chan *models.ChatCompletionChunk, error) {
		return h.resolver.Subscription().ChatCompletion(ctx, in)
	})
}

// stream sends what a subscription gives as server-sent events.
func stream[E streamed](h *handler, w http.ResponseWriter, r *http.Request, l language, open func(context.Context) (<-chan E, error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	chunks, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		cancel()
		for range chunks { // until the resolver has closed it, and so accounted for the stream
		}
	}()
	return sendStream(ctx, h, w, l, chunks)
}

// sendStream waits for the first chunk: until it is there the answer can still
// be an error with its own status, unless that takes longer than KeepAlive.
func sendStream[E streamed](ctx context.Context, h *handler, w http.ResponseWriter, l language, chunks <-chan E) error {
	silence := time.NewTimer(h.cfg.KeepAlive)
	defer silence.Stop()
	out := newEventWriter(w, l)
	defer out.release()
	select {
	case chunk, ok := <-chunks:
		switch {
		case !ok && ctx.Err() != nil:
			return fmt.Errorf("wait for the first chunk: %w", ctx.Err())
		case !ok:
			return errors.New("the stream ended without a chunk")
		case chunk.Failure() != nil:
			return chunk.Failure()
		}
		setChannel(w.Header(), chunk.Channel())
		if ended := out.chunk(ctx, chunk); ended {
			return nil
		}
	case <-silence.C:
		silence.Reset(h.cfg.KeepAlive)
		out.comment()
	case <-ctx.Done():
		return fmt.Errorf("wait for the first chunk: %w", ctx.Err())
	}
	sendEvents(ctx, h.cfg.KeepAlive, out, chunks, silence)
	return nil
}

// sendEvents sends all that follows the first chunk. What fails now becomes an
// event: the head of the answer is out.
func sendEvents[E streamed](ctx context.Context, keepAlive time.Duration, out *eventWriter, chunks <-chan E, silence *time.Timer) {
	for {
		if ended := ready(ctx, out, chunks); ended || !out.flush() {
			return
		}
		select {
		case chunk, ok := <-chunks:
			if ended := received(ctx, out, chunk, ok); ended {
				return
			}
		case <-silence.C:
			// The timer runs through: it is not set anew for each chunk.
			quiet := time.Since(out.last)
			if quiet >= keepAlive {
				out.comment()
				quiet = 0
			}
			silence.Reset(keepAlive - quiet)
		}
	}
}

// ready adds all chunks that need no waiting, as one flush costs more than an
// event. It says whether the stream has ended.
func ready[E streamed](ctx context.Context, out *eventWriter, chunks <-chan E) (ended bool) {
	for out.buf.Len() < flushSize {
		select {
		case chunk, ok := <-chunks:
			if ended := received(ctx, out, chunk, ok); ended {
				return true
			}
		default:
			return false
		}
	}
	return false
}

// received adds what was received from a channel, and says whether the stream
// has ended with it. At the end everything is flushed.
func received[E streamed](ctx context.Context, out *eventWriter, chunk E, ok bool) (ended bool) {
	if !ok {
		out.end(ctx)
		return true
	}
	return out.chunk(ctx, chunk)
}

// eventWriter collects events and writes them. It sends the head of the answer
// with the first of them.
type eventWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  *bytes.Buffer
	lang language
	last time.Time // of the last write
	head bool
}

func newEventWriter(w http.ResponseWriter, l language) *eventWriter {
	buf, _ := buffers.Get().(*bytes.Buffer)
	return &eventWriter{w: w, rc: http.NewResponseController(w), buf: buf, lang: l}
}

// release gives the buffer back, unless a huge chunk has swollen it.
func (e *eventWriter) release() {
	const keep = 64 << 10
	if e.buf.Cap() <= keep {
		e.buf.Reset()
		buffers.Put(e.buf)
	}
}

// chunk adds a chunk, and says whether the stream has ended with it.
func (e *eventWriter) chunk(ctx context.Context, c streamed) (ended bool) {
	failure := c.Failure()
	if failure != nil && c.Name() == "" {
		e.fail(ctx, failure)
		return true
	}
	b, err := c.JSON()
	if err != nil {
		e.fail(ctx, err)
		return true
	}
	e.event(c.Name(), b)
	if failure != nil { // the event says so in the language's own words
		e.flush()
	}
	return failure != nil
}

// event adds a JSON value. Line breaks in it can only be white space, and would
// end the event's line.
func (e *eventWriter) event(name string, b []byte) {
	if name != "" {
		e.buf.WriteString("event: ")
		e.buf.WriteString(name)
		e.buf.WriteByte('\n')
	}
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
	if e.lang.done != "" {
		e.buf.WriteString("data: " + e.lang.done + "\n\n")
	}
	e.flush()
}

// fail ends the stream with an error event, and with nothing behind it.
func (e *eventWriter) fail(ctx context.Context, err error) {
	known, gone := explain(ctx, err)
	if gone {
		return
	}
	e.event(e.lang.fail(ctx, known))
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
