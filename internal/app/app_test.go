package app_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/coaidev/coai/internal/app"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

const patience = 20 * time.Second

// config is settings for a process in dir; more are COAI_… variables.
func config(t *testing.T, dir string, more ...string) *app.Config {
	t.Helper()
	cfg, err := app.Load(app.Sources{Environ: append([]string{
		"COAI_ADDR=127.0.0.1:0", "COAI_DATA_DIR=" + dir, "COAI_SHUTDOWN_TIMEOUT=5s",
	}, more...)})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// running is a process under test.
type running struct {
	url  string
	out  bytes.Buffer // complete once it has ended
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, cfg *app.Config) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	a, err := app.New(ctx, cfg, zerolog.Nop())
	if err != nil {
		stop()
		t.Fatal(err)
	}
	r := &running{stop: stop, done: make(chan error, 1)}
	a.Out = &r.out
	addr, err := a.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + addr.String()
	go func() { r.done <- a.Run(ctx) }()
	t.Cleanup(func() {
		if r.done != nil {
			_ = r.end(t)
		}
	})
	return r
}

// end stops the process and gives what it printed.
func (r *running) end(t *testing.T) string {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("the process ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
	r.done = nil
	return r.out.String()
}

// get asks without a connection that would outlive the answer.
func get(t *testing.T, url, key string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

var secretPattern = regexp.MustCompile(`sk-coai-[0-9A-Za-z]{20,}`)

func TestFirstStartPrintsTheKeyOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	first := serve(t, config(t, dir))
	if status, body := get(t, first.url+"/readyz", ""); status != http.StatusOK {
		t.Errorf("/readyz answers %d %s", status, body)
	}
	banner := first.end(t)
	key := secretPattern.FindString(banner)
	for _, want := range []string{first.url, "admin@localhost", "/v1/chat/completions", `"stream":true`, "/graphql"} {
		if key == "" || !strings.Contains(banner, want) {
			t.Errorf("the banner lacks %q or the key:\n%s", want, banner)
		}
	}
	second := serve(t, config(t, dir))
	if status, body := get(t, second.url+"/v1/models", key); status != http.StatusOK || !strings.Contains(body, `"echo"`) {
		t.Errorf("with the first start's key, models are %d %s", status, body)
	}
	if got, want := second.end(t), "CoAI listens on "+second.url+"\n"; got != want {
		t.Errorf("the second start prints %q, want %q", got, want)
	}
	goleak.VerifyNone(t, before)
}

func TestFixedKeyIsNotPrinted(t *testing.T) {
	const key = "correct-horse-battery-staple"
	p := serve(t, config(t, t.TempDir(), "COAI_BOOTSTRAP_ADMIN_KEY="+key))
	if status, body := get(t, p.url+"/v1/models", key); status != http.StatusOK {
		t.Errorf("the fixed key is answered with %d %s", status, body)
	}
	if got, want := p.end(t), "CoAI listens on "+p.url+"\n"; got != want {
		t.Errorf("the start prints %q, want %q", got, want)
	}
}

// The key of a first start is shown nowhere else, so a port that is taken must
// not lose it.
func TestFirstKeyIsShownWhenTheAddressIsTaken(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, err := app.New(t.Context(), config(t, t.TempDir(), "COAI_ADDR="+taken.Addr().String()), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a.Out = &out
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("the error is %v, want one that names the address", err)
	}
	if !secretPattern.MatchString(out.String()) {
		t.Errorf("the key is lost; printed is %q", out.String())
	}
}

func TestSecondServerOnAnEmbeddedDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, config(t, dir))
	_, err := app.New(t.Context(), config(t, dir), zerolog.Nop())
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another 'coai serve'") {
		t.Errorf("the error is %v, want one that names the directory", err)
	}
	o, err := app.OpenOperator(t.Context(), config(t, dir), zerolog.Nop())
	if err != nil {
		t.Fatalf("the command line does not work beside a server: %v", err)
	}
	_, secret, err := o.CreateKey(t.Context(), "admin@localhost", models.CreateAPIKeyInput{Name: "beside"})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if status, body := get(t, first.url+"/v1/models", secret); status != http.StatusOK {
		t.Errorf("a key made beside the server is answered with %d %s", status, body)
	}
	first.end(t)
	a, err := app.New(t.Context(), config(t, dir), zerolog.Nop())
	if err != nil {
		t.Fatalf("the lock outlives its process: %v", err)
	}
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestMetricsOnTheirOwnAddress(t *testing.T) {
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	p := serve(t, config(t, t.TempDir(), "COAI_METRICS_ADDR="+addr))
	for path, want := range map[string]string{"/metrics": "go_goroutines", "/readyz": `"api":"ok"`, "/healthz": "ok"} {
		if status, body := get(t, "http://"+addr+path, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s answers %d without %q:\n%s", path, status, want, body)
		}
	}
	if status, _ := get(t, "http://"+addr+"/v1/models", ""); status != http.StatusNotFound {
		t.Errorf("the API answers %d on the metrics address", status)
	}
	if status, _ := get(t, p.url+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("/metrics answers %d beside the API", status)
	}
}

