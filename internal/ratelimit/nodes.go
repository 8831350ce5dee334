package ratelimit

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

const (
	nodesKey = "coai:rl:nodes"
	// A process that gives no sign of life for nodeTTL is not counted any more.
	nodeBeat, nodeTTL = 5 * time.Second, 20 * time.Second
)

// Run counts the processes that share the limits, so that each can hold to its part
// of them while Redis is away, and keeps the places of requests that run. It returns
// when ctx ends. A limiter in memory has nothing to do.
func (l *Limiter) Run(ctx context.Context) error {
	if l.remote == nil {
		<-ctx.Done()
		return nil
	}
	beat, lease := time.NewTicker(nodeBeat), time.NewTicker(leaseBeat)
	defer beat.Stop()
	defer lease.Stop()
	l.countNodes(ctx)
	for {
		select {
		case <-ctx.Done():
			l.sendOff(ctx)
			return nil
		case <-beat.C:
			l.countNodes(ctx)
		case <-lease.C:
			l.keepPlaces(ctx)
		}
	}
}

// Nodes is how many processes share the limits, as far as this one knows.
func (l *Limiter) Nodes() int { return int(max(l.memory.nodes.Load(), 1)) }

func (l *Limiter) countNodes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	now := time.Now()
	var count *redis.IntCmd
	_, err := l.remote.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZAdd(ctx, nodesKey, redis.Z{Score: float64(now.Add(nodeTTL).Unix()), Member: l.claims.node})
		pipe.ZRemRangeByScore(ctx, nodesKey, "-inf", strconv.FormatInt(now.Unix(), 10))
		count = pipe.ZCard(ctx, nodesKey)
		pipe.Expire(ctx, nodesKey, 2*nodeTTL)
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			zerolog.Ctx(ctx).Debug().Err(err).Msg("processes not counted; the last number stays")
		}
		return
	}
	l.memory.nodes.Store(count.Val())
}

// sendOff says that this process is going, for the others' shares.
func (l *Limiter) sendOff(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), remoteTimeout)
	defer cancel()
	_ = l.remote.client.ZRem(ctx, nodesKey, l.claims.node).Err() // it would run out by itself
}

// keepPlaces renews the places of requests that run.
func (l *Limiter) keepPlaces(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	until := float64(time.Now().Add(leaseTTL).Unix())
	_, _ = l.remote.client.Pipelined(ctx, func(pipe redis.Pipeliner) error { // tried again before they run out
		l.claims.held.Range(func(lease, place any) bool {
			v := place.(*Place).viewer
			for _, at := range []struct {
				limit int
				key   string
			}{{v.Limits.Concurrency, placesKey(v)}, {v.Limits.Account, accountPlacesKey(v)}} {
				if at.limit > 0 {
					pipe.ZAddXX(ctx, at.key, redis.Z{Score: until, Member: lease})
					pipe.Expire(ctx, at.key, 2*leaseTTL)
				}
			}
			return true
		})
		return nil
	})
}

// share is what this process may count up to while it counts alone: what was seen
// of all, and its part of the rest.
func share(limit, seen, nodes int64) int64 {
	if nodes <= 1 || seen >= limit {
		return limit
	}
	return seen + (limit-seen+nodes-1)/nodes
}

// share is that of all windows.
func (lim Limits) share(seen *tally, nodes int64) Limits {
	if nodes <= 1 {
		return lim
	}
	for w, limit := range []*int{&lim.PerMinute, &lim.PerHour, &lim.PerDay} {
		if *limit > 0 {
			*limit = int(share(int64(*limit), seen[w], nodes))
		}
	}
	return lim
}
