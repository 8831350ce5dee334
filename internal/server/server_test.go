package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/server"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

const adminKey = "server-test-admin-key-0123456789"

// logs collects log lines.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// writeError answers as a face does: with the code alone.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	e, _ := models.AsError(err)
	status := http.StatusTeapot
	switch e.Kind { //nolint:exhaustive // those that the server itself answers with
	case models.KindUnauthenticated:
		status = http.StatusUnauthorized
	case models.KindNotFound:
		status = http.StatusNotFound
	case models.KindRateLimited:
		status = http.StatusTooManyRequests
	case models.KindUnavailable:
		status = http.StatusServiceUnavailable
	case models.KindInternal:
		status = http.StatusInternalServerError
	}
	http.Error(w, e.Code, status)
}

// front is a server in front of a face of the test's own.
type front struct {
	t    *testing.T
	srv  *server.Server
	logs *logs
	acc  *accounts.Service
	key  string
}

func newFront(t *testing.T, cfg server.Config, face http.HandlerFunc) *front {
	t.Helper()
	f := &front{t: t, logs: new(logs), key: adminKey}
	f.acc = accounts.New(testdb.New(t, "sqlite"), accounts.Config{BootstrapKey: adminKey})
	if _, err := f.acc.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.srv = server.New(cfg, f.acc, ratelimit.NewMemory(), zerolog.New(f.logs), noop.Meter{}, tracenoop.Tracer{},
		server.Mount{Pattern: "/v1/", WriteError: writeError, Handler: face},
		server.Mount{Pattern: "/open", WriteError: writeError, Handler: face, Anonymous: true})
	return f
}

// ask sends a request from an address. headers are pairs.
func (f *front) ask(method, target, from string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), method, target, nil)
	r.RemoteAddr = from
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.srv.Handler().ServeHTTP(w, r)
	return w
}

func (f *front) bearer(target string) *httptest.ResponseRecorder {
	return f.ask(http.MethodGet, target, "192.0.2.1:4000", "Authorization", "Bearer "+f.key)
}

func whoami(w http.ResponseWriter, r *http.Request) {
	v := models.ViewerFrom(r.Context())
	if v == nil {
		_, _ = io.WriteString(w, "nobody from "+r.RemoteAddr)
		return
	}
	_, _ = io.WriteString(w, string(v.Role)+" from "+r.RemoteAddr)
}

func TestCredentials(t *testing.T) {
	f := newFront(t, server.Config{}, whoami)
	for name, c := range map[string]struct {
		target  string
		headers []string
		status  int
		body    string
	}{
		"bearer":                            {"/v1/x", []string{"Authorization", "Bearer " + adminKey}, 200, "admin from"},
		"bearer, odd case":                  {"/v1/x", []string{"Authorization", "bearer  " + adminKey}, 200, "admin from"},
		"Azure's header":                    {"/v1/x", []string{"api-key", adminKey}, 200, "admin from"},
		"Anthropic's header":                {"/v1/x", []string{"x-api-key", adminKey}, 200, "admin from"},
		"none":                              {"/v1/x", nil, 401, "missing_api_key"},
		"another scheme":                    {"/v1/x", []string{"Authorization", "Basic YTpi"}, 401, "invalid_api_key"},
		"a wrong one":                       {"/v1/x", []string{"Authorization", "Bearer sk-coai-nonsense"}, 401, "invalid_api_key"},
		"none is needed":                    {"/open", nil, 200, "nobody from"},
		"a wrong one, where none is needed": {"/open", []string{"Authorization", "Bearer sk-coai-nonsense"}, 401, "invalid_api_key"},
		"no such path":                      {"/v2/x", nil, 404, "unknown_endpoint"},
		"a path with dots":                  {"/v1/../open", nil, 404, "unknown_endpoint"},
		"a path with two slashes":           {"//v1/x", nil, 404, "unknown_endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.ask(http.MethodGet, c.target, "192.0.2.1:4000", c.headers...)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			for _, name := range []string{"X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Ratelimit-Limit-Requests"} {
				if w.Header().Get(name) == "" {
					t.Errorf("no %s in %v", name, w.Header())
				}
			}
			if (w.Code == http.StatusUnauthorized) != (w.Header().Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("WWW-Authenticate: %q with status %d", w.Header().Get("WWW-Authenticate"), w.Code)
			}
		})
	}
	if strings.Contains(f.logs.String(), adminKey) || strings.Contains(f.logs.String(), "nonsense") {
		t.Error("the log holds a credential")
	}
}

