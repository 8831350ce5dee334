// Package server is the HTTP server around the faces: it signs callers in,
// limits their rate, gives requests their ids, logs and measures them, and
// drains them at the end.
package server

import (
	"context"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/idempotency"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/models"
)

// Mount is a face: a handler and the language of its errors.
type Mount struct {
	// Pattern is a path such as /graphql, or, with a final slash, a path and all
	// below it, such as /v1/.
	Pattern string
	Handler http.Handler
	// WriteError answers with an error in the face's own shape, before the
	// handler has written anything.
	WriteError func(http.ResponseWriter, *http.Request, error)
	// Anonymous lets requests without a credential through, without a viewer:
	// a websocket signs in later. A credential that is given must still be good.
	Anonymous bool
	// Uncounted lets requests through without taking a token from any limit: for
	// what is the same for all and costs nothing to send, such as a page's scripts.
	Uncounted bool
	// Idempotent lets requests that change something carry an Idempotency-Key.
	Idempotent bool
}

// Config says how to serve.
type Config struct {
	Addr            string         // for the log; Serve takes the listener
	CORSOrigins     []string       // origins that browsers may call from; empty: any
	TrustedProxies  []netip.Prefix // peers whose X-Forwarded-For counts; empty: none
	DrainDelay      time.Duration  // how long new requests are still taken, and answered with 503, once the end is near; default 0
	ShutdownTimeout time.Duration  // how long running requests may take to finish at the end; default 30 s
	Checks          []Check        // what /readyz reports beside the limiter and the server itself
	Metrics         http.Handler   // serves /metrics; nil: not here
	// Idempotency keeps answers for mounts that are Idempotent; nil: none are kept.
	Idempotency *idempotency.Store
	// WriteError answers for paths outside all mounts. Default: as the first mount does.
	WriteError func(http.ResponseWriter, *http.Request, error)
	// OnShutdown are called, all at a time, when draining begins, for connections
	// that the HTTP server does not know any more: websockets. Their context ends
	// when ShutdownTimeout does.
	OnShutdown []func(context.Context)
}

const defaultShutdownTimeout = 30 * time.Second

// Server serves the mounts, and /healthz, /readyz and /metrics.
type Server struct {
	cfg      Config
	accounts *accounts.Service
	limiter  *ratelimit.Limiter
	log      zerolog.Logger
	tel      telemetry
	mounts   []*Mount
	unknown  *Mount // takes what no mount does
	handler  http.Handler
	draining atomic.Bool
}

// New makes a server. The meter and the tracer may be no-ops. At least one
// mount is needed unless cfg.WriteError is set.
func New(cfg Config, acc *accounts.Service, lim *ratelimit.Limiter, log zerolog.Logger, meter metric.Meter, tracer trace.Tracer, mounts ...Mount) *Server {
	if cfg.ShutdownTimeout <= 0 {
		cfg.ShutdownTimeout = defaultShutdownTimeout
	}
	if cfg.WriteError == nil {
		cfg.WriteError = mounts[0].WriteError
	}
	s := &Server{cfg: cfg, accounts: acc, limiter: lim, log: log, tel: newTelemetry(meter, tracer, log)}
	for i := range mounts {
		s.mounts = append(s.mounts, &mounts[i])
	}
	s.unknown = &Mount{
		WriteError: cfg.WriteError, Anonymous: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cfg.WriteError(w, r, UnknownEndpoint(r)) }),
	}
	inner := crossOrigin(cfg.CORSOrigins, http.HandlerFunc(s.route))
	s.handler = s.observe(compress(s.guard(inner)))
	return s
}

// Handler is the whole of it, for tests and for other servers.
func (s *Server) Handler() http.Handler { return s.handler }

// UnknownEndpoint is the error for a path that nothing serves.
func UnknownEndpoint(r *http.Request) error {
	return &models.Error{
		Kind: models.KindNotFound, Code: models.CodeUnknownEndpoint,
		Message: "Unknown request URL: " + r.Method + " " + clip(r.URL.Path, 200) + ". See the API reference for the endpoints.",
	}
}

// route finds who answers. It does not use http.ServeMux, which answers some
// requests with HTML redirects.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	x := exchangeFrom(r.Context())
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics":
		if s.operations(w, r, x) {
			return
		}
	}
	x.mount = s.mountFor(r.URL.Path)
	r.Pattern = x.mount.Pattern
	s.serveMount(w, r, x)
}

func (s *Server) mountFor(p string) *Mount {
	var best *Mount
	for _, m := range s.mounts {
		below := strings.HasSuffix(m.Pattern, "/") && (strings.HasPrefix(p, m.Pattern) || p == strings.TrimSuffix(m.Pattern, "/"))
		if (below || p == m.Pattern) && (best == nil || len(m.Pattern) > len(best.Pattern)) {
			best = m
		}
	}
	if best == nil || p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/") {
		return s.unknown
	}
	return best
}

// serveMount signs the caller in, counts the request, and hands it over.
func (s *Server) serveMount(w http.ResponseWriter, r *http.Request, x *exchange) {
	v, err := s.admit(w, r, x)
	if err != nil {
		x.mount.WriteError(w, r, err)
		return
	}
	if v != nil {
		x.userID, x.keyID = v.UserID, v.KeyID
		r = r.WithContext(models.WithViewer(r.Context(), v))
	}
	x.request = r // the face's own router leaves its pattern on it
	switch key, err := s.idempotencyKey(r, x.mount, v); {
	case err != nil:
		x.mount.WriteError(w, r, err)
	case key != "":
		s.serveOnce(w, r, x.mount, v, key)
	default:
		x.mount.Handler.ServeHTTP(w, r)
	}
}

func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
