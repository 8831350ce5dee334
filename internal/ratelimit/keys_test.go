package ratelimit_test

import (
	"context"
	"errors"
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

func keyOf(user, key string, lim models.ViewerLimits) *models.Viewer {
	return &models.Viewer{UserID: user, KeyID: key, Limits: &lim}
}

func TestKeyIsHeldToItsRequests(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *ratelimit.Limiter, c *clock) {
		account := ratelimit.Limits{PerMinute: 50}
		v := keyOf("u", "k", models.ViewerLimits{RPM: 30})
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 10 {
					if l.Admit(t.Context(), v, account, true).Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := allowed.Load(); n != 30 {
			t.Errorf("%d of 100 requests passed a limit of 30", n)
		}
		d := l.Admit(t.Context(), v, account, true)
		if e := d.Exceeded(c.now()); d.Allowed || !d.Tightest.Key || d.Minute.Limit != 30 || d.Minute.Remaining != 0 || !strings.Contains(e.Message, "30 requests per minute of this API key") {
			t.Errorf("%+v: %v", d, e)
		}
		// What the key refused has cost the account nothing.
		other := keyOf("u", "other", models.ViewerLimits{RPM: 1000})
		d = l.Admit(t.Context(), other, account, true)
		if !d.Allowed || d.Tightest.Key || d.Tightest.Remaining != 19 {
			t.Errorf("another key of the account: %+v", d)
		}
		c.advance(time.Minute)
		if d := l.Admit(t.Context(), v, account, false); !d.Allowed || d.Minute.Remaining != 30 {
			t.Errorf("the next minute: %+v", d)
		}
	})
}

// What the account refuses costs the key nothing.
func TestAccountRefusesForNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *ratelimit.Limiter, _ *clock) {
		v := keyOf("u", "k", models.ViewerLimits{RPM: 10})
		for i := range 5 {
			if d := l.Admit(t.Context(), v, ratelimit.Limits{PerHour: 2}, true); d.Allowed != (i < 2) || i > 1 && d.Tightest.Name != "hour" {
				t.Errorf("request %d: %+v", i, d)
			}
		}
		if d := l.Admit(t.Context(), v, ratelimit.Limits{}, false); !d.Allowed || d.Tightest.Remaining != 8 {
			t.Errorf("the key has %+v", d)
		}
	})
}

func TestTokensAreReservedAndCorrected(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *ratelimit.Limiter, c *clock) {
		ctx, v := t.Context(), keyOf("u", "k", models.ViewerLimits{TPM: 100})
		left := func() int { return l.Admit(ctx, v, ratelimit.Limits{}, false).Tokens.Remaining }
		one, err := l.Enter(ctx, v, 20, 60)
		if err != nil || left() != 20 {
			t.Fatalf("%v; %d tokens are left", err, left())
		}
		var no *models.Error
		if _, err := l.Enter(ctx, v, 21, 0); !errors.As(err, &no) || no.Code != models.CodeRateLimitExceeded || no.Retry <= 0 || !strings.Contains(no.Message, "100 tokens per minute") {
			t.Errorf("over the limit: %v", err)
		}
		one.Leave(ctx, 30)
		one.Leave(ctx, 99) // only the first counts
		if left() != 70 {
			t.Errorf("%d tokens are left of 70", left())
		}
		// An answer whose bound is above the limit reserves what there is at most; and
		// what was not foreseen is used when it is known.
		c.advance(time.Minute)
		two, err := l.Enter(ctx, v, 10, 5000)
		if err != nil || left() != 0 {
			t.Fatalf("%v; %d tokens are left", err, left())
		}
		c.advance(time.Minute)
		two.Leave(ctx, 130)
		if left() != 70 {
			t.Errorf("%d tokens are left of 70", left())
		}
		if _, err := l.Enter(ctx, v, 101, 0); !errors.As(err, &no) || !no.Final {
			t.Errorf("a prompt that never fits: %v", err)
		}
	})
}

