package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

const (
	// writeTimeout is how long a client may take nothing of what is sent to it, and
	// up to writeSlack more: a deadline is not set anew for each write.
	writeTimeout = 30 * time.Second
	writeSlack   = 15 * time.Second
	// flushSize is how much of what is ready goes out in one write.
	flushSize = 32 << 10
)

// buffers are what streams collect their events in.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }} //nolint:gochecknoglobals // pools are shared

// streamed is what streams give: a pointer to a chunk or an event, or to the
// failure that ends the stream.
type streamed interface {
	comparable
	JSON() ([]byte, error)
	Name() string // of the event; empty: it has none, and then a failure has no JSON either
	Failure() *models.Error
	Channel() string
	CacheStatus() *models.CacheStatus
}

// feed is a stream as it comes: [graph.Feed]. Next waits and gives nil after the
// last element; Poll does not wait: then it gives false.
type feed[E streamed] interface {
	Next() E
	Poll() (element E, ok bool)
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

// stream sends what open gets from a resolver as server-sent events.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
func stream[E streamed](h *handler, w http.ResponseWriter, r *http.Request, l language, open func(context.Context) (*graph.Feed[E], error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	elements, err := open(ctx)
	if err != nil {
		return err
	}
	defer elements.Close() // accounts for what was produced
	out := newEventWriter[E](w, l, h.cfg.KeepAlive, cancel)
	defer out.release()
	return out.sendAll(ctx, elements)
}

// eventWriter writes the elements of a stream.
type eventWriter[E streamed] struct {
	*output

	lang language
}

func newEventWriter[E streamed](w http.ResponseWriter, l language, keepAlive time.Duration, stop func()) *eventWriter[E] {
	return &eventWriter[E]{output: newOutput(w, keepAlive, stop), lang: l}
}

// output collects events and writes them, and fills silence with comments. It sends
// the head of the answer with the first of them.
type output struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	keepAlive time.Duration
	stop      func() // ends the wait for a stream whose client takes nothing

	mu       sync.Mutex // against silence
	silence  *time.Timer
	buf      *bytes.Buffer // nil once released
	last     time.Time     // of the last write
	deadline time.Time     // of writes
	head     bool
	broken   bool // the client takes nothing
}

func newOutput(w http.ResponseWriter, keepAlive time.Duration, stop func()) *output {
	buf, _ := buffers.Get().(*bytes.Buffer)
	e := &output{
		w: w, rc: http.NewResponseController(w), keepAlive: keepAlive, stop: stop, buf: buf, last: time.Now(),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silence = time.AfterFunc(keepAlive, e.comment)
	return e
}

// release ends the comments and gives the buffer back, unless a huge chunk has
// swollen it.
func (e *output) release() {
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
func (e *output) comment() {
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

// sendAll sends a stream. Until its first element is there the answer can still be
// an error with its own status, unless that takes longer than keepAlive. What
// fails later becomes an event.
func (e *eventWriter[E]) sendAll(ctx context.Context, elements feed[E]) error {
	element := elements.Next()
	if err := e.begin(ctx, element); err != nil {
		return err
	}
	for ended := e.send(ctx, element, elements); !ended; {
		ended = e.send(ctx, elements.Next(), elements)
	}
	return nil
}

// begin takes note of the first element. Its failure is an error with a status of
// its own, as long as nothing was sent.
func (e *eventWriter[E]) begin(ctx context.Context, first E) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none E
	switch {
	case e.head:
		return nil
	case ctx.Err() != nil && (first == none || first.Failure() != nil):
		return fmt.Errorf("wait for the first chunk: %w", ctx.Err())
	case first == none:
		return errors.New("the stream ended without a chunk")
	case first.Failure() != nil:
		return first.Failure()
	}
	setChannel(e.w.Header(), first.Channel())
	setCache(e.w.Header(), first.CacheStatus())
	return nil
}

// send writes an element together with all that need no waiting, as one flush
// costs more than an event. It says whether the stream has ended.
func (e *eventWriter[E]) send(ctx context.Context, element E, more feed[E]) (ended bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken {
		return true
	}
	for ok := true; ok; element, ok = more.Poll() {
		if ended := e.add(ctx, element); ended {
			e.flush()
			return true
		}
		if e.buf.Len() >= flushSize {
			break
		}
	}
	return !e.flush()
}

// add adds an element, nil for the end, and says whether the stream has ended with
// it.
func (e *eventWriter[E]) add(ctx context.Context, element E) (ended bool) {
	var none E
	if element == none {
		e.end(ctx)
		return true
	}
	failure := element.Failure()
	if failure != nil && element.Name() == "" {
		if ctx.Err() != nil { // it is only an echo of that
			e.end(ctx)
		} else {
			e.fail(ctx, failure)
		}
		return true
	}
	b, err := element.JSON()
	if err != nil {
		e.fail(ctx, err)
		return true
	}
	e.event(element.Name(), b)
	return failure != nil // the event says so in the language's own words
}

// event adds a JSON value. Line breaks in it can only be white space, and would
// end the event's line.
func (e *output) event(name string, b []byte) {
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

// end finishes a stream whose chunks have ended. If the request was cancelled
// they ended too early.
func (e *eventWriter[E]) end(ctx context.Context) {
	if ctx.Err() != nil {
		e.fail(ctx, fmt.Errorf("stream: %w", context.Cause(ctx)))
		return
	}
	if e.lang.done != "" {
		e.event("", []byte(e.lang.done))
	}
}

// fail ends the stream with an error event, and with nothing behind it.
func (e *eventWriter[E]) fail(ctx context.Context, err error) {
	known, gone := explain(ctx, err)
	if gone {
		return
	}
	e.event(e.lang.fail(ctx, known))
}

// write sends what is already spelled as events, and says whether the client took it.
func (e *output) write(b []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken {
		return false
	}
	e.buf.Write(b)
	return e.flush()
}

// flush writes what was collected, and says whether the client took it.
func (e *output) flush() bool {
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
		e.deadline = e.last.Add(writeTimeout + writeSlack) // setting it costs as much as a small write
		_ = e.rc.SetWriteDeadline(e.deadline)              // a writer without deadlines is one in a test
	}
	_, err := e.w.Write(e.buf.Bytes())
	if err == nil {
		err = e.rc.Flush()
	}
	e.buf.Reset()
	e.broken = err != nil
	return !e.broken
}
