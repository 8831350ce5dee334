package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const adminKey = "bench-bootstrap-admin-key-0123456789"

// product is the gateway under measurement.
type product struct {
	*process
	db *storage.DB
}

// backend is what the gateway keeps its records in.
type backend struct {
	name     string
	database string // empty: SQLite in dir
	redis    string // empty: embedded
	dir      string
	key      string // a client's, once the gateway has been furnished
	drop     func() // what is to be done afterwards
}

// build makes the gateway.
func build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "coai")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/coaidev/coai/cmd/coai") //nolint:gosec // into a directory of our own
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return program, nil
}

// embedded is the gateway's default: everything in one process and a file.
func embedded(dir string) (*backend, error) {
	dir, err := os.MkdirTemp(dir, "data-")
	if err != nil {
		return nil, fmt.Errorf("make a data directory: %w", err)
	}
	return &backend{name: "SQLite, embedded Redis", dir: dir, drop: func() { _ = os.RemoveAll(dir) }}, nil
}

// servers is PostgreSQL, with a database of its own, and Redis.
func servers(ctx context.Context, dir, database, redis string) (*backend, error) {
	b, err := embedded(dir)
	if err != nil {
		return nil, err
	}
	db, err := storage.Open(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("open -database: %w", err)
	}
	name := "coai_bench_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if _, err := db.Write().ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, errors.Join(fmt.Errorf("make a database: %w", err), db.Close())
	}
	at := strings.LastIndexByte(database, '/')
	b.name, b.database, b.redis = "PostgreSQL, Redis", database[:at+1]+name, redis
	if _, query, found := strings.Cut(database[at:], "?"); found {
		b.database += "?" + query
	}
	b.drop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = db.Write().ExecContext(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		_ = db.Close()
		_ = os.RemoveAll(b.dir)
	}
	return b, nil
}

// gateway starts the program on the backend. The first time it makes over the API
// what a client needs: a channel to the upstream, a key, and a plan that lets the
// load through.
func gateway(ctx context.Context, program string, b *backend, upstreamURL string, g growth) (*product, error) {
	cmd := exec.Command(program, "serve") //nolint:noctx // what -coai names; it is stopped by stop
	cmd.Stderr = os.Stderr
	cmd.Env = []string{
		"COAI_ADDR=127.0.0.1:0", "COAI_DATA_DIR=" + b.dir, "COAI_BOOTSTRAP_ADMIN_KEY=" + adminKey,
		"COAI_DATABASE_URL=" + b.database, "COAI_REDIS_URL=" + b.redis,
		"COAI_LOG_LEVEL=info", "COAI_LOG_FORMAT=json", "PATH=/usr/bin:/bin",
	}
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("make a log file: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	proc, err := start(ctx, "gateway", cmd)
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	p := &product{process: proc}
	url := b.database
	if url == "" {
		url = "sqlite:" + filepath.Join(b.dir, "coai.db")
	}
	if p.db, err = storage.Open(ctx, url); err != nil {
		return nil, errors.Join(fmt.Errorf("open the gateway's database: %w", err), p.close())
	}
	if b.key == "" {
		b.key, err = p.furnish(ctx, upstreamURL, g)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *product) close() error {
	p.stop()
	if p.db == nil {
		return nil
	}
	return p.db.Close()
}

func (p *product) furnish(ctx context.Context, upstreamURL string, g growth) (key string, err error) {
	const unlimited = 1_000_000_000
	var me struct{ ID string }
	if err := p.call(ctx, http.MethodGet, "/v1/users/me", nil, &me); err != nil {
		return "", err
	}
	var made struct{ Secret string }
	// The key comes first, since an account with a hundred makes no more; the channel
	// last, because it lets the gateway look at all of them again.
	if err := p.call(ctx, http.MethodPost, "/v1/api-keys", map[string]any{"name": "bench"}, &made); err != nil {
		return "", err
	}
	if err := g.fill(ctx, p.db, me.ID, upstreamURL); err != nil {
		return "", err
	}
	var plan struct{ Errors json.RawMessage }
	if err := errors.Join(
		p.call(ctx, http.MethodPost, "/graphql", map[string]any{
			"query":     `mutation($in: UpdatePlanInput!) { updatePlan(tier: ENTERPRISE, input: $in) { userErrors { message } } }`,
			"variables": map[string]any{"in": map[string]int{"requestsPerMinute": unlimited, "requestsPerHour": unlimited, "requestsPerDay": unlimited}},
		}, &plan),
		p.call(ctx, http.MethodPost, "/v1/channels", map[string]any{
			"name": "upstream", "type": "openai", "base_url": upstreamURL + "/v1", "credential": credential, "models": []string{"bench"},
		}, nil),
	); err != nil {
		return "", err
	}
	if len(plan.Errors) > 0 {
		return "", fmt.Errorf("raise the plan: %s", plan.Errors)
	}
	// A key's plan and channels of another process come within a second.
	body := request(made.Secret, completion(0, 0))
	if !settled(ctx, 30*time.Second, func() bool {
		c, err := dial(ctx, p.url)
		if err != nil {
			return false
		}
		defer c.close()
		return c.whole(body) == nil
	}) {
		return "", errors.New("the gateway does not answer a completion")
	}
	return made.Secret, nil
}

// call speaks to the gateway as its admin.
func (p *product) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode for %s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	answer, err := roundTrip(req)
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	return nil
}

// roundTrip gives the body of an answer of status 2xx.
func roundTrip(req *http.Request) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %.500s", res.StatusCode, b)
	}
	return b, err
}

// ledger is what the gateway has recorded as settled, and how many records are
// not that.
func (p *product) ledger(ctx context.Context) (t tally, others int64, err error) {
	err = p.db.Read().NewSelect().Model((*models.UsageRecord)(nil)).
		ColumnExpr("COUNT(*), CAST(COALESCE(SUM(completion_tokens), 0) AS BIGINT)").
		Where("channel_id <> ''").Where("model = ?", "bench").
		Where("status = ?", models.UsageSettled).Where("error_code = ''").Where("NOT estimated").
		Scan(ctx, &t.Completed, &t.Tokens)
	if err == nil {
		err = p.db.Read().NewSelect().Model((*models.UsageRecord)(nil)).ColumnExpr("COUNT(*)").
			Where("model = ?", "bench").
			Where("(status <> ? OR error_code <> '' OR estimated)", models.UsageSettled).
			Scan(ctx, &others)
	}
	if err != nil {
		return t, 0, fmt.Errorf("read the ledger: %w", err)
	}
	return t, others, nil
}

// goroutines is how many the gateway has, by its own metrics.
func (p *product) goroutines(ctx context.Context) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/metrics", http.NoBody)
	if err != nil {
		return 0
	}
	text, err := roundTrip(req)
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "go_goroutines "); found {
			n, _ := strconv.Atoi(rest)
			return n
		}
	}
	return 0
}
