package server

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coaidev/coai/models"
)

const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
	// abortGrace is what handlers get to end once their context has.
	abortGrace = 2 * time.Second
)

// Serve answers on l until ctx ends. Then it takes no new connections, lets
// running requests and streams finish for up to ShutdownTimeout, ends the
// context of those that have not (the context's cause is a [models.Error] with
// the code shutting_down), and closes what is left.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, &connection{})
		},
		ErrorLog: stdlog.New(s.log.With().Str("component", "http").Logger(), "", 0),
		// No WriteTimeout: a stream may take minutes. Each write has a deadline instead.
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	s.log.Info().Stringer("addr", l.Addr()).Msg("listening")

	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.drain(base, abort, srv)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

func (s *Server) drain(base context.Context, abort context.CancelCauseFunc, srv *http.Server) {
	s.draining.Store(true)
	srv.SetKeepAlivesEnabled(false)
	s.log.Info().Dur("timeout_ms", s.cfg.ShutdownTimeout).Msg("draining")
	if s.cfg.DrainDelay > 0 {
		delay := time.NewTimer(s.cfg.DrainDelay)
		defer delay.Stop()
		<-delay.C
	}
	grace, cancel := context.WithTimeout(base, s.cfg.ShutdownTimeout)
	defer cancel()
	var hooks sync.WaitGroup
	for _, hook := range s.cfg.OnShutdown {
		hooks.Go(func() { hook(grace) })
	}
	err := srv.Shutdown(grace)
	if err != nil {
		s.log.Warn().Err(err).Msg("requests are still running: cancelling them")
		abort(models.Unavailable(models.CodeShuttingDown, "This server is shutting down. Try again."))
		last, cancel := context.WithTimeout(context.WithoutCancel(base), abortGrace)
		defer cancel()
		_ = srv.Shutdown(last)
		_ = srv.Close()
	}
	ended := make(chan struct{})
	go func() { hooks.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-grace.Done():
		s.log.Warn().Msg("websockets did not close in time")
	}
}