func TestRequestID(t *testing.T) {
	f := newFront(t, server.Config{}, whoami)
	for given, kept := range map[string]bool{
		"abc-DEF_1.2": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a\tb": false, "ü": false, "a;b": false,
	} {
		w := f.ask(http.MethodGet, "/open", "192.0.2.1:4000", "X-Request-Id", given)
		got := w.Header().Get("X-Request-Id")
		if (got == given) != kept || !kept && !strings.HasPrefix(got, "req_") {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestForwardedAddress(t *testing.T) {
	f := newFront(t, server.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}, whoami)
	for name, c := range map[string]struct{ peer, forwarded, client string }{
		"no proxy":                         {"192.0.2.1:4000", "", "192.0.2.1"},
		"nobody's word but a proxy's":      {"192.0.2.1:4000", "198.51.100.7", "192.0.2.1"},
		"one proxy":                        {"10.0.0.1:4000", "198.51.100.7", "198.51.100.7"},
		"two proxies":                      {"10.0.0.1:4000", "198.51.100.7, 10.0.0.2", "198.51.100.7"},
		"a forged entry in front":          {"10.0.0.1:4000", "203.0.113.9, 198.51.100.7", "198.51.100.7"},
		"a port":                           {"10.0.0.1:4000", "198.51.100.7:1234", "198.51.100.7"},
		"IPv6":                             {"[fd00::1]:4000", "[2001:db8::7]:443", "2001:db8::7"},
		"nonsense":                         {"10.0.0.1:4000", "unknown", "10.0.0.1"},
		"nonsense behind an address":       {"10.0.0.1:4000", "unknown, 198.51.100.7", "198.51.100.7"},
		"an IPv4 address in IPv6 clothing": {"[::ffff:10.0.0.1]:4000", "198.51.100.7", "198.51.100.7"},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if c.forwarded != "" {
				headers = []string{"X-Forwarded-For", c.forwarded}
			}
			w := f.ask(http.MethodGet, "/open", c.peer, headers...)
			host, _, err := net.SplitHostPort(strings.TrimPrefix(w.Body.String(), "nobody from "))
			if err != nil || host != c.client {
				t.Errorf("the face sees %q, want %s", w.Body, c.client)
			}
		})
	}
}

// Those without a key share a limit by address, or by network in IPv6; guessed
// keys count too, and a refusal says when to come back.
func TestNamelessCallersAreLimited(t *testing.T) {
	f := newFront(t, server.Config{}, whoami)
	plan, err := f.acc.Plan(t.Context(), models.TierFree)
	if err != nil {
		t.Fatal(err)
	}
	var last *httptest.ResponseRecorder
	for i := range plan.RequestsPerMinute + 1 {
		// A minute may end in between; then the limit is reached a minute's worth later.
		if last = f.ask(http.MethodGet, "/v1/x", "[2001:db8::"+strconv.FormatInt(int64(i+1), 16)+"]:1", "Authorization", "Bearer sk-coai-guess"+strconv.Itoa(i)); last.Code == http.StatusTooManyRequests {
			break
		}
	}
	for i := 0; last.Code != http.StatusTooManyRequests && i < plan.RequestsPerMinute; i++ {
		last = f.ask(http.MethodGet, "/open", "[2001:db8::1]:1")
	}
	h := last.Header()
	wait, err := strconv.Atoi(h.Get("Retry-After"))
	ms, err2 := strconv.Atoi(h.Get("Retry-After-Ms"))
	if last.Code != http.StatusTooManyRequests || err != nil || err2 != nil || wait < 1 || wait > 60 || ms > wait*1000 || h.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("%d %v", last.Code, h)
	}
	if w := f.ask(http.MethodGet, "/open", "[2001:db8:1::1]:1"); w.Code != http.StatusOK {
		t.Errorf("another network: %d", w.Code)
	}
	if w := f.bearer("/v1/x"); w.Code != http.StatusOK {
		t.Errorf("a caller with a key: %d", w.Code)
	}
}

func TestPanics(t *testing.T) {
	f := newFront(t, server.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/late" {
			_, _ = io.WriteString(w, "half")
		}
		panic("the secret " + adminKey[:6])
	})
	w := f.bearer("/v1/early")
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), models.CodeInternal) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(f.logs.String(), "handler panicked") || !strings.Contains(f.logs.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("the log says %s", f.logs)
	}
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // the very value
				t.Errorf("after half an answer the connection must break; panicked with %v", p)
			}
		}()
		f.bearer("/v1/late")
	}()
}

