package jobs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/webhooks"
	"github.com/coaidev/coai/models"
)

const (
	// First attempts have a queue of their own, which goes first: a backlog of retries
	// keeps no news waiting.
	queueNews    = "coai-webhooks"
	queueRetries = "coai-webhooks-retries"
	taskDelivery = "delivery"

	// sweepEvery is how often the database is asked for deliveries that are due.
	sweepEvery = 500 * time.Millisecond
	sweepLease = "webhooks:sweep"
	sweepTTL   = 3 * time.Second
	// sweepLimit and sweepLimitEmbedded are how many a sweep offers. The embedded
	// Redis is slow with long queues.
	sweepLimit         = 500
	sweepLimitEmbedded = 250
	// feedTimeout bounds the wait for Redis for a delivery that has just been made.
	feedTimeout = 300 * time.Millisecond
	// feedPause is how long nothing is offered to a Redis that did not answer.
	feedPause = time.Second
)

// Feeder hands deliveries that this process has made to the queue at once, before
// a sweep finds them. It may fail to: then the sweep does.
type Feeder struct {
	db     *storage.DB
	client *asynq.Client
}

// NewFeeder makes a feeder, for processes that run no jobs; a [Runner] has its own.
func NewFeeder(rds *storage.Redis, db *storage.DB) *Feeder {
	return &Feeder{db: db, client: asynq.NewClientFromRedisClient(rds.Client)}
}

// Run feeds the queue until ctx ends.
func (f *Feeder) Run(ctx context.Context) error {
	var rested time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-f.db.Announced():
			if time.Now().Before(rested) {
				continue
			}
			if err := enqueueDelivery(ctx, f.client, id, queueNews, feedTimeout); err != nil {
				rested = time.Now().Add(feedPause)
			}
		}
	}
}

func enqueueDelivery(ctx context.Context, client *asynq.Client, id, queue string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// No task id, uniqueness or retention: see enqueue.
	_, err := client.EnqueueContext(ctx, asynq.NewTask(taskDelivery, []byte(id)), asynq.Queue(queue), asynq.MaxRetry(0))
	return err
}

// courier makes deliveries: those that the queue brings, and, when it is away,
// those that the sweep finds.
type courier struct {
	hooks       *webhooks.Service
	db          *storage.DB
	rds         *storage.Redis
	client      *asynq.Client
	log         zerolog.Logger
	holder      string
	concurrency int

	hands chan struct{}  // taken by deliveries that came by no queue
	busy  sync.WaitGroup // for them
}

func newCourier(rds *storage.Redis, db *storage.DB, d Deps, log zerolog.Logger) *courier {
	return &courier{
		hooks: d.Webhooks, db: db, rds: rds, client: asynq.NewClientFromRedisClient(rds.Client),
		log: log, holder: models.NewID("courier_"), concurrency: d.WebhookConcurrency,
		hands: make(chan struct{}, d.WebhookConcurrency),
	}
}

// server takes deliveries from the queue. base is the context of attempts.
func (c *courier) server(base context.Context, shutdown time.Duration) *asynq.Server {
	return asynq.NewServerFromRedisClient(patient{c.rds.Client, checkInterval}, asynq.Config{
		Concurrency:       c.concurrency,
		Queues:            map[string]int{queueNews: 3, queueRetries: 1},
		TaskCheckInterval: checkInterval,
		BaseContext:       func() context.Context { return base },
		ShutdownTimeout:   shutdown,
		Logger:            newAsynqLog(c.log),
		LogLevel:          asynq.InfoLevel,
	})
}

// handle makes a delivery. It never fails: see [Runner.handle].
func (c *courier) handle(ctx context.Context, t *asynq.Task) error {
	c.deliver(ctx, string(t.Payload()))
	return nil
}

func (c *courier) deliver(ctx context.Context, id string) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error().Str("delivery", id).Err(fmt.Errorf("panic: %v", p)).Msg("delivery failed, it will be swept up")
		}
	}()
	if err := c.hooks.Deliver(ctx, id); err != nil && ctx.Err() == nil {
		c.log.Warn().Err(err).Str("delivery", id).Msg("delivery failed, it will be swept up")
	}
}

// sweep offers what is due to the queue until ctx ends, as long as this process has
// the lease. work is the context of attempts that are made here.
func (c *courier) sweep(ctx, work context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var until time.Time // when the lease must be taken anew
	for {
		select {
		case <-ctx.Done():
			c.busy.Wait()
			if err := c.db.Release(context.WithoutCancel(ctx), sweepLease, c.holder); err != nil {
				c.log.Debug().Err(err).Msg("lease not released")
			}
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.After(until) {
			won, err := c.db.Acquire(ctx, sweepLease, c.holder, now, sweepTTL)
			if err != nil || !won {
				continue
			}
			until = now.Add(sweepTTL / 3)
		}
		if err := c.offer(ctx, work); err != nil && ctx.Err() == nil {
			c.log.Warn().Err(err).Msg("due deliveries not offered, trying again")
		}
	}
}

// offer sweeps once.
func (c *courier) offer(ctx, work context.Context) error {
	limit := sweepLimit
	if c.rds.Embedded {
		limit = sweepLimitEmbedded
	}
	ids, err := c.hooks.Due(ctx, limit)
	if err != nil {
		return err
	}
	away := false
	for _, id := range ids {
		if !away {
			err := enqueueDelivery(ctx, c.client, id, queueRetries, enqueueTimeout)
			if err == nil {
				continue
			}
			if ctx.Err() != nil {
				return err
			}
			away = true
			c.log.Debug().Int("deliveries", len(ids)).Msg("queue not reachable, delivering in this process")
		}
		select {
		case c.hands <- struct{}{}:
			c.busy.Go(func() {
				defer func() { <-c.hands }()
				c.deliver(work, id)
			})
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
