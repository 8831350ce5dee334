package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coaidev/coai/models"
)

const (
	// A request that runs holds its places for leaseTTL without a sign of life of its
	// process, which gives one each leaseBeat.
	leaseTTL, leaseBeat = 60 * time.Second, 15 * time.Second
	// busyRetry is when to try again where as many requests run as may.
	busyRetry = time.Second
)

// errAlone says that there is no Redis to ask.
var errAlone = errors.New("this process counts alone")

// enterScript takes a place among the running requests of a key and of an account,
// and reserves tokens of the minute: all or nothing. KEYS: the key's tokens, its
// places and the account's by when they run out. ARGV: the limits (0: none) of tokens
// and both places, how many tokens, the name of the place, how long it is held and
// how long the counter lives. It answers what refuses (0: nothing; 1: tokens; 2, 3:
// places), and the tokens used before.
const enterScript = `
local now = tonumber(redis.call('TIME')[1])
local tpm, own, all, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function full(key, places)
  if places == 0 then return false end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return redis.call('ZCARD', key) >= places
end
local used = tonumber(redis.call('GET', KEYS[1]) or 0)
if full(KEYS[2], own) then return {2, used} end
if full(KEYS[3], all) then return {3, used} end
if tpm > 0 then
  if used + want > tpm then return {1, used} end
  redis.call('INCRBY', KEYS[1], want)
  redis.call('EXPIRE', KEYS[1], ARGV[7])
end
for key, places in pairs({[KEYS[2]] = own, [KEYS[3]] = all}) do
  if places > 0 then
    redis.call('ZADD', key, now + ARGV[6], ARGV[5])
    redis.call('EXPIRE', key, 2 * ARGV[6])
  end
end
return {0, used}
`

// Place is a running request's place among those that its key and account may have
// at a time, and the tokens that it has reserved.
type Place struct {
	l        *Limiter
	viewer   *models.Viewer
	minute   int64
	reserved int64
	lease    string // in Redis; empty: this process counts alone
	left     atomic.Bool
}

// Enter takes a place for a request to a model, and reserves tokens of the key's
// minute: those of the prompt, and those that the answer may have at most, as far as
// there is room for them at all. Its error is the client's: rate_limit_exceeded. What
// is refused costs nothing. The place must be left.
func (l *Limiter) Enter(ctx context.Context, v *models.Viewer, prompt, answer int64) (*Place, error) {
	lim, now := v.Limits, l.now()
	if lim.TPM > 0 && prompt > int64(lim.TPM) {
		return nil, &models.Error{
			Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded, Final: true,
			Message: fmt.Sprintf("The request is too large for this API key: its prompt has about %d tokens, and the key may use %d tokens per minute.", prompt, lim.TPM),
		}
	}
	p := &Place{l: l, viewer: v, minute: now.Unix() / 60}
	if lim.TPM > 0 {
		p.reserved = min(prompt+answer, int64(lim.TPM))
	}
	lease := l.claims.lease()
	answered, err := l.eval(ctx, l.claims.enterScript, []string{tokensKey(v, p.minute), placesKey(v), accountPlacesKey(v)},
		lim.TPM, lim.Concurrency, lim.Account, p.reserved, lease, int(leaseTTL/time.Second), 60+remoteGrace)
	var no, used int64
	if err == nil && len(answered) == 2 {
		if no, used = answered[0], answered[1]; no == 0 {
			p.lease = lease
			l.claims.held.Store(lease, p)
			l.claims.observeTokens(v.KeyID, p.minute, used+p.reserved)
		}
	} else {
		no, used = l.claims.enter(v, p, l.memory.nodes.Load())
	}
	if no != 0 {
		return nil, refused(no, lim, used, p.reserved, now)
	}
	return p, nil
}