func TestMetricsBesideTheAPI(t *testing.T) {
	p := serve(t, config(t, t.TempDir()))
	if status, body := get(t, p.url+"/metrics", ""); status != http.StatusOK || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics answers %d %s", status, body)
	}
}

// Two servers and a worker on one database start at the same moment, and one
// administrator is made.
func TestManyProcessesStartTogether(t *testing.T) {
	before := goleak.IgnoreCurrent()
	shared := []string{
		"COAI_DATABASE_URL=" + testdb.Open(t, storage.Postgres), "COAI_REDIS_URL=" + testdb.Redis(t),
		"COAI_MASTER_KEY=" + strings.Repeat("ab", 32), "COAI_WORKER=false",
	}
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	var servers [2]*app.App
	var errs [3]error
	var worker *app.Worker
	for i := range servers {
		all.Go(func() { servers[i], errs[i] = app.New(ctx, config(t, dir, shared...), zerolog.Nop()) })
	}
	all.Go(func() { worker, errs[2] = app.NewWorker(ctx, config(t, dir, shared...), zerolog.Nop()) })
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	key := servers[0].FirstKey() + servers[1].FirstKey()
	if len(secretPattern.FindAllString(key, -1)) != 1 {
		t.Errorf("the first starts made the keys %q, want one", key)
	}
	done := make(chan error, 3)
	for _, a := range servers {
		a.Out = io.Discard
		addr, err := a.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- a.Run(ctx) }()
		if status, body := get(t, "http://"+addr.String()+"/v1/models", key); status != http.StatusOK {
			t.Errorf("a server answers %d %s", status, body)
		}
	}
	go func() { done <- worker.Run(ctx) }()
	stop()
	for range 3 {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("a process ended with %v", err)
			}
		case <-time.After(patience):
			t.Fatal("a process does not end")
		}
	}
	goleak.VerifyNone(t, before)
}

func TestWithoutAutomaticMigrationAnOldSchemaIsRefused(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			dir, url := t.TempDir(), "COAI_DATABASE_URL="+testdb.Open(t, dialect)
			manual := config(t, dir, url, "COAI_AUTO_MIGRATE=false")
			if _, err := app.New(t.Context(), manual, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "coai migrate") {
				t.Fatalf("the error is %v, want one that says what to do", err)
			}
			if n, err := app.Migrate(t.Context(), manual, zerolog.Nop()); err != nil || n == 0 {
				t.Fatalf("migrate: %d, %v", n, err)
			}
			a, err := app.New(t.Context(), manual, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A start that fails leaves nothing open.
func TestFailedStartLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte("too short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(t.Context(), config(t, dir), zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "master key") {
		t.Fatalf("the error is %v, want one about the master key", err)
	}
	goleak.VerifyNone(t, before)
	if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), config(t, dir), zerolog.Nop())
	if err != nil {
		t.Fatalf("the lock outlives a failed start: %v", err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLogger(t *testing.T) {
	for _, tc := range []struct {
		name     string
		format   string
		terminal bool
		json     bool
	}{
		{"auto into a file", "auto", false, true},
		{"auto on a terminal", "auto", true, false},
		{"json on a terminal", "json", true, true},
		{"console into a file", "console", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			var out bytes.Buffer
			cfg := config(t, t.TempDir(), "COAI_LOG_FORMAT="+tc.format, "COAI_LOG_LEVEL=warn")
			log, flush := app.NewLogger(cfg, &out, tc.terminal)
			log.Info().Msg("too quiet")
			log.Warn().Str("k", "v").Msg("heard")
			flush()
			flush()
			text := out.String()
			if strings.Contains(text, "too quiet") || !strings.Contains(text, "heard") || strings.HasPrefix(text, "{") != tc.json {
				t.Errorf("the log is %q", text)
			}
			goleak.VerifyNone(t, before)
		})
	}
}
