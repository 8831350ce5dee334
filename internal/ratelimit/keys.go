package ratelimit

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coaidev/coai/models"
)

// Admit counts a request of the viewer's account, as [Limiter.Take] does, and
// against the limits of the API key, if it has any: against all or none. Without
// take it only looks. A key without limits of its own costs nothing more.
func (l *Limiter) Admit(ctx context.Context, v *models.Viewer, lim Limits, take bool) Decision {
	subject, count := "user:"+v.UserID, l.Take
	if !take {
		count = l.Peek
	}
	if !v.Limits.PerMinute() {
		return count(ctx, subject, lim)
	}
	now := l.now()
	n := int64(0)
	if take && v.Limits.RPM > 0 {
		n = 1
	}
	used, allowed := l.countKey(ctx, v, now, n)
	if !allowed {
		count = l.Peek
	}
	d := count(ctx, subject, lim)
	if allowed && !d.Allowed && n > 0 {
		// What the account refuses costs the key nothing. Until here another request
		// may have met a key that seemed used up: the account would have refused it too.
		used, _ = l.countKey(ctx, v, now, -n)
	}
	d.Allowed = d.Allowed && allowed
	d.addKey(v.Limits, used, now, allowed)
	return d
}

// addKey shows the key's windows too.
func (d *Decision) addKey(lim *models.ViewerLimits, used keyTally, now time.Time, allowed bool) {
	reset := time.Unix((now.Unix()/60+1)*60, 0).UTC()
	if lim.TPM > 0 {
		d.Tokens = Window{Name: "minute", Limit: lim.TPM, Remaining: int(max(int64(lim.TPM)-used.tokens, 0)), Reset: reset, Key: true}
	}
	if lim.RPM <= 0 {
		return
	}
	w := Window{Name: "minute", Limit: lim.RPM, Remaining: int(max(int64(lim.RPM)-used.requests, 0)), Reset: reset, Key: true}
	if !allowed || d.Tightest.Name == "" || d.Allowed && closer(w, d.Tightest) {
		d.Tightest = w
	}
	if d.Minute.Limit == 0 || !allowed || closer(w, d.Minute) {
		d.Minute = w
	}
}

// closer says whether w is closer to running out than the window shown; of two that
// are as close the smaller one is.
func closer(w, shown Window) bool {
	a, b := int64(w.Remaining)*int64(shown.Limit), int64(shown.Remaining)*int64(w.Limit)
	return a < b || a == b && w.Limit < shown.Limit
}

// keyTally holds what a key has used in a minute.
type keyTally struct{ requests, tokens int64 }

// keyScript counts a request of a key. KEYS: its requests and tokens of the minute.
// ARGV: the limit of requests (0: none), how many to count (−1 gives one back), and
// how long the counters live. It answers whether the request is allowed, and both
// counters after it.
const keyScript = `
local requests = tonumber(redis.call('GET', KEYS[1]) or 0)
local tokens = tonumber(redis.call('GET', KEYS[2]) or 0)
local limit, n = tonumber(ARGV[1]), tonumber(ARGV[2])
if limit > 0 and n > 0 and requests >= limit then return {0, requests, tokens} end
if n > 0 or n < 0 and requests > 0 then
  requests = redis.call('INCRBY', KEYS[1], n)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return {1, requests, tokens}
`

func (l *Limiter) countKey(ctx context.Context, v *models.Viewer, now time.Time, n int64) (used keyTally, allowed bool) {
	minute := now.Unix() / 60
	answer, err := l.eval(ctx, l.claims.keyScript, []string{requestsKey(v, minute), tokensKey(v, minute)}, v.Limits.RPM, n, 60+remoteGrace)
	if err != nil || len(answer) != 3 {
		return l.claims.count(v.KeyID, minute, int64(v.Limits.RPM), n, l.memory.nodes.Load())
	}
	used = keyTally{answer[1], answer[2]}
	l.claims.observe(v.KeyID, minute, used)
	return used, answer[0] == 1
}

// The keys in Redis. The braces put those of an account, its windows included, on one
// node of a cluster.

func requestsKey(v *models.Viewer, minute int64) string {
	return claimsKey(v) + ":r:" + v.KeyID + ":" + strconv.FormatInt(minute, 10)
}

func tokensKey(v *models.Viewer, minute int64) string {
	return claimsKey(v) + ":t:" + v.KeyID + ":" + strconv.FormatInt(minute, 10)
}

func claimsKey(v *models.Viewer) string { return "coai:rl:{user:" + v.UserID + "}" }

// eval runs a script in Redis; it fails where there is none, and while it is away.
func (l *Limiter) eval(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]int64, error) {
	if l.remote == nil {
		return nil, errAlone
	}
	return l.remote.breaker.Execute(func() ([]int64, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), remoteTimeout)
		defer cancel()
		return script.Run(ctx, l.remote.client, keys, args...).Int64Slice()
	})
}

// claims is what this process knows of keys with limits: all there is without
// Redis, and a copy to go on from when it goes away.
type claims struct {
	keyScript, enterScript *redis.Script
	node                   string
	held                   sync.Map // lease -> *Place, of those in Redis

	mu     sync.Mutex
	minute int64
	keys   map[string]*keyCounters // of that minute
	places map[string]int          // taken in this process alone, by key and by account
	next   uint64                  // number of the next lease
}

// keyCounters are what a key has used in the minute, and what others told of it.
type keyCounters struct{ used, seen keyTally }

func newClaims() *claims {
	return &claims{
		keyScript: redis.NewScript(keyScript), enterScript: redis.NewScript(enterScript), node: models.NewID(""),
		keys: map[string]*keyCounters{}, places: map[string]int{},
	}
}

// of gives the key's counters of the minute; the caller holds the lock. A request
// that read the clock just before a minute's end counts in the next one.
func (c *claims) of(key string, minute int64) *keyCounters {
	if moved(c.minute, minute) {
		c.minute, c.keys = minute, map[string]*keyCounters{}
	}
	k := c.keys[key]
	if k == nil {
		k = new(keyCounters)
		c.keys[key] = k
	}
	return k
}

func (c *claims) count(key string, minute, limit, n int64, nodes int64) (used keyTally, allowed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.of(key, minute)
	if limit > 0 && n > 0 && k.used.requests >= share(limit, k.seen.requests, nodes) {
		return k.used, false
	}
	k.used.requests = max(k.used.requests+n, 0)
	return k.used, true
}

func (c *claims) observe(key string, minute int64, used keyTally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.of(key, minute)
	k.used, k.seen = used, used
}
