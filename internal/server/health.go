package server

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Check is a part of the product that /readyz reports.
type Check struct {
	Name string
	// Probe says whether the part works. It has two seconds.
	Probe func(context.Context) error
	// Vital parts make the whole unavailable (503) when they fail; others
	// degrade it.
	Vital bool
}

const probeTimeout = 2 * time.Second

// readiness is what /readyz answers.
type readiness struct {
	Status string            `json:"status"` // ok, degraded or unavailable
	Checks map[string]string `json:"checks"` // ok, failed, degraded or draining
}

// operations serves the paths for those who run the product, and says whether
// this was one.
func (s *Server) operations(w http.ResponseWriter, r *http.Request, x *exchange) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch r.Pattern = r.URL.Path; r.URL.Path {
	case "/healthz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	case "/readyz":
		s.serveReadiness(w, r)
	case "/metrics":
		if s.cfg.Metrics == nil {
			return false
		}
		s.cfg.Metrics.ServeHTTP(w, r)
	}
	x.request = r
	return true
}

func (s *Server) serveReadiness(w http.ResponseWriter, r *http.Request) {
	state := s.readiness(r.Context())
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if state.Status == "unavailable" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(state) // the client has left when this fails
}

// readiness asks all parts at a time. Why one failed goes into the log only:
// anybody may call this, and errors name hosts.
func (s *Server) readiness(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	state := readiness{Status: "ok", Checks: map[string]string{"shutting_down": "ok", "limiter": "ok"}}
	if s.limiter.Degraded() {
		state.Status, state.Checks["limiter"] = "degraded", "degraded"
	}
	failed := make([]error, len(s.cfg.Checks))
	var wg sync.WaitGroup
	for i, c := range s.cfg.Checks {
		wg.Go(func() { failed[i] = c.Probe(ctx) })
	}
	wg.Wait()
	for i, c := range s.cfg.Checks {
		switch {
		case failed[i] == nil:
			state.Checks[c.Name] = "ok"
			continue
		case c.Vital:
			state.Status = "unavailable"
		case state.Status == "ok":
			state.Status = "degraded"
		}
		state.Checks[c.Name] = "failed"
		zerolog.Ctx(ctx).Warn().Err(failed[i]).Str("check", c.Name).Msg("readiness check failed")
	}
	if s.draining.Load() {
		state.Status, state.Checks["shutting_down"] = "unavailable", "draining"
	}
	return state
}
