// Package ratelimit counts requests in fixed windows that are aligned to the
// UTC clock: minute, hour and day. A request is counted in all windows or, when
// one of them is exhausted, in none: what is refused costs nothing.
package ratelimit

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// Limits are the requests that a subject may make in a clock minute, a clock
// hour and a UTC day. Zero and below mean unlimited.
type Limits struct{ PerMinute, PerHour, PerDay int }

// Window is the state of one window.
type Window struct {
	Name      string    // minute, hour or day; empty when nothing is limited
	Limit     int       // requests in the window; 0: unlimited
	Remaining int       // requests left in the window
	Reset     time.Time // when the window ends, in UTC
	Key       bool      // it is the API key's own, not the account's
}

// Decision says whether a request may go on.
type Decision struct {
	Allowed bool
	// Tightest is the window with the smallest share left; when the request is
	// refused, the exhausted window that resets last. Its Name is empty when
	// nothing is limited.
	Tightest Window
	// Minute is the minute's window; its Limit is 0 when it is unlimited.
	Minute Window
	// Tokens is the window of the API key's tokens; its Limit is 0 without one.
	Tokens Window
}

// Limiter counts requests by subject. It is safe for concurrent use.
type Limiter struct {
	now    func() time.Time
	memory *memory
	remote *remote // nil: this process counts for itself
	claims *claims
}

// NewMemory makes a limiter that counts in this process alone. It holds the
// counters of the subjects of one UTC day.
func NewMemory() *Limiter {
	return &Limiter{now: time.Now, memory: newMemory(), claims: newClaims()}
}

// NewRedis makes a limiter that counts in Redis, together with all other
// processes that use it. A call takes 100 ms at most. While Redis does not
// answer, each process goes on from the last counts that it saw, and counts for
// itself: of what was left then it gives the part that is its own among the
// processes that [Limiter.Run] had counted.
func NewRedis(client redis.UniversalClient, log zerolog.Logger) *Limiter {
	return &Limiter{now: time.Now, memory: newMemory(), claims: newClaims(), remote: newRemote(client, log)}
}

// Take counts a request of the subject against all its windows, or against
// none when one of them is exhausted.
func (l *Limiter) Take(ctx context.Context, subject string, lim Limits) Decision {
	return l.count(ctx, subject, lim, true)
}

// Peek gives the decision that [Limiter.Take] would give, and counts nothing:
// the remaining requests are those before the next one.
func (l *Limiter) Peek(ctx context.Context, subject string, lim Limits) Decision {
	return l.count(ctx, subject, lim, false)
}

// Degraded says that Redis does not answer and each process counts for itself.
func (l *Limiter) Degraded() bool { return l.remote != nil && l.remote.degraded.Load() }

func (l *Limiter) count(ctx context.Context, subject string, lim Limits, take bool) Decision {
	at := windowsAt(l.now())
	if lim.unlimited() {
		return at.decide(lim, tally{}, true)
	}
	if l.remote != nil {
		used, allowed, err := l.remote.count(ctx, subject, lim, at, take)
		if err == nil {
			l.memory.observe(subject, at, used)
			return at.decide(lim, used, allowed)
		}
	}
	used, allowed := l.memory.count(subject, lim, at, take)
	return at.decide(lim, used, allowed)
}

// The windows, the shortest first.
const (
	minute = iota
	hour
	day
	windowCount
)

// slots number the windows of one moment, counted from the Unix epoch.
type slots [windowCount]int64

// tally holds the requests counted in each window.
type tally [windowCount]int64

func seconds(window int) int64 { return [...]int64{60, 3600, 86400}[window] }

func windowName(window int) string { return [...]string{"minute", "hour", "day"}[window] }

func windowsAt(now time.Time) (at slots) {
	for w := range at {
		at[w] = now.Unix() / seconds(w)
	}
	return at
}

func (lim Limits) of(window int) int64 {
	return int64([...]int{lim.PerMinute, lim.PerHour, lim.PerDay}[window])
}

func (lim Limits) unlimited() bool {
	return lim.PerMinute <= 0 && lim.PerHour <= 0 && lim.PerDay <= 0
}

// exhausted says whether one of the windows is used up.
func (lim Limits) exhausted(used *tally) bool {
	for w, n := range used {
		if limit := lim.of(w); limit > 0 && n >= limit {
			return true
		}
	}
	return false
}

// decide describes a request after which the windows have been used so far.
func (at slots) decide(lim Limits, used tally, allowed bool) Decision {
	d := Decision{Allowed: allowed}
	for w := range at {
		win := Window{
			Name: windowName(w), Limit: int(max(lim.of(w), 0)),
			Remaining: int(max(lim.of(w)-used[w], 0)),
			Reset:     time.Unix((at[w]+1)*seconds(w), 0).UTC(),
		}
		if w == minute {
			d.Minute = win
		}
		if win.Limit > 0 && tighter(win, d.Tightest, allowed) {
			d.Tightest = win
		}
	}
	return d
}

// tighter says whether w, the longer window, is to be shown rather than the
// one shown so far.
func tighter(w, shown Window, allowed bool) bool {
	switch {
	case shown.Name == "":
		return true
	case !allowed && w.Remaining == 0:
		return true
	case !allowed && shown.Remaining == 0:
		return false
	}
	return int64(w.Remaining)*int64(shown.Limit) < int64(shown.Remaining)*int64(w.Limit)
}

// Exceeded is the error for a refused request: it names the window, its limit,
// and when it resets.
func (d Decision) Exceeded(now time.Time) *models.Error {
	w, whose := d.Tightest, ""
	if w.Key {
		whose = " of this API key"
	}
	wait := max(w.Reset.Sub(now), time.Millisecond)
	return &models.Error{
		Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded, Retry: wait,
		Message: fmt.Sprintf("Rate limit reached: %d requests per %s%s. It resets at %s, in %s.",
			w.Limit, w.Name, whose, w.Reset.UTC().Format(time.RFC3339), wait.Round(time.Second)),
	}
}
