package coaitest_test

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// Processes are killed under load, again and again, and Redis is emptied: every
// event whose transaction has committed arrives, and next to none of them twice.
func TestKilledProcessesLoseNoEvent(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "coai")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/coaidev/coai/cmd/coai").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		killUnderEvents(t, program, "", "", 1)
	})
	t.Run("postgres+redis", func(t *testing.T) {
		t.Parallel()
		killUnderEvents(t, program, testdb.Open(t, storage.Postgres), testdb.Redis(t), 2)
	})
}

func killUnderEvents(t *testing.T, program, database, redisURL string, processes int) {
	t.Helper()
	dir := t.TempDir()
	boot := func() (string, *exec.Cmd) {
		return serve(t, program, dir, "COAI_DATABASE_URL="+database, "COAI_REDIS_URL="+redisURL, "COAI_MASTER_KEY="+strings.Repeat("ab", 32),
			"COAI_WEBHOOK_ALLOW_HTTP=true", "COAI_WEBHOOK_ALLOW_NETWORKS=127.0.0.1", "COAI_WEBHOOK_TIMEOUT=1s", "COAI_DETECT_OLLAMA=false")
	}
	var running []*exec.Cmd
	var url string
	for range processes {
		u, process := boot()
		url, running = u, append(running, process)
	}
	in := newInbox(t)
	post(t, url+"/v1/webhooks", `{"url":"`+in.URL+`"}`)
	if database == "" {
		database = "sqlite:" + filepath.Join(dir, "coai.db")
	}
	db, err := storage.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var admin string
	if err := db.Read().NewSelect().Table("users").Column("id").Scan(t.Context(), &admin); err != nil {
		t.Fatal(err)
	}
	var committed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for ctx.Err() == nil {
			err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := events.AppendFor(ctx, tx, admin, models.EventPaymentFailed, map[string]int{})
				return err
			})
			if err == nil {
				committed.Add(1)
			}
			<-pace.C
		}
	}()
	for kill := range 4 {
		before := committed.Load()
		coaitest.Eventually(t, "load runs", func() bool {
			if redisURL != "" {
				flush(t, redisURL)
			}
			return committed.Load() > before+300
		})
		victim := kill % processes
		if err := running[victim].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = running[victim].Wait()
		_, running[victim] = boot()
	}
	stop()
	<-ended
	total := int(committed.Load())
	began := time.Now()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		if n, _ := in.distinct(); n >= total {
			break
		}
		if time.Since(began) > 30*time.Second {
			n, _ := in.distinct()
			t.Fatalf("%d of %d events arrived within 30 s after the last fault", n, total)
		}
	}
	got, again := in.distinct()
	t.Logf("%d events, %d twice, all there %v after the last fault", total, again, time.Since(began))
	if got != total || again*100 > total {
		t.Errorf("%d of %d events, %d came twice", got, total, again)
	}
}

func post(t *testing.T, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+coaitest.AdminKey)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
}

func flush(t *testing.T, url string) {
	t.Helper()
	rds, err := storage.OpenRedis(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rds.Close() }()
	if err := rds.Client.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}
