package graph

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// serveEvents answers with an event stream, in the distinct connections mode of
// https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md: one `next`
// for each result, then `complete`. Mistakes in the document come as a result
// too, as the protocol has it.
func (h *Handler) serveEvents(w http.ResponseWriter, r *http.Request, req *request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	op, declinedResponse := h.prepare(ctx, req)

	header := w.Header()
	header.Set("Content-Type", mediaEvents+"; charset=utf-8")
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no") // nginx would hold the events back
	w.WriteHeader(http.StatusOK)

	s := &eventStream{w: w, rc: http.NewResponseController(w), timeout: h.cfg.WriteTimeout}
	if s.flush() != nil {
		return
	}
	if op == nil {
		_ = s.send(declinedResponse)
		_ = s.complete()
		return
	}
	// The handler must not return while the other goroutine may write.
	var alive sync.WaitGroup
	defer alive.Wait()
	defer cancel()
	alive.Go(func() { s.keepAlive(ctx, cancel, h.cfg.KeepAlive) })

	responses, opCtx := h.exec.DispatchOperation(ctx, op)
	for resp := responses(opCtx); resp != nil; resp = responses(opCtx) {
		if s.send(resp) != nil {
			return
		}
	}
	if ctx.Err() == nil {
		_ = s.complete()
	}
}

// eventStream writes events, each under its own deadline.
type eventStream struct {
	timeout time.Duration

	mu   sync.Mutex // guards all below
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  []byte
	last time.Time // of the last write
	err  error     // of the first failed write: nothing is written after it
}

func (s *eventStream) send(resp *graphql.Response) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(s.buf[:0], "event: next\ndata: "...)
	s.buf = append(appendResponse(s.buf, resp), "\n\n"...)
	return s.write(s.buf)
}

// complete ends the stream. It carries an empty data line, because EventSource
// drops events without one.
func (s *eventStream) complete() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write([]byte("event: complete\ndata:\n\n"))
}

func (s *eventStream) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(nil)
}

// keepAlive sends a comment whenever nothing was written for an interval. It
// ends with ctx, and cancels the operation when the client has gone.
func (s *eventStream) keepAlive(ctx context.Context, cancel context.CancelFunc, interval time.Duration) {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait, err := s.comment(interval)
		if err != nil {
			cancel()
			return
		}
		timer.Reset(wait)
	}
}

// comment writes a comment unless something was written within the interval,
// and says how long to wait until the next one may be due.
func (s *eventStream) comment(interval time.Duration) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if silent := time.Since(s.last); silent < interval {
		return interval - silent, s.err
	}
	return interval, s.write([]byte(": keep-alive\n\n"))
}

// write needs the lock.
func (s *eventStream) write(text []byte) error {
	if s.err != nil {
		return s.err
	}
	s.last = time.Now()
	_ = s.rc.SetWriteDeadline(s.last.Add(s.timeout)) // for a flush without text
	s.err = writePieces(s.w, s.rc, s.timeout, text)
	if s.err == nil {
		s.err = s.rc.Flush()
	}
	return s.err
}
