package channels

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"

	"github.com/coaidev/coai/models"
)

const (
	quotaTimeout = 100 * time.Millisecond
	// After so many failures in a row Redis is left alone for a rest.
	quotaFailures = 3
	quotaRest     = time.Second
	// A request in flight holds its place for leaseTTL without a sign of life of
	// its process, which gives one each leaseBeat.
	leaseTTL, leaseBeat = 60 * time.Second, 20 * time.Second
	// Counters outlive their minute a little, for processes whose clocks differ.
	counterTTL = 180 * time.Second
)

// takeScript checks a channel's limits and then counts a request. KEYS: requests
// and tokens of the minute, and the places in use by when they run out. ARGV: the
// limits (0: none), the name of the place (empty: only look), how long it is held
// and counters live, in seconds. It answers which limit refuses: 0 for none.
const takeScript = `
local now = tonumber(redis.call('TIME')[1])
local rpm, tpm, places = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if places > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if redis.call('ZCARD', KEYS[3]) >= places then return 3 end
end
if rpm > 0 and tonumber(redis.call('GET', KEYS[1]) or 0) >= rpm then return 1 end
if tpm > 0 and tonumber(redis.call('GET', KEYS[2]) or 0) >= tpm then return 2 end
if ARGV[4] == '' then return 0 end
if rpm > 0 and redis.call('INCR', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[6]) end
if places > 0 then
  redis.call('ZADD', KEYS[3], now + ARGV[5], ARGV[4])
  redis.call('EXPIRE', KEYS[3], 2 * ARGV[5])
end
return 0
`

// quota counts, together with all other processes, what is sent to channels that
// have limits. While Redis is away, each process counts alone.
type quota struct {
	ctx     context.Context // of the commands; kept because routes carry none
	client  redis.UniversalClient
	script  *redis.Script
	breaker *gobreaker.CircuitBreaker[int64]
	node    string
	lease   atomic.Uint64

	mu   sync.Mutex
	held map[string]string // places in use: their name -> the channel
}

func newQuota(ctx context.Context, client redis.UniversalClient, log zerolog.Logger) *quota {
	if c, ok := client.(*redis.Client); ok {
		client = c.WithTimeout(quotaTimeout)
	}
	return &quota{
		ctx: ctx, client: client, script: redis.NewScript(takeScript), node: models.NewID(""), held: map[string]string{},
		breaker: gobreaker.NewCircuitBreaker[int64](gobreaker.Settings{
			Timeout:     quotaRest,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= quotaFailures },
			OnStateChange: func(_ string, _, to gobreaker.State) {
				if to == gobreaker.StateOpen {
					log.Warn().Msg("Redis does not answer: channels' limits are counted in each process alone")
				}
			},
		}),
	}
}

// take counts a request, or says which limit refuses it. An empty lease without a
// reason says that Redis is away.
func (q *quota) take(channelID string, l *models.ChannelLimits, now time.Time) (lease string, reason models.RouteReason) {
	lease = q.node + strconv.FormatUint(q.lease.Add(1), 36)
	switch answer, err := q.run(channelID, l, now, lease); {
	case err != nil:
		return "", ""
	case answer != 0:
		return "", limitReason(answer)
	}
	if l.Concurrency != nil {
		q.mu.Lock()
		q.held[lease] = channelID
		q.mu.Unlock()
	}
	return lease, ""
}

// peek says which limit would refuse a request; empty for none.
func (q *quota) peek(channelID string, l *models.ChannelLimits, now time.Time) models.RouteReason {
	answer, err := q.run(channelID, l, now, "")
	if err != nil {
		return ""
	}
	return limitReason(answer)
}

func limitReason(answer int64) models.RouteReason {
	switch answer {
	case 1:
		return models.ReasonRPM
	case 2:
		return models.ReasonTPM
	case 3:
		return models.ReasonConcurrency
	}
	return ""
}

func (q *quota) run(channelID string, l *models.ChannelLimits, now time.Time, lease string) (int64, error) {
	return q.breaker.Execute(func() (int64, error) {
		ctx, cancel := context.WithTimeout(q.ctx, quotaTimeout)
		defer cancel()
		minute := minuteOf(now)
		return q.script.Run(ctx, q.client, []string{requestsKey(channelID, minute), tokensKey(channelID, minute), placesKey(channelID)},
			deref(l.RPM), deref(l.TPM), deref(l.Concurrency), lease, int(leaseTTL.Seconds()), int(counterTTL.Seconds())).Int64()
	})
}

// give frees the place, and counts the tokens in the minute that is now.
func (q *quota) give(channelID string, l *models.ChannelLimits, p permit, tokens int64) {
	q.mu.Lock()
	delete(q.held, p.lease)
	q.mu.Unlock()
	_, _ = q.breaker.Execute(func() (int64, error) {
		ctx, cancel := context.WithTimeout(q.ctx, quotaTimeout)
		defer cancel()
		_, err := q.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			if l.Concurrency != nil {
				pipe.ZRem(ctx, placesKey(channelID), p.lease)
			}
			if l.TPM != nil && tokens > 0 {
				key := tokensKey(channelID, minuteOf(time.Now()))
				pipe.IncrBy(ctx, key, tokens)
				pipe.Expire(ctx, key, counterTTL)
			}
			return nil
		})
		return 0, err
	})
}

// beat keeps the places of running requests.
func (q *quota) beat(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.held) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, quotaTimeout)
	defer cancel()
	until := float64(time.Now().Add(leaseTTL).Unix())
	_, err := q.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for lease, channelID := range q.held {
			pipe.ZAdd(ctx, placesKey(channelID), redis.Z{Score: until, Member: lease})
			pipe.Expire(ctx, placesKey(channelID), 2*leaseTTL)
		}
		return nil
	})
	return err
}

// The keys of a channel. The braces put them on one node of a cluster.

func requestsKey(channelID string, minute int64) string {
	return "coai:ch:{" + channelID + "}:r:" + strconv.FormatInt(minute, 10)
}

func tokensKey(channelID string, minute int64) string {
	return "coai:ch:{" + channelID + "}:t:" + strconv.FormatInt(minute, 10)
}

func placesKey(channelID string) string { return "coai:ch:{" + channelID + "}:p" }

func deref(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}
