// Package coaitest boots the whole product for tests and speaks to it as its
// users do: REST, GraphQL, websockets, server-sent events; behind it are
// scripted upstreams.
package coaitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// AdminKey is the API key of the admin of every product under test.
const AdminKey = "test-bootstrap-admin-key-0123456789"

// Backends are what a product runs on.
type Backends struct {
	Name        string
	DatabaseURL string // empty: SQLite in the data directory
	RedisURL    string // empty: embedded
}

// Each runs a test on embedded defaults, and on PostgreSQL with Redis.
func Each(t *testing.T, test func(t *testing.T, b Backends)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Backends{Name: "embedded"}) })
	t.Run("postgres+redis", func(t *testing.T) {
		test(t, Backends{Name: "postgres+redis", DatabaseURL: testdb.Open(t, "postgres"), RedisURL: testdb.Redis(t)})
	})
}

// Product is a running serving process.
type Product struct {
	URL    string // without a path
	DB     *storage.DB
	Logs   *Logs
	Client *http.Client

	t    testing.TB
	cfg  *app.Config
	stop context.CancelCauseFunc
	done chan error
}

// Start boots the product in this process on a free port. settings are COAI_…
// variables. It is stopped, and must stop cleanly, when the test ends.
func Start(t testing.TB, b Backends, settings ...string) *Product {
	t.Helper()
	dir := t.TempDir()
	env := []string{
		"COAI_ADDR=127.0.0.1:0", "COAI_DATA_DIR=" + dir, "COAI_BOOTSTRAP_ADMIN_KEY=" + AdminKey,
		"COAI_SHUTDOWN_TIMEOUT=5s", "COAI_MASTER_KEY=" + strings.Repeat("ab", 32),
		"COAI_DATABASE_URL=" + b.DatabaseURL, "COAI_REDIS_URL=" + b.RedisURL,
		"COAI_DETECT_OLLAMA=false", // one that runs here by chance
	}
	cfg, err := app.Load(app.Sources{Environ: append(env, settings...)})
	if err != nil {
		t.Fatal(err)
	}
	p := &Product{t: t, cfg: cfg, Logs: new(Logs), done: make(chan error, 1), Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	ctx, stop := context.WithCancelCause(context.WithoutCancel(t.Context())) // Stop ends it, after the test
	p.stop = stop
	a, err := app.New(ctx, cfg, zerolog.New(p.Logs).Level(zerolog.DebugLevel))
	if err != nil {
		t.Fatal(err)
	}
	a.Out = io.Discard
	addr, err := a.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.URL = "http://" + addr.(*net.TCPAddr).String()
	go func() { p.done <- a.Run(ctx) }()
	t.Cleanup(p.Stop)
	url := b.DatabaseURL
	if url == "" {
		url = "sqlite:" + filepath.Join(dir, "coai.db")
	}
	if p.DB, err = storage.Open(ctx, url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.DB.Close() })
	Eventually(t, "ready", func() bool {
		res, err := p.Client.Get(p.URL + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return p
}

// Attach speaks to a product that runs in a process of its own.
func Attach(t testing.TB, url string) *Product {
	p := &Product{URL: url, Logs: new(Logs), t: t, Client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(p.Client.CloseIdleConnections)
	return p
}

// Stop ends the product as SIGTERM does, and fails the test if it ends badly.
func (p *Product) Stop() {
	p.t.Helper()
	if p.done == nil {
		return
	}
	p.stop(nil)
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("the product stopped with %v", err)
		}
	case <-time.After(30 * time.Second):
		p.t.Error("the product does not stop")
	}
	p.done = nil
	p.Client.CloseIdleConnections()
	for _, secret := range []string{AdminKey, UpstreamKey, "sk-coai-"} {
		if strings.Contains(p.Logs.String(), secret) {
			p.t.Errorf("the log holds the secret %s", secret)
		}
	}
}

// Eventually waits until a condition holds, and fails the test after ten seconds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.After(10*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// Response is an answer, read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body.
func (r *Response) JSON(t testing.TB, to any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, to); err != nil {
		t.Fatalf("decode %q: %v", clip(r.Body), err)
	}
}

// Error is the error envelope in the body.
func (r *Response) Error(t testing.TB) (e struct {
	Message, Type, Code string
	Param               *string
	RequestID           string `json:"request_id"`
}) {
	t.Helper()
	body := map[string]any{"error": &e}
	var envelope struct{ Error json.RawMessage }
	r.JSON(t, &envelope)
	if err := json.Unmarshal(envelope.Error, body["error"]); err != nil {
		t.Fatalf("no error envelope in %q: %v", clip(r.Body), err)
	}
	return e
}

// Do sends a request with a key (empty: none). A body that is neither nil, a
// string nor bytes is sent as JSON.
func (p *Product) Do(method, path, key string, body any, headers ...string) *Response {
	p.t.Helper()
	res := p.Open(p.t.Context(), method, path, key, body, headers...)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("read the answer to %s %s: %v", method, path, err)
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: b}
}

