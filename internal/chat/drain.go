package chat

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/coaidev/coai/models"
)

// Bounds of what goes on for a client that has left, where its key asks for
// that: the time, the tokens, and how many at a time in a process. A completion
// beyond them is cancelled.
const (
	DefaultDrainTimeout = time.Minute
	DefaultDrainTokens  = 16_384
	DefaultDrains       = 100
)

// patience is how long [Service.EndDrains] lets what drains finish by itself.
const patience = 3 * time.Second

// drains are the completions of a process that go on without their client.
type drains struct {
	timeout time.Duration
	tokens  int64
	most    int64
	slots   *semaphore.Weighted
	ctx     context.Context // ends when they are to be cut
	cut     context.CancelCauseFunc
	ending  sync.Once
	failed  error // of the ending
}

func newDrains(cfg Config) *drains {
	d := &drains{timeout: cfg.DrainTimeout, tokens: int64(cfg.DrainTokens), most: int64(cfg.Drains)}
	if d.timeout <= 0 {
		d.timeout = DefaultDrainTimeout
	}
	if d.tokens <= 0 {
		d.tokens = DefaultDrainTokens
	}
	if d.most <= 0 {
		d.most = DefaultDrains
	}
	d.slots = semaphore.NewWeighted(d.most)
	d.ctx, d.cut = context.WithCancelCause(context.Background()) //nolint:forbidigo // they outlive every request; Close ends it
	return d
}

// Close ends the service: nothing may be asked of it any more.
func (s *Service) Close(ctx context.Context) error {
	defer s.cache.close()
	s.titles.close(ctx)
	return s.EndDrains(ctx)
}

// EndDrains ends the completions that go on without their client: it waits for them
// a little, then cuts them and waits until they are accounted for. From then on a
// completion ends with its client, so that a server which stops waits for nobody
// who has left. Only the first call counts.
func (s *Service) EndDrains(ctx context.Context) error {
	d := s.drains
	d.ending.Do(func() { d.failed = d.end(ctx) })
	return d.failed
}

func (d *drains) end(ctx context.Context) error {
	waiting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if d.slots.Acquire(waiting, d.most) == nil {
		d.cut(nil)
		return nil
	}
	d.cut(models.Unavailable(models.CodeShuttingDown, "The server is shutting down."))
	if err := d.slots.Acquire(ctx, d.most); err != nil {
		return fmt.Errorf("cut completions whose clients left: %w", err)
	}
	return nil
}

// departure is how a job learns that its client has left, and what it does then.
// A job that does not drain has none: its context is the client's.
type departure struct {
	drains *drains
	cancel context.CancelCauseFunc // of the job

	mu       sync.Mutex
	left     bool
	draining bool
	stops    []func() bool
}

// stay gives a job a context that outlives its client's.
func (d *drains) stay(client context.Context) (context.Context, *departure) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(client))
	out := &departure{drains: d, cancel: cancel}
	stop := context.AfterFunc(client, func() { out.leave(context.Cause(client)) })
	out.mu.Lock()
	defer out.mu.Unlock()
	out.stops = append(out.stops, stop)
	return ctx, out
}

// leave says that the client has left. It says whether the job drains.
func (d *departure) leave(cause error) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left {
		return d.draining
	}
	d.left = true
	var ours *models.Error
	// The server itself may have ended the request; and there may be too many.
	if errors.As(cause, &ours) || !d.drains.slots.TryAcquire(1) {
		d.cancel(cause)
		return false
	}
	d.draining = true
	timer := time.AfterFunc(d.drains.timeout, func() { d.cancel(context.Canceled) })
	cut := context.AfterFunc(d.drains.ctx, func() { d.cancel(context.Cause(d.drains.ctx)) })
	d.stops = append(d.stops, timer.Stop, cut)
	return true
}

// gone says whether the client has left.
func (d *departure) gone() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left
}

// close ends it, with the job.
func (d *departure) close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, stop := range d.stops {
		stop()
	}
	d.stops = nil
	d.cancel(nil)
	if d.draining {
		d.draining = false
		d.drains.slots.Release(1)
	}
	d.left = true // a client that leaves now finds nothing to do
}

// drain reads the answer to its end for a client that has left, within bounds,
// so that the upstream's own numbers are charged.
func (s *Stream) drain() {
	j := s.job
	defer func() {
		if p := recover(); p != nil {
			zerolog.Ctx(j.ctx).Error().Err(fmt.Errorf("panic: %v\n%s", p, debug.Stack())).Msg("drain stream")
		}
		if !s.done {
			_ = j.settle(context.Canceled)
			s.finish()
		}
	}()
	for !s.done && j.read.tokens() <= j.s.drains.tokens {
		s.take(s.upstream.Next())
		s.ready = nil
	}
}
