package ratelimit_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// noon is in the middle of all windows but the minute's, of which it is the start.
var noon = time.Date(2030, 5, 17, 12, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := new(clock)
	c.at.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opts.MaxRetries = -1
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// each runs a test on every kind of limiter: one suite for all. With Redis away
// a limiter must count for itself just as exactly.
func each(t *testing.T, test func(t *testing.T, l *ratelimit.Limiter, c *clock)) {
	t.Helper()
	kinds := map[string]func(t *testing.T) *ratelimit.Limiter{
		"memory": func(*testing.T) *ratelimit.Limiter { return ratelimit.NewMemory() },
		"redis": func(t *testing.T) *ratelimit.Limiter {
			return ratelimit.NewRedis(client(t, testdb.Redis(t)), zerolog.Nop())
		},
		"redis away": func(t *testing.T) *ratelimit.Limiter {
			return ratelimit.NewRedis(client(t, "redis://127.0.0.1:1/0"), zerolog.Nop())
		},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			l, c := kind(t), newClock(noon)
			l.SetClock(c.now)
			test(t, l, c)
		})
	}
}

func TestLimitIsExactUnderParallelCallers(t *testing.T) {
	each(t, func(t *testing.T, l *ratelimit.Limiter, _ *clock) {
		lim := ratelimit.Limits{PerMinute: 60, PerHour: 1000, PerDay: 10000}
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 20 {
					if l.Take(t.Context(), "user:a", lim).Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := allowed.Load(); n != 60 {
			t.Errorf("%d of 200 requests passed a limit of 60", n)
		}
		if !l.Take(t.Context(), "user:b", lim).Allowed {
			t.Error("another subject is refused")
		}
	})
}

// What one window refuses is counted in no other: a client that keeps knocking
// is not locked out for longer.
func TestRefusedRequestsCostNothing(t *testing.T) {
	each(t, func(t *testing.T, l *ratelimit.Limiter, c *clock) {
		lim := ratelimit.Limits{PerMinute: 2, PerHour: 4, PerDay: 5}
		take := func() ratelimit.Decision { return l.Take(t.Context(), "user:a", lim) }
		for minute, want := range []int{2, 2, 0} {
			passed := 0
			for range 10 {
				if take().Allowed {
					passed++
				}
			}
			if passed != want {
				t.Fatalf("minute %d: %d passed, want %d", minute, passed, want)
			}
			c.advance(time.Minute)
		}
		d := take()
		if d.Allowed || d.Tightest.Name != "hour" || d.Tightest.Remaining != 0 || !d.Tightest.Reset.Equal(noon.Add(time.Hour)) {
			t.Errorf("decision %+v", d)
		}
		c.advance(time.Hour)
		if d := take(); !d.Allowed || d.Tightest.Name != "day" || d.Tightest.Remaining != 0 {
			t.Errorf("the next hour: %+v", d)
		}
		d = take()
		e := d.Exceeded(c.now())
		if d.Allowed || d.Tightest.Name != "day" || e.Kind != models.KindRateLimited || e.Retry != 24*time.Hour-c.now().Sub(noon.Truncate(24*time.Hour)) ||
			!strings.Contains(e.Message, "5 requests per day") {
			t.Errorf("decision %+v, error %+v", d, e)
		}
		c.advance(24 * time.Hour)
		if !take().Allowed {
			t.Error("the next day is refused")
		}
	})
}

func TestTightestWindow(t *testing.T) {
	each(t, func(t *testing.T, l *ratelimit.Limiter, c *clock) {
		lim := ratelimit.Limits{PerMinute: 10, PerHour: 15}
		for range 9 {
			l.Take(t.Context(), "user:a", lim)
		}
		d := l.Peek(t.Context(), "user:a", lim)
		if !d.Allowed || d.Tightest.Name != "minute" || d.Tightest.Remaining != 1 || d.Minute.Remaining != 1 || d.Minute.Limit != 10 {
			t.Errorf("peek: %+v", d)
		}
		if again := l.Peek(t.Context(), "user:a", lim); again != d {
			t.Errorf("a second look: %+v", again)
		}
		c.advance(time.Minute)
		if d := l.Peek(t.Context(), "user:a", lim); d.Tightest.Name != "hour" || d.Tightest.Remaining != 6 || d.Minute.Remaining != 10 {
			t.Errorf("a minute later: %+v", d)
		}
	})
}

func TestUnlimited(t *testing.T) {
	each(t, func(t *testing.T, l *ratelimit.Limiter, _ *clock) {
		for range 100 {
			if d := l.Take(t.Context(), "user:a", ratelimit.Limits{}); !d.Allowed || d.Tightest.Name != "" || d.Minute.Limit != 0 {
				t.Fatalf("decision %+v", d)
			}
		}
		// One limited window and two that are not.
		lim := ratelimit.Limits{PerDay: 3}
		for i := range 4 {
			if d := l.Take(t.Context(), "user:a", lim); d.Allowed != (i < 3) || d.Tightest.Name != "day" || d.Minute.Limit != 0 {
				t.Errorf("request %d: %+v", i, d)
			}
		}
	})
}

// A limit that an admin changes counts at once, with what was used before.
func TestChangedLimit(t *testing.T) {
	each(t, func(t *testing.T, l *ratelimit.Limiter, _ *clock) {
		for range 5 {
			l.Take(t.Context(), "user:a", ratelimit.Limits{PerMinute: 10})
		}
		if l.Take(t.Context(), "user:a", ratelimit.Limits{PerMinute: 5}).Allowed {
			t.Error("a lower limit does not count")
		}
		if d := l.Take(t.Context(), "user:a", ratelimit.Limits{PerMinute: 7}); !d.Allowed || d.Tightest.Remaining != 1 {
			t.Errorf("a higher limit: %+v", d)
		}
	})
}

func TestProcessesShareRedis(t *testing.T) {
	url := testdb.Redis(t)
	c := newClock(noon)
	lim := ratelimit.Limits{PerMinute: 60, PerHour: 70}
	limiters := make([]*ratelimit.Limiter, 2)
	for i := range limiters {
		limiters[i] = ratelimit.NewRedis(client(t, url), zerolog.Nop())
		limiters[i].SetClock(c.now)
	}
	burst := func() int64 {
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				for range 20 {
					if limiters[i%2].Take(t.Context(), "user:a", lim).Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		return allowed.Load()
	}
	if n := burst(); n != 60 {
		t.Errorf("%d passed a limit of 60", n)
	}
	c.advance(time.Minute)
	if n := burst(); n != 10 {
		t.Errorf("%d passed what the hour had left, 10", n)
	}
}

// A process whose Redis goes away goes on from what it has seen, and comes back.
func TestRedisGoesAndComesBack(t *testing.T) {
	url := testdb.Redis(t)
	rds := client(t, url)
	l, c := ratelimit.NewRedis(rds, zerolog.Nop()), newClock(noon)
	l.SetClock(c.now)
	lim := ratelimit.Limits{PerMinute: 10}
	for range 6 {
		l.Take(t.Context(), "user:a", lim)
	}
	if l.Degraded() {
		t.Fatal("degraded although Redis answers")
	}
	if err := rds.Close(); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for range 10 {
		if l.Take(t.Context(), "user:a", lim).Allowed {
			passed++
		}
	}
	if passed != 4 || !l.Degraded() {
		t.Errorf("%d passed, of the 4 that were left; degraded: %t", passed, l.Degraded())
	}
}

// No subject outlives its day, however many there were.
func TestMemoryForgetsYesterday(t *testing.T) {
	l, c := ratelimit.NewMemory(), newClock(noon)
	l.SetClock(c.now)
	lim := ratelimit.Limits{PerDay: 5}
	for i := range 10_000 {
		l.Take(t.Context(), fmt.Sprintf("ip:%d", i), lim)
	}
	if n := l.Subjects(); n != 10_000 {
		t.Fatalf("%d subjects", n)
	}
	c.advance(24 * time.Hour)
	l.Take(t.Context(), "ip:new", lim)
	if n := l.Subjects(); n != 1 {
		t.Errorf("%d subjects are left from yesterday", n-1)
	}
}

func BenchmarkTake(b *testing.B) {
	l := ratelimit.NewMemory()
	lim := ratelimit.Limits{PerMinute: 1 << 30, PerHour: 1 << 30, PerDay: 1 << 30}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !l.Take(b.Context(), "user:a", lim).Allowed {
				b.Error("refused")
			}
		}
	})
}