func TestCompression(t *testing.T) {
	long := strings.Repeat(`{"a":1}`, 1000)
	f := newFront(t, server.Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, long[:map[bool]int{true: len(long), false: 100}[r.URL.Query().Has("long")]])
	})
	for target, compressed := range map[string]bool{
		"/v1/x?type=application/json&long":         true,
		"/v1/x?type=application/json":              false,
		"/v1/x?type=text/event-stream&long":        false,
		"/v1/x?type=audio/mpeg&long":               false,
		"/v1/x?type=application/octet-stream&long": false,
	} {
		w := f.ask(http.MethodGet, target, "192.0.2.1:4000", "Authorization", "Bearer "+adminKey, "Accept-Encoding", "gzip")
		if (w.Header().Get("Content-Encoding") == "gzip") != compressed {
			t.Errorf("%s: %v", target, w.Header())
		}
		w = f.ask(http.MethodGet, target, "192.0.2.1:4000", "Authorization", "Bearer "+adminKey, "Accept-Encoding", "gzip", "Cookie", "a=b")
		if w.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s, with a cookie: %v", target, w.Header())
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	for name, c := range map[string]struct {
		allowed []string
		origin  string
		want    string
	}{
		"any":         {nil, "https://app.example.com", "*"},
		"a listed":    {[]string{"https://app.example.com"}, "https://app.example.com", "https://app.example.com"},
		"an unlisted": {[]string{"https://app.example.com"}, "https://evil.example.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, server.Config{CORSOrigins: c.allowed}, whoami)
			w := f.ask(http.MethodOptions, "/v1/x", "192.0.2.1:4000", "Origin", c.origin,
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != c.want || w.Header().Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("preflight: %d %v", w.Code, w.Header())
			}
			w = f.ask(http.MethodGet, "/v1/x", "192.0.2.1:4000", "Origin", c.origin, "Authorization", "Bearer "+adminKey)
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != c.want {
				t.Errorf("request: %v", w.Header())
			}
			if c.want != "" && !strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), "X-Request-Id") {
				t.Errorf("exposed: %v", w.Header())
			}
		})
	}
}

func TestReadiness(t *testing.T) {
	var database, cache error
	f := newFront(t, server.Config{Checks: []server.Check{
		{Name: "database", Vital: true, Probe: func(context.Context) error { return database }},
		{Name: "cache", Probe: func(context.Context) error { return cache }},
	}}, whoami)
	state := func() (int, string, map[string]string) {
		w := f.ask(http.MethodGet, "/readyz", "192.0.2.1:4000")
		var s struct {
			Status string
			Checks map[string]string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		return w.Code, s.Status, s.Checks
	}
	if code, status, checks := state(); code != 200 || status != "ok" || checks["database"] != "ok" || checks["cache"] != "ok" {
		t.Errorf("%d %s %v", code, status, checks)
	}
	cache = errors.New("dial cache.internal: refused")
	if code, status, checks := state(); code != 200 || status != "degraded" || checks["cache"] != "failed" {
		t.Errorf("%d %s %v", code, status, checks)
	}
	database = errors.New("away")
	if code, status, checks := state(); code != 503 || status != "unavailable" || checks["database"] != "failed" {
		t.Errorf("%d %s %v", code, status, checks)
	}
	if w := f.ask(http.MethodGet, "/healthz", "192.0.2.1:4000"); w.Code != 200 {
		t.Errorf("alive: %d", w.Code)
	}
	if w := f.ask(http.MethodGet, "/metrics", "192.0.2.1:4000"); w.Code != 404 {
		t.Errorf("metrics that are not here: %d", w.Code)
	}
}

// What runs may finish; what comes is refused; what does not end is cut.
func TestDrain(t *testing.T) {
	started, finish, cut := make(chan struct{}, 2), make(chan struct{}), make(chan error, 1)
	f := newFront(t, server.Config{ShutdownTimeout: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		if r.URL.Path == "/v1/endless" {
			<-r.Context().Done()
			cut <- context.Cause(r.Context())
			return
		}
		<-finish
		_, _ = io.WriteString(w, "whole")
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.srv.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	answers := make(chan string, 2)
	for _, p := range []string{"/v1/slow", "/v1/endless"} {
		go func() {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+p, nil)
			r.Header.Set("Authorization", "Bearer "+adminKey)
			res, err := client.Do(r)
			if err != nil {
				answers <- p + ": " + err.Error()
				return
			}
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			answers <- p + ": " + string(b)
		}()
	}
	<-started
	<-started
	stop()
	for deadline := time.After(5 * time.Second); f.ask(http.MethodGet, "/readyz", "192.0.2.1:4000").Code != http.StatusServiceUnavailable; {
		select {
		case <-deadline:
			t.Fatal("the server does not drain")
		default:
		}
	}
	if w := f.bearer("/v1/new"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), models.CodeShuttingDown) || w.Header().Get("Retry-After") == "" {
		t.Errorf("a new request while draining: %d %s", w.Code, w.Body)
	}
	close(finish)
	var e *models.Error
	if cause := <-cut; !errors.As(cause, &e) || e.Code != models.CodeShuttingDown {
		t.Errorf("the endless request ended with %v", cause)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	for range 2 {
		if a := <-answers; strings.HasPrefix(a, "/v1/slow:") && a != "/v1/slow: whole" {
			t.Errorf("a running request got %q", a)
		}
	}
}
