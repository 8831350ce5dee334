package jobs

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

const patience = 20 * time.Second

// redisURLs are where a runner's tasks may travel. A refused port stands for a
// Redis that is away.
func redisURLs(t *testing.T) map[string]func(*testing.T) string {
	t.Helper()
	return map[string]func(*testing.T) string{
		"embedded": func(*testing.T) string { return "" },
		"redis":    func(t *testing.T) string { return testdb.Redis(t) },
		"absent":   func(*testing.T) string { return "redis://127.0.0.1:1/0" },
	}
}

// fixture is some runners on one database.
type fixture struct {
	t    *testing.T
	logs lockedBuffer
	stop context.CancelFunc
	done []chan error
	jobs []job
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs n runners, each with a Redis client of its own.
func start(t *testing.T, db *storage.DB, redisURL string, n int, jobs ...job) *fixture {
	t.Helper()
	f := &fixture{t: t, jobs: jobs}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	f.stop = stop
	for range n {
		rds, err := storage.OpenRedis(ctx, redisURL)
		if err != nil {
			t.Fatal(err)
		}
		r := New(rds, db, Deps{}, zerolog.New(&f.logs))
		r.jobs = jobs
		done := make(chan error, 1)
		go func() { done <- errors.Join(r.Run(ctx), rds.Close()) }()
		f.done = append(f.done, done)
	}
	t.Cleanup(f.end)
	return f
}

// end stops the runners, which must end well and in time.
func (f *fixture) end() {
	f.t.Helper()
	f.stop()
	for _, done := range f.done {
		select {
		case err := <-done:
			if err != nil {
				f.t.Errorf("a runner ended with %v", err)
			}
		case <-time.After(patience):
			f.t.Fatal("a runner does not end")
		}
	}
	f.done = nil
}

func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("not in time: %s", what)
		panic("unreachable")
	}
}

func noLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	// While a server is away, go-redis sleeps for up to a second after its client was closed.
	dial := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	t.Cleanup(func() { goleak.VerifyNone(t, before, dial) })
}

func TestEachSlotRunsOnceOverAllProcesses(t *testing.T) {
	const slots = 6
	for where, url := range redisURLs(t) {
		t.Run(where, func(t *testing.T) {
			testdb.Each(t, func(t *testing.T, db *storage.DB) {
				noLeaks(t)
				ran := make(chan struct{}, 1000)
				every := 250 * time.Millisecond
				began := time.Now()
				f := start(t, db, url(t), 3, job{
					name: "count", every: every, timeout: time.Minute,
					run: func(context.Context, time.Time) error { ran <- struct{}{}; return nil },
				})
				for range slots {
					wait(t, "a run", ran)
				}
				f.end()
				leases, err := db.Read().NewSelect().Table("leases").Where("name LIKE 'job:count:%'").Count(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				runs := slots + len(ran)
				if most := int(time.Since(began)/every) + 2; runs > int(leases) || runs > most {
					t.Errorf("%d runs of %d slots taken in a time of %d slots", runs, leases, most)
				}
				if log := f.logs.String(); strings.Contains(log, "shared") {
					t.Errorf("the log complains about the shared connection:\n%s", log)
				}
			})
		})
	}
}

func TestPanicAndFailureDoNotStopTheSchedule(t *testing.T) {
	for where, url := range redisURLs(t) {
		t.Run(where, func(t *testing.T) {
			noLeaks(t)
			ran := make(chan int64, 100)
			var n atomic.Int64
			f := start(t, testdb.New(t, storage.SQLite), url(t), 1, job{
				name: "fragile", every: 200 * time.Millisecond, timeout: time.Minute,
				run: func(context.Context, time.Time) error {
					k := n.Add(1)
					ran <- k
					switch k {
					case 1:
						panic("the first breaks")
					case 2:
						return errors.New("the second fails")
					}
					return nil
				},
			})
			for want := int64(1); want <= 3; want++ {
				if got := wait(t, "a run", ran); got != want {
					t.Fatalf("run %d comes where %d is due", got, want)
				}
			}
			f.end()
			for _, want := range []string{"the first breaks", "jobs_test.go", "the second fails", `"outcome":"failed"`, `"outcome":"ok"`} {
				if !strings.Contains(f.logs.String(), want) {
					t.Errorf("the log lacks %q:\n%s", want, f.logs.String())
				}
			}
		})
	}
}

func TestShutdownWaitsForARunningJob(t *testing.T) {
	for where, url := range redisURLs(t) {
		t.Run(where, func(t *testing.T) {
			noLeaks(t)
			started, release, finished := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			var once sync.Once
			f := start(t, testdb.New(t, storage.SQLite), url(t), 1, job{
				name: "slow", every: time.Hour, timeout: time.Minute,
				run: func(ctx context.Context, _ time.Time) error {
					once.Do(func() {
						close(started)
						<-release
						finished <- ctx.Err()
					})
					return nil
				},
			})
			wait(t, "the job's start", started)
			f.stop()
			select {
			case <-f.done[0]:
				t.Fatal("the runner ended while its job ran")
			case <-time.After(100 * time.Millisecond):
			}
			close(release)
			if err := wait(t, "the job's end", finished); err != nil {
				t.Errorf("the job's context ended with %v before its grace was over", err)
			}
		})
	}
}

func TestShutdownEndsAJobThatTakesTooLong(t *testing.T) {
	for where, url := range redisURLs(t) {
		t.Run(where, func(t *testing.T) {
			noLeaks(t)
			rds, err := storage.OpenRedis(t.Context(), url(t))
			if err != nil {
				t.Fatal(err)
			}
			r := New(rds, testdb.New(t, storage.SQLite), Deps{}, zerolog.Nop())
			r.grace = 50 * time.Millisecond
			started := make(chan struct{})
			r.jobs = []job{{name: "stuck", every: time.Hour, timeout: time.Hour, run: func(ctx context.Context, _ time.Time) error {
				close(started)
				<-ctx.Done()
				return ctx.Err()
			}}}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			wait(t, "the job's start", started)
			stop()
			if err := errors.Join(wait(t, "the runner's end", done), rds.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnknownAndBrokenTasksAreDropped(t *testing.T) {
	rds, err := storage.OpenRedis(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rds.Close() }()
	var logs bytes.Buffer
	r := New(rds, testdb.New(t, storage.SQLite), Deps{}, zerolog.New(&logs))
	for _, body := range []string{`{"job":"of another version"}`, `no JSON`, ``} {
		if err := r.handle(t.Context(), asynq.NewTask(taskType, []byte(body))); err != nil {
			t.Errorf("the task %q fails with %v; asynq would archive it", body, err)
		}
	}
	if got := strings.Count(logs.String(), `"level":"error"`); got != 3 {
		t.Errorf("%d errors were logged, want 3:\n%s", got, logs.String())
	}
}
