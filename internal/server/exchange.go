package server

import (
	"bufio"
	"context"
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// exchange is one request on its way, and the writer of its answer, which
// remembers what was answered.
type exchange struct {
	raw http.ResponseWriter // the connection's
	out http.ResponseWriter // raw, or a compressor in front of it

	status int // 0 until the head of the answer is written
	bytes  int64

	start   time.Time
	client  netip.Addr
	mount   *Mount        // nil for the operations' own paths
	request *http.Request // whose Pattern names the route
	userID  string
	keyID   string
}

type exchangeKey struct{}

func exchangeFrom(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// Header is http.ResponseWriter's.
func (x *exchange) Header() http.Header { return x.raw.Header() }

// WriteHeader is http.ResponseWriter's.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		x.status = status
		if isEventStream(x.Header().Get("Content-Type")) {
			x.out = x.raw // no compressor between a stream and its flushes
		}
	}
	x.out.WriteHeader(status)
}

// Write is http.ResponseWriter's.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.out.Write(b)
	x.bytes += int64(n)
	return n, err //nolint:wrapcheck // a writer's error is its own
}

// FlushError is what http.ResponseController looks for.
func (x *exchange) FlushError() error {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(x.out).Flush() //nolint:wrapcheck // as above
}

// Flush is http.Flusher's.
func (x *exchange) Flush() { _ = x.FlushError() }

// Hijack is http.Hijacker's.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.raw).Hijack()
	if err == nil && x.status == 0 {
		x.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err //nolint:wrapcheck // as above
}

// Unwrap lets http.ResponseController find the connection's deadlines.
func (x *exchange) Unwrap() http.ResponseWriter { return x.raw }

func isEventStream(contentType string) bool {
	t, _, _ := mime.ParseMediaType(contentType)
	return t == "text/event-stream"
}

// observe opens the exchange: request id, logger, span; and closes it: log
// line, measurement.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{raw: w, out: w, start: time.Now(), client: s.clientAddr(r)}
		id := requestID(r.Header)
		ctx, span := s.tel.begin(r)
		logger := s.log.With().Str("request_id", id)
		if sc := span.SpanContext(); sc.IsSampled() {
			logger = logger.Stringer("trace_id", sc.TraceID())
		}
		ctx = logger.Logger().WithContext(models.WithRequestID(ctx, id))
		r = r.WithContext(context.WithValue(ctx, exchangeKey{}, x))
		r.RemoteAddr = remoteAddr(r.RemoteAddr, x.client)
		x.request = r

		// A deadline that an earlier request on the connection set for its own
		// writes must not hit this one.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		h := w.Header()
		h["X-Request-Id"] = []string{id}
		h["X-Content-Type-Options"] = []string{"nosniff"}

		defer func() {
			if x.status == 0 {
				x.status = http.StatusOK // net/http writes it when the handler has not
			}
			s.tel.end(ctx, span, x)
			logExchange(zerolog.Ctx(ctx), x)
		}()
		next.ServeHTTP(w, r)
	})
}

// guard puts the exchange in front of the writer, and turns panics into
// answers.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeFrom(r.Context())
		x.out = w
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			zerolog.Ctx(r.Context()).Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("handler panicked")
			if x.status != 0 {
				// Half an answer is out. Only a broken connection tells the client.
				panic(http.ErrAbortHandler)
			}
			e, _ := models.AsError(errPanicked)
			s.errorWriter(x)(x, r, e)
		}()
		next.ServeHTTP(x, r)
	})
}

var errPanicked = errors.New("the handler panicked")

func (s *Server) errorWriter(x *exchange) func(http.ResponseWriter, *http.Request, error) {
	if x.mount == nil {
		return s.cfg.WriteError
	}
	return x.mount.WriteError
}

func logExchange(log *zerolog.Logger, x *exchange) {
	level := zerolog.InfoLevel
	switch {
	case x.mount == nil:
		level = zerolog.DebugLevel // probes come every few seconds
	case x.status >= http.StatusInternalServerError:
		level = zerolog.WarnLevel
	}
	e := log.WithLevel(level)
	if !e.Enabled() {
		return
	}
	e.Str("method", clip(x.request.Method, 20)).Str("route", x.route()).Int("status", x.status).
		Int64("bytes", x.bytes).Float64("ms", float64(time.Since(x.start).Microseconds())/1000).
		Stringer("client", x.client)
	if x.userID != "" {
		e.Str("user_id", x.userID).Str("key_id", x.keyID)
	}
	e.Msg("request")
}

// route is the pattern that took the request, without its method: a value of
// which there are few.
func (x *exchange) route() string {
	p := x.request.Pattern
	if _, after, ok := strings.Cut(p, " "); ok {
		p = after
	}
	if p == "" || p == "/" {
		return "unknown"
	}
	return p
}

// requestID keeps the caller's id when it is harmless in headers and logs.
func requestID(h http.Header) string {
	const most = 128
	id := h.Get("X-Request-Id")
	valid := id != "" && len(id) <= most && !strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	})
	if !valid {
		return models.NewID(models.RequestPrefix)
	}
	return id
}
