package ratelimit

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"
)

const (
	remoteTimeout = 100 * time.Millisecond
	// After so many failures in a row Redis is left alone for a rest, and then
	// one request tries again.
	remoteFailures = 3
	remoteRest     = time.Second
	// Counters outlive their window a little, for processes whose clocks differ.
	remoteGrace = 60
)

// countScript checks all windows, then counts in all. KEYS: the counters.
// ARGV[1]: 1 to count, 0 to look. Then for each window its limit (0: none) and
// the counter's time to live in seconds. It answers whether the request is
// allowed, and the counters after it.
const countScript = `
local used = redis.call('MGET', unpack(KEYS))
local allowed = 1
for i = 1, #KEYS do
  used[i] = tonumber(used[i] or 0)
  local limit = tonumber(ARGV[2 * i])
  if limit > 0 and used[i] >= limit then allowed = 0 end
end
if allowed == 1 and ARGV[1] == '1' then
  for i = 1, #KEYS do
    if tonumber(ARGV[2 * i]) > 0 then
      used[i] = redis.call('INCR', KEYS[i])
      if used[i] == 1 then redis.call('EXPIRE', KEYS[i], ARGV[2 * i + 1]) end
    end
  end
end
return {allowed, used[1], used[2], used[3]}
`

// remote counts in Redis, behind a breaker.
type remote struct {
	client   redis.UniversalClient
	script   *redis.Script
	breaker  *gobreaker.CircuitBreaker[[]int64]
	degraded atomic.Bool
}

func newRemote(client redis.UniversalClient, log zerolog.Logger) *remote {
	// A client heeds a context's deadline while it dials and waits for a
	// connection; for reads and writes it may have its own, longer time-outs.
	if c, ok := client.(*redis.Client); ok {
		client = c.WithTimeout(remoteTimeout)
	}
	r := &remote{client: client, script: redis.NewScript(countScript)}
	r.breaker = gobreaker.NewCircuitBreaker[[]int64](gobreaker.Settings{
		Timeout:     remoteRest,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= remoteFailures },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			switch {
			case to == gobreaker.StateOpen && !r.degraded.Swap(true):
				log.Warn().Msg("Redis does not answer: rate limits are counted in each process alone")
			case to == gobreaker.StateClosed && r.degraded.Swap(false):
				log.Info().Msg("Redis answers again: rate limits are counted together")
			}
		},
	})
	return r
}

// count says whether the request is allowed, and how much is used after it.
func (r *remote) count(ctx context.Context, subject string, lim Limits, at slots, take bool) (used tally, allowed bool, err error) {
	answer, err := r.breaker.Execute(func() ([]int64, error) {
		// A client that leaves says nothing about Redis.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), remoteTimeout)
		defer cancel()
		return r.script.Run(ctx, r.client, keys(subject, at), arguments(lim, take)...).Int64Slice()
	})
	if err == nil && len(answer) != 1+windowCount {
		err = fmt.Errorf("the script answered %d numbers", len(answer))
	}
	if err != nil {
		return used, false, fmt.Errorf("count in Redis: %w", err)
	}
	copy(used[:], answer[1:])
	return used, answer[0] == 1, nil
}

// keys are those of the counters. The braces put a subject's counters on one
// node of a cluster.
func keys(subject string, at slots) []string {
	list := make([]string, windowCount)
	for w := range list {
		list[w] = "coai:rl:{" + subject + "}:" + windowName(w)[:1] + ":" + strconv.FormatInt(at[w], 10)
	}
	return list
}

func arguments(lim Limits, take bool) []any {
	args := make([]any, 1, 1+2*windowCount)
	args[0] = "0"
	if take {
		args[0] = "1"
	}
	for w := range windowCount {
		args = append(args, max(lim.of(w), 0), seconds(w)+remoteGrace)
	}
	return args
}