func TestRequestsAtATime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l *ratelimit.Limiter, _ *clock) {
		ctx := t.Context()
		one := keyOf("u", "one", models.ViewerLimits{Concurrency: 2, Account: 3, TPM: 10})
		two := keyOf("u", "two", models.ViewerLimits{Account: 3})
		enter := func(v *models.Viewer) *ratelimit.Place {
			t.Helper()
			p, err := l.Enter(ctx, v, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		a, b := enter(one), enter(one)
		_, err := l.Enter(ctx, one, 1, 0)
		if err == nil || !strings.Contains(err.Error(), "this API key may have 2 requests") {
			t.Errorf("a third request of the key: %v", err)
		}
		c := enter(two)
		if _, err = l.Enter(ctx, two, 1, 0); err == nil || !strings.Contains(err.Error(), "this account may have 3 requests") {
			t.Errorf("a fourth request of the account: %v", err)
		}
		a.Leave(ctx, 1)
		a.Leave(ctx, 1)
		d := enter(one)
		// The refused requests have reserved nothing.
		if left := l.Admit(ctx, one, ratelimit.Limits{}, false).Tokens.Remaining; left != 7 {
			t.Errorf("%d tokens are left of 7", left)
		}
		for _, p := range []*ratelimit.Place{b, c, d} {
			p.Leave(ctx, 1)
		}
		for range 2 {
			enter(one)
		}
		enter(two)
	})
}

// Ten clients on two processes get exactly the places that there are, and a process
// that was killed leaves none behind.
func TestProcessesSharePlaces(t *testing.T) {
	t.Parallel()
	url := testdb.Redis(t)
	rds := client(t, url)
	limiters := []*ratelimit.Limiter{ratelimit.NewRedis(rds, zerolog.Nop()), ratelimit.NewRedis(client(t, url), zerolog.Nop())}
	v := keyOf("u", "k", models.ViewerLimits{RPM: 25, Concurrency: 4, TPM: 1000})
	// A process died an hour ago, with all places taken.
	for _, dead := range []string{"a", "b", "c", "d"} {
		if err := rds.ZAdd(t.Context(), "coai:rl:{user:u}:p:k", redis.Z{Score: float64(time.Now().Add(-time.Hour).Unix()), Member: dead}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c := newClock(noon)
	var allowed, places atomic.Int64
	var wg sync.WaitGroup
	for _, l := range limiters {
		l.SetClock(c.now)
	}
	for i := range 10 {
		wg.Go(func() {
			l := limiters[i%2]
			for range 5 {
				if l.Admit(t.Context(), v, ratelimit.Limits{PerMinute: 1000}, true).Allowed {
					allowed.Add(1)
				}
			}
			if _, err := l.Enter(t.Context(), v, 1, 0); err == nil {
				places.Add(1)
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 25 || places.Load() != 4 {
		t.Errorf("%d requests passed a limit of 25, %d got one of 4 places", allowed.Load(), places.Load())
	}
}

// While Redis is away each of two processes gives half of what was left.
func TestProcessesShareWhatIsLeftWithoutRedis(t *testing.T) {
	t.Parallel()
	gate := testdb.Redis(t)
	c := newClock(noon)
	clients := []*redis.Client{client(t, gate), client(t, gate)}
	limiters := make([]*ratelimit.Limiter, 2)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range limiters {
		limiters[i] = ratelimit.NewRedis(clients[i], zerolog.Nop())
		limiters[i].SetClock(c.now)
		running.Go(func() { _ = limiters[i].Run(ctx) })
	}
	stopped := func() { stop(); running.Wait() }
	defer stopped()
	lim := ratelimit.Limits{PerMinute: 20}
	v := keyOf("u", "k", models.ViewerLimits{RPM: 10, Concurrency: 4})
	// The second to come counts both; tell the first by its own next beat.
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limiters[0].Nodes() != 2 || limiters[1].Nodes() != 2 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d and %d processes", limiters[0].Nodes(), limiters[1].Nodes())
		}
	}
	for _, l := range limiters {
		for range 2 {
			l.Take(t.Context(), "user:a", lim)
			l.Admit(t.Context(), v, ratelimit.Limits{}, true)
		}
		l.Peek(t.Context(), "user:a", lim)
	}
	limiters[0].Peek(t.Context(), "user:a", lim) // it has seen what the other has counted
	limiters[0].Admit(t.Context(), v, ratelimit.Limits{}, false)
	for _, rds := range clients {
		_ = rds.Close()
	}
	windows, requests, places := 0, 0, 0
	for _, l := range limiters {
		for range 20 {
			if l.Take(t.Context(), "user:a", lim).Allowed {
				windows++
			}
			if l.Admit(t.Context(), v, ratelimit.Limits{}, true).Allowed {
				requests++
			}
			if _, err := l.Enter(t.Context(), v, 0, 0); err == nil {
				places++
			}
		}
	}
	if windows != 16 || requests != 6 || places != 4 {
		t.Errorf("of 16 requests %d passed, of the key's 6 %d, and %d got one of 4 places", windows, requests, places)
	}
}
