package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/coaidev/coai/graph/generated"
	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/chat"
	"github.com/coaidev/coai/internal/payments"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

const adminKey = "an-admin-key-for-the-tests-of-graph"

// world is the domain on a real database, with the channel echo.
type world struct {
	t        *testing.T
	resolver *Resolver
	logs     *logs
	admin    *models.Viewer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, db, logged := t.Context(), testdb.New(t, "sqlite"), new(logs)
	log := zerolog.New(logged)
	acc := accounts.New(db, accounts.Config{BootstrapKey: adminKey})
	if _, err := acc.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	box, err := sealed.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	reg := channels.New(db, box, channels.Config{}, log)
	t.Cleanup(reg.Close)
	if err := reg.Seed(ctx, channels.Upstreams{}); err != nil {
		t.Fatal(err)
	}
	if err := reg.Load(ctx); err != nil {
		t.Fatal(err)
	}
	ledger := usage.New(db, log)
	t.Cleanup(func() {
		if err := ledger.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	completions := chat.New(reg, ledger, archive.New(db), chat.Config{}, chat.Telemetry{
		Meter: noop.NewMeterProvider().Meter(""), Tracer: tracenoop.NewTracerProvider().Tracer(""),
	})
	w := &world{t: t, logs: logged, resolver: NewResolver(Deps{
		Accounts: acc, Channels: reg, Chat: completions, Payments: payments.New(db, payments.Config{}, log),
		Usage: ledger, Analytics: usage.NewAnalytics(db, 0), Limiter: ratelimit.NewMemory(),
	})}
	if w.admin, err = acc.Authenticate(ctx, adminKey, peer(httptest.NewRequest("GET", "/", nil))); err != nil {
		t.Fatal(err)
	}
	return w
}

// user makes an account with the tier free and a key of all default scopes.
func (w *world) user(email string) (v *models.Viewer, secret string) {
	w.t.Helper()
	ctx, acc := w.t.Context(), w.resolver.accounts
	u, err := acc.CreateUser(ctx, models.CreateUserInput{Email: email})
	if err != nil {
		w.t.Fatal(err)
	}
	made, err := acc.CreateAPIKey(ctx, accounts.Operator(u), models.CreateAPIKeyInput{Name: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	v, err = acc.Authenticate(ctx, *made.Secret, peer(httptest.NewRequest("GET", "/", nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	return v, *made.Secret
}

// handler is the handler over the resolver, or over another root in its place.
func (w *world) handler(cfg HandlerConfig, root ...generated.ResolverRoot) *Handler {
	if len(root) == 0 {
		return NewHandler(w.resolver, cfg)
	}
	return newHandler(executable(root[0]), cfg, gate{authenticate: w.resolver.accounts.Authenticate, admit: w.resolver.admit})
}

// serve puts the handler behind what the server does: sign-in by the bearer
// key, a request id, a logger.
func (w *world) serve(h http.Handler) *httptest.Server {
	w.t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx := testContext(r.Context(), w.logs)
		if key := headerCredential(r.Header); key != "" {
			v, err := w.resolver.accounts.Authenticate(ctx, key, peer(r))
			if err != nil {
				WriteError(rw, r.WithContext(ctx), err)
				return
			}
			ctx = models.WithViewer(ctx, v)
		}
		h.ServeHTTP(rw, r.WithContext(ctx))
	}))
	w.t.Cleanup(srv.Close)
	return srv
}

func testContext(ctx context.Context, l *logs) context.Context {
	return zerolog.New(l).WithContext(models.WithRequestID(ctx, "req_test"))
}

// stubRoot replaces the root types that it names.
type stubRoot struct {
	*Resolver
	query        generated.QueryResolver
	subscription generated.SubscriptionResolver
}

func (s stubRoot) Query() generated.QueryResolver {
	if s.query != nil {
		return s.query
	}
	return s.Resolver.Query()
}

func (s stubRoot) Subscription() generated.SubscriptionResolver { return s.subscription }

// streamFunc is a subscription root of one function.
type streamFunc func(ctx context.Context, in models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error)

func (f streamFunc) ChatCompletion(ctx context.Context, in models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error) {
	return f(ctx, in)
}

func (streamFunc) Message(context.Context, models.CreateMessageInput) (<-chan *models.StreamEvent, error) {
	return nil, errors.New("not this one")
}

func (streamFunc) Response(context.Context, models.CreateResponseInput) (<-chan *models.StreamEvent, error) {
	return nil, errors.New("not this one")
}

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// result is a GraphQL response. Data is nil when the key is absent.
type result struct {
	Status  int         `json:"-"`
	Header  http.Header `json:"-"`
	Body    string      `json:"-"`
	HasData bool        `json:"-"`
	Data    json.RawMessage
	Errors  []problem
}

type problem struct {
	Message    string
	Path       []any
	Locations  []map[string]int
	Extensions struct {
		Code, Type, Param, RequestID string
		RetryAfterMS                 int64 `json:"retryAfterMs"`
	}
}

// code is the code of the only error, or none.
func (r *result) code() string {
	if len(r.Errors) != 1 {
		return ""
	}
	return r.Errors[0].Extensions.Code
}

// do sends a request with headers as name, value pairs.
func do(t *testing.T, srv *httptest.Server, method, url, body string, headers ...string) *result {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := &result{Status: res.StatusCode, Header: res.Header, Body: string(b)}
	if strings.Contains(res.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(b, r); err != nil {
			t.Fatalf("decode %q: %v", b, err)
		}
		var keys map[string]json.RawMessage
		_ = json.Unmarshal(b, &keys)
		_, r.HasData = keys["data"]
	}
	return r
}

// post sends a query with variables as the holder of a key.
func post(t *testing.T, srv *httptest.Server, key, query string, variables any) *result {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	headers := []string{"Content-Type", "application/json", "Accept", mediaGraphQL}
	if key != "" {
		headers = append(headers, "Authorization", "Bearer "+key)
	}
	return do(t, srv, http.MethodPost, "/graphql", string(body), headers...)
}

// as decodes the data.
func as[T any](t *testing.T, r *result) (v T) {
	t.Helper()
	if len(r.Errors) > 0 {
		t.Fatalf("errors: %s", r.Body)
	}
	if err := json.Unmarshal(r.Data, &v); err != nil {
		t.Fatalf("decode %s: %v", r.Data, err)
	}
	return v
}

// eventually waits for a condition, and fails the test after ten seconds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}
