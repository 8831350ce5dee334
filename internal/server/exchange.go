package server

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"github.com/coaidev/coai/models"
)

// exchange is one request on its way: its context, and the writer of its answer,
// which remembers what was answered.
type exchange struct {
	context.Context //nolint:containedctx // it is one

	server *Server
	raw    http.ResponseWriter // the connection's
	out    http.ResponseWriter // raw, or a compressor in front of it

	status int // 0 until the head of the answer is written
	bytes  int64

	id      string
	start   time.Time
	client  netip.Addr
	mount   *Mount         // nil for the operations' own paths
	request *http.Request  // whose Pattern names the route
	viewer  *models.Viewer // nil: nobody, or not yet
	trace   trace.TraceID  // zero: none that is sampled
	asked   *models.Client // nil: nobody has asked for it

	logOnce sync.Once
	log     zerolog.Logger
	values  [7]string // of headers
}

// Value is context.Context's. One context for all that a request carries is
// cheaper to make, and to search, than one for each.
func (x *exchange) Value(key any) any {
	if _, own := key.(exchangeKey); own {
		return x
	}
	if key == x.server.loggerKey {
		return x.logger()
	}
	if key == models.ClientKey() {
		return x.makeClient()
	}
	if value, ok := models.RequestValue(key, x.id, x.viewer); ok {
		return value
	}
	return x.Context.Value(key)
}

// logger makes the request's logger when somebody has something to log.
func (x *exchange) logger() *zerolog.Logger {
	x.logOnce.Do(func() {
		with := x.server.log.With().Str("request_id", x.id)
		if x.trace.IsValid() {
			with = with.Stringer("trace_id", x.trace)
		}
		x.log = with.Logger()
	})
	return &x.log
}

// loggerKey is the key by which zerolog finds a logger in a context.
func loggerKey() any {
	asked := &keyCatcher{Context: context.Background()} //nolint:forbidigo // nothing is done in it
	zerolog.Ctx(asked)
	return asked.key
}

// keyCatcher is a context that remembers what it was asked for.
type keyCatcher struct {
	context.Context //nolint:containedctx // it is one

	key any
}

// Value is context.Context's.
func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

type exchangeKey struct{}

// header sets a header of the answer to a value that is kept in the exchange.
func (x *exchange) header(name string, at int, value string) {
	x.values[at] = value
	x.raw.Header()[name] = x.values[at : at+1 : at+1]
}

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
	t, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(t), "text/event-stream")
}

// observe opens the exchange: request id, span; and closes it: log line,
// measurement.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x, span := s.open(w, r)
		defer x.close(span)
		next.ServeHTTP(w, x.request)
	})
}

// open begins an exchange. What it needs is gone from the stack when a stream waits.
func (s *Server) open(w http.ResponseWriter, r *http.Request) (*exchange, trace.Span) {
	x := &exchange{Context: r.Context(), server: s, raw: w, out: w, start: time.Now(), client: s.clientAddr(r), id: requestID(r.Header)}
	var span trace.Span
	x.Context, span = s.tel.begin(r)
	if sc := span.SpanContext(); sc.IsSampled() {
		x.trace = sc.TraceID()
	}
	x.request = r.WithContext(x)
	x.request.RemoteAddr = remoteAddr(r.RemoteAddr, x.client)

	// A deadline that an earlier request on the connection set for its own
	// writes must not hit this one.
	if c, known := x.Context.Value(connectionKey{}).(*connection); !known || c.limited {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	}
	x.header("X-Request-Id", 0, x.id)
	w.Header()["X-Content-Type-Options"] = s.nosniff
	return x, span
}

func (x *exchange) close(span trace.Span) {
	if x.status == 0 {
		x.status = http.StatusOK // net/http writes it when the handler has not
	}
	x.server.tel.end(x, span, x)
	x.logExchange()
}

// connection is what the server knows of a connection.
type connection struct{ limited bool } // a deadline of writes has been set

type connectionKey struct{}

// SetWriteDeadline is what http.ResponseController looks for.
func (x *exchange) SetWriteDeadline(at time.Time) error {
	if c, known := x.Context.Value(connectionKey{}).(*connection); known {
		c.limited = true
	}
	return http.NewResponseController(x.raw).SetWriteDeadline(at) //nolint:wrapcheck // a writer's error is its own
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

// logExchange writes a line about the request. What went well is in the ledger and
// in the metrics: at the default level it is not worth a line each.
func (x *exchange) logExchange() {
	level := zerolog.DebugLevel
	switch {
	case x.mount == nil: // probes come every few seconds
	case x.status >= http.StatusInternalServerError:
		level = zerolog.WarnLevel
	case x.status >= http.StatusBadRequest:
		level = zerolog.InfoLevel
	}
	if level < x.server.log.GetLevel() {
		return
	}
	e := x.logger().WithLevel(level)
	e.Str("method", clip(x.request.Method, 20)).Str("route", x.route()).Int("status", x.status).
		Int64("bytes", x.bytes).Float64("ms", float64(time.Since(x.start).Microseconds())/1000).
		Stringer("client", x.client)
	if x.viewer != nil {
		e.Str("user_id", x.viewer.UserID).Str("key_id", x.viewer.KeyID)
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
