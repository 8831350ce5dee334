package accounts

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/mail"
)

const (
	// maxErrands is how many errands run or wait at a time; beyond them they are
	// not done, and whoever waits for the e-mail asks again.
	maxErrands    = 200
	errandTimeout = time.Minute
)

// errands is work that no answer waits for: so an answer neither takes the time
// of a mail server, nor tells by its time whether an account exists.
type errands struct {
	mu      *sync.Mutex
	running *sync.WaitGroup
	state   *errandState
}

type errandState struct {
	n      int
	closed bool
}

func newErrands() errands { return errands{new(sync.Mutex), new(sync.WaitGroup), new(errandState)} }

// later does an errand after the request.
func (s *Service) later(ctx context.Context, what string, do func(ctx context.Context) error) {
	e := s.errands
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state.closed || e.state.n >= maxErrands {
		zerolog.Ctx(ctx).Warn().Str("errand", what).Msg("too many errands at a time: this one is not done")
		return
	}
	e.state.n++
	ctx = context.WithoutCancel(ctx)
	e.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, errandTimeout)
		defer cancel()
		if err := do(ctx); err != nil {
			zerolog.Ctx(ctx).Error().Err(err).Str("errand", what).Msg("an errand failed")
		}
		e.mu.Lock()
		e.state.n--
		e.mu.Unlock()
	})
}

// Close waits for e-mails that are on their way, as long as ctx lasts. It may be
// called twice.
func (s *Service) Close(ctx context.Context) error {
	e := s.errands
	e.mu.Lock()
	e.state.closed = true
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return wrap("wait for e-mails", ctx.Err())
	}
}

// send writes to somebody, if the operator lets us write to anybody.
func (s *Service) send(ctx context.Context, m mail.Message) error {
	if s.cfg.Mail == nil {
		return nil
	}
	return s.cfg.Mail.Send(ctx, m) //nolint:wrapcheck // it says what failed
}