// Open sends a request and leaves the answer's body to the caller.
func (p *Product) Open(ctx context.Context, method, path, key string, body any, headers ...string) *http.Response {
	p.t.Helper()
	var r io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(body)
	case []byte:
		r = bytes.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, r)
	if err != nil {
		p.t.Fatal(err)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := p.Client.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

// GraphQL runs an operation as the admin, decodes its data, and gives its errors.
func (p *Product) GraphQL(key, query string, variables any, data any) (errs []GraphQLError) {
	p.t.Helper()
	res := p.Do("POST", "/graphql", key, map[string]any{"query": query, "variables": variables})
	var body struct {
		Data   json.RawMessage
		Errors []GraphQLError
	}
	res.JSON(p.t, &body)
	if data != nil && len(body.Data) > 0 {
		if err := json.Unmarshal(body.Data, data); err != nil {
			p.t.Fatalf("decode %s: %v", body.Data, err)
		}
	}
	return body.Errors
}

// GraphQLError is an entry of `errors`.
type GraphQLError struct {
	Message    string
	Path       []any
	Extensions struct{ Code, Type, Param, RequestID string }
}

// Channel makes an OpenAI-compatible channel to the upstream and gives its id.
func (p *Product) Channel(u *Upstream, more map[string]any) string {
	p.t.Helper()
	in := map[string]any{
		"name": "upstream", "type": "openai", "base_url": u.URL + "/v1", "credential": UpstreamKey, "models": []string{"gpt-test"},
	}
	for k, v := range more {
		in[k] = v
	}
	res := p.Do("POST", "/v1/channels", AdminKey, in)
	var c struct{ ID string }
	if res.JSON(p.t, &c); res.Status != http.StatusOK || c.ID == "" {
		p.t.Fatalf("create channel: %d %s", res.Status, res.Body)
	}
	return c.ID
}

// UserKey makes a key of the admin's without the admin scope.
func (p *Product) UserKey(more map[string]any) string {
	p.t.Helper()
	in := map[string]any{"name": "test"}
	for k, v := range more {
		in[k] = v
	}
	res := p.Do("POST", "/v1/api-keys", AdminKey, in)
	var k struct{ Secret string }
	if res.JSON(p.t, &k); res.Status != http.StatusOK || k.Secret == "" {
		p.t.Fatalf("create key: %d %s", res.Status, res.Body)
	}
	return k.Secret
}

// OtherUserKey makes an account without the admin role, and a key of it.
func (p *Product) OtherUserKey(email string, in models.CreateAPIKeyInput) string {
	p.t.Helper()
	o, err := app.OpenOperator(p.t.Context(), p.cfg, zerolog.New(p.Logs))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = o.Close(p.t.Context()) }()
	if _, err := o.CreateUser(p.t.Context(), models.CreateUserInput{Email: email, Role: models.RoleUser, Tier: models.TierEnterprise}); err != nil {
		p.t.Fatal(err)
	}
	_, secret, err := o.CreateKey(p.t.Context(), email, in)
	if err != nil {
		p.t.Fatal(err)
	}
	return secret
}

// Usage waits until n usage records are final, and gives all of them, the oldest first.
func (p *Product) Usage(n int) []models.UsageRecord {
	p.t.Helper()
	var rows []models.UsageRecord
	Eventually(p.t, fmt.Sprintf("%d final usage records", n), func() bool {
		rows = nil
		if err := p.DB.Read().NewSelect().Model(&rows).Order("created_at", "id").Scan(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
		final := 0
		for i := range rows {
			if rows[i].Status != models.UsagePending {
				final++
			}
		}
		return final >= n
	})
	return rows
}

func clip(b []byte) []byte { return b[:min(len(b), 500)] }
