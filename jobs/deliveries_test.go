package jobs

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun" //nolint:depguard // stands for the domain, whose transactions append events

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/runs"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/webhooks"
	"github.com/coaidev/coai/models"
)

func hooks(t *testing.T, db *storage.DB, cfg webhooks.Config) *webhooks.Service {
	t.Helper()
	policy, err := safehttp.ParsePolicy("127.0.0.1", false)
	if err != nil {
		t.Fatal(err)
	}
	box, err := sealed.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Policy, cfg.AllowHTTP = policy, true
	return webhooks.New(db, box, cfg, zerolog.Nop())
}

func subscriber(t *testing.T, db *storage.DB) *models.Viewer {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	u := &models.User{ID: "user_ada", Email: "ada@example.com", Role: models.RoleUser, Tier: models.TierFree, Status: models.UserActive, CreatedAt: now, UpdatedAt: now}
	if _, err := db.Write().NewInsert().Model(u).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &models.Viewer{UserID: u.ID, Scopes: models.AllScopes()}
}

// couriers runs n processes that deliver, each with a Redis client of its own.
func couriers(t *testing.T, db *storage.DB, redisURL string, n int, cfg webhooks.Config) {
	t.Helper()
	f := &fixture{t: t}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	f.stop = stop
	for range n {
		rds, err := storage.OpenRedis(ctx, redisURL)
		if err != nil {
			t.Fatal(err)
		}
		r := New(rds, db, Deps{Webhooks: hooks(t, db, cfg)}, zerolog.New(&f.logs))
		r.jobs = nil
		done := make(chan error, 1)
		go func() { done <- errors.Join(r.Run(ctx), rds.Close()) }()
		f.done = append(f.done, done)
	}
	t.Cleanup(f.end)
}

func happen(t *testing.T, db *storage.DB) (at time.Time, id string) {
	t.Helper()
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		e, err := events.AppendFor(ctx, tx, "user_ada", models.EventPaymentFailed, map[string]int{})
		if err == nil {
			id = e.ID
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return time.Now(), id
}

// A dead endpoint beside a healthy one, two processes, and any sort of Redis: each
// event reaches the healthy one once, and soon.
func TestEventsArriveOnceAndSoon(t *testing.T) {
	const n = 60
	for where, url := range redisURLs(t) {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			testdb.Each(t, func(t *testing.T, db *storage.DB) {
				v := subscriber(t, db)
				var mu sync.Mutex
				arrived := map[string]time.Time{}
				twice, all := 0, make(chan struct{})
				healthy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					mu.Lock()
					defer mu.Unlock()
					id := r.Header.Get("Webhook-Id")
					if _, again := arrived[id]; again {
						twice++
						return
					}
					if arrived[id] = time.Now(); len(arrived) == n {
						close(all)
					}
				}))
				t.Cleanup(healthy.Close)
				hold := make(chan struct{})
				dead := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-hold:
					case <-r.Context().Done():
					}
				}))
				t.Cleanup(dead.Close)
				t.Cleanup(func() { close(hold) })
				cfg := webhooks.Config{Timeout: 2 * time.Second, PerEndpoint: 8}
				couriers(t, db, url(t), 2, cfg)
				for _, target := range []string{dead.URL, healthy.URL} {
					if _, err := hooks(t, db, cfg).CreateWebhook(t.Context(), v, models.CreateWebhookInput{URL: target}); err != nil {
						t.Fatal(err)
					}
				}
				_, first := happen(t, db)
				until(t, "the first event", func() bool {
					mu.Lock()
					defer mu.Unlock()
					_, there := arrived[first]
					return there
				})
				sent := map[string]time.Time{}
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for range n - 1 {
					at, id := happen(t, db)
					sent[id] = at
					<-tick.C
				}
				wait(t, "all events at the healthy endpoint", all)
				mu.Lock()
				defer mu.Unlock()
				var slowest time.Duration
				for id, at := range sent {
					slowest = max(slowest, arrived[id].Sub(at))
				}
				t.Logf("slowest %v", slowest)
				if slowest > 2*time.Second || twice > 0 {
					t.Errorf("the slowest event took %v, %d came twice", slowest, twice)
				}
			})
		})
	}
}

func TestTheBookOfJobs(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		admin := &models.Viewer{UserID: "user_root", Role: models.RoleAdmin, Scopes: models.AllScopes()}
		ran := make(chan struct{}, 10)
		fail := errors.New("the disk is full")
		f := start(t, db, "", 2,
			job{name: "rare", about: "Is rare.", every: 1000 * time.Hour, timeout: time.Minute, run: func(context.Context, time.Time) error { ran <- struct{}{}; return fail }},
		)
		book := runs.New(db)
		wait(t, "the first run", ran)
		one := func() *models.Job {
			list, err := book.Jobs(t.Context(), admin)
			if err != nil || len(list) > 1 {
				t.Fatalf("%v, %v", list, err)
			}
			if len(list) == 0 {
				return nil
			}
			return list[0]
		}
		until(t, "the book knows of the job", func() bool { return one() != nil })
		p, err := book.RunJob(t.Context(), admin, "rare")
		if err != nil || p.Job.RequestedAt == nil {
			t.Fatalf("%+v, %v", p, err)
		}
		wait(t, "the run that was asked for", ran)
		until(t, "the run is in the book", func() bool {
			j := one()
			return j.Outcome != nil && *j.Outcome == models.JobFailed && j.DurationMS() != nil && j.RequestedAt == nil
		})
		if j := one(); *j.Error != fail.Error() || j.Description != "Is rare." || j.Worker == nil || !j.NextAt().After(time.Now()) {
			t.Errorf("%+v", j)
		}
		f.end()
		if len(ran) != 0 {
			t.Error("it ran once more")
		}
		for _, v := range []*models.Viewer{nil, {UserID: "user_x", Scopes: models.AllScopes()}} {
			if _, err := book.Jobs(t.Context(), v); err == nil {
				t.Error("anybody may see jobs")
			}
			if _, err := book.RunJob(t.Context(), v, "rare"); err == nil {
				t.Error("anybody may run jobs")
			}
		}
		for _, name := range []string{"nothing", "a\x00b"} {
			if _, err := book.RunJob(t.Context(), admin, name); err == nil {
				t.Errorf("there is a job %q", name)
			}
		}
		rds, err := storage.OpenRedis(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rds.Close() }()
		r := New(rds, db, Deps{}, zerolog.Nop())
		r.jobs = f.jobs
		if err := r.RunNow(t.Context(), "rare"); !errors.Is(err, fail) {
			t.Error(err)
		}
		if err := r.RunNow(t.Context(), "nothing"); err == nil {
			t.Error("there is a job of any name")
		}
	})
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick, end := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}