// refused is the error for a request that gets no place.
func refused(no int64, lim *models.ViewerLimits, used, want int64, now time.Time) error {
	e := &models.Error{Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded, Retry: busyRetry}
	switch no {
	case 2:
		e.Message = fmt.Sprintf("Concurrency limit reached: this API key may have %d requests to models at a time.", lim.Concurrency)
	case 3:
		e.Message = fmt.Sprintf("Concurrency limit reached: this account may have %d requests to models at a time.", lim.Account)
	default:
		reset := time.Unix((now.Unix()/60+1)*60, 0).UTC()
		e.Retry = max(reset.Sub(now), time.Millisecond)
		e.Message = fmt.Sprintf("Rate limit reached: %d tokens per minute of this API key (%d used, %d requested). It resets at %s, in %s.",
			lim.TPM, used, want, reset.Format(time.RFC3339), e.Retry.Round(time.Second))
	}
	return e
}

// Leave frees the place, and counts what was used instead of what was reserved. It
// may be called twice, and on nil.
func (p *Place) Leave(ctx context.Context, used int64) {
	if p == nil || p.left.Swap(true) {
		return
	}
	l, minute := p.l, p.minute
	more := used - p.reserved
	if more > 0 {
		minute = l.now().Unix() / 60 // it was not foreseen, and so used now
	}
	if p.lease == "" {
		l.claims.leave(p, minute, more)
		return
	}
	l.claims.held.Delete(p.lease)
	_, _ = l.remote.breaker.Execute(func() ([]int64, error) { // the lease ends by itself if this fails
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), remoteTimeout)
		defer cancel()
		_, err := l.remote.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			if p.viewer.Limits.Concurrency > 0 {
				pipe.ZRem(ctx, placesKey(p.viewer), p.lease)
			}
			if p.viewer.Limits.Account > 0 {
				pipe.ZRem(ctx, accountPlacesKey(p.viewer), p.lease)
			}
			if p.viewer.Limits.TPM > 0 && more != 0 {
				key := tokensKey(p.viewer, minute)
				pipe.IncrBy(ctx, key, more)
				pipe.Expire(ctx, key, (60+remoteGrace)*time.Second)
			}
			return nil
		})
		return nil, err
	})
}

func placesKey(v *models.Viewer) string        { return claimsKey(v) + ":p:" + v.KeyID }
func accountPlacesKey(v *models.Viewer) string { return claimsKey(v) + ":p" }

// lease names a place.
func (c *claims) lease() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	return c.node + strconv.FormatUint(c.next, 36)
}

func (c *claims) observeTokens(key string, minute, tokens int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.of(key, minute)
	k.used.tokens, k.seen.tokens = tokens, tokens
}

// enter is what enterScript does, in this process.
func (c *claims) enter(v *models.Viewer, p *Place, nodes int64) (no, used int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lim, k := v.Limits, c.of(v.KeyID, p.minute)
	own, all := placesKey(v), accountPlacesKey(v)
	switch {
	case lim.Concurrency > 0 && int64(c.places[own]) >= share(int64(lim.Concurrency), 0, nodes):
		return 2, k.used.tokens
	case lim.Account > 0 && int64(c.places[all]) >= share(int64(lim.Account), 0, nodes):
		return 3, k.used.tokens
	case lim.TPM > 0 && k.used.tokens+p.reserved > share(int64(lim.TPM), k.seen.tokens, nodes):
		return 1, k.used.tokens
	}
	k.used.tokens += p.reserved
	c.places[own]++
	c.places[all]++
	return 0, k.used.tokens - p.reserved
}

func (c *claims) leave(p *Place, minute, more int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range []string{placesKey(p.viewer), accountPlacesKey(p.viewer)} {
		if c.places[key]--; c.places[key] <= 0 {
			delete(c.places, key)
		}
	}
	if minute < c.minute {
		return // its minute is over
	}
	k := c.of(p.viewer.KeyID, minute)
	k.used.tokens = max(k.used.tokens+more, 0)
}
