// Package jobs runs the work that no request waits for. Its tasks travel over
// asynq; the schedule and the results live in the database alone, so Redis may
// be flushed, restarted or missing at any time.
//
// Every process that runs a [Runner] keeps the whole schedule. A run of a job
// at a point of time is a slot; the process that takes the slot's lease in the
// database enqueues it, so that a slot is due once, however many processes there
// are. A slot whose process dies before the work is done is lost; the job's next
// slot makes up for it. In rare cases a slot runs twice (Redis took a task but
// its answer was lost), so a job must bear that.
package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/idempotency"
	"github.com/coaidev/coai/internal/payments"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

const (
	queue    = "coai-jobs"
	taskType = "job"

	// checkInterval is the time between looks at an empty queue.
	checkInterval = 200 * time.Millisecond
	// enqueueTimeout bounds the wait for Redis; after it a slot runs in process.
	enqueueTimeout = time.Second
	// retryAfter is the pause before a slot is tried again when the database failed.
	retryAfter = 2 * time.Second
	// slotTTL is how long a slot stays taken: longer than clocks of two processes
	// may differ.
	slotTTL = time.Hour
)

// Deps are what the jobs work on.
type Deps struct {
	Accounts *accounts.Service
	Usage    *usage.Ledger
	// Analytics packs hours that are over; nil packs none.
	Analytics *usage.Analytics
	Archive   *archive.Archive
	// Idempotency is where answers are kept; nil purges none.
	Idempotency *idempotency.Store
	Payments    *payments.Service
	// ProbeChannels asks the channels that are due whether they answer; nil asks none.
	ProbeChannels func(ctx context.Context, now time.Time) error
	// UsageRetention is how long usage records are kept; 0 keeps them for ever.
	UsageRetention time.Duration
	// KeyRetention is how long API keys are kept after they expired or were
	// revoked; 0 means [DefaultKeyRetention].
	KeyRetention time.Duration
	// Meter counts the runs; nil counts nothing.
	Meter metric.Meter
}

// DefaultKeyRetention is how long a dead API key is kept, so that lists and
// usage records can still name it.
const DefaultKeyRetention = 90 * 24 * time.Hour

// job is one entry of the schedule.
type job struct {
	name    string
	every   time.Duration // slots begin at multiples of it since the epoch
	timeout time.Duration
	run     func(ctx context.Context, now time.Time) error
}

// payload is all that travels over Redis.
type payload struct {
	Job  string    `json:"job"`
	Slot time.Time `json:"slot"`
}

// Runner keeps the schedule and does the work.
type Runner struct {
	rds    *storage.Redis
	db     *storage.DB
	log    zerolog.Logger
	holder string
	jobs   []job
	runs   metric.Int64Counter
	// grace is how long jobs that run may go on when the runner stops.
	grace time.Duration
}

// New makes a runner. It does nothing before [Runner.Run].
func New(rds *storage.Redis, db *storage.DB, d Deps, log zerolog.Logger) *Runner {
	if d.Meter == nil {
		d.Meter = noop.Meter{}
	}
	if d.KeyRetention == 0 {
		d.KeyRetention = DefaultKeyRetention
	}
	runs, err := d.Meter.Int64Counter("coai.jobs.runs",
		metric.WithDescription("Runs of periodic jobs, by job and outcome."), metric.WithUnit("{run}"))
	if err != nil {
		log.Error().Err(err).Msg("jobs are not counted")
		runs = noop.Int64Counter{}
	}
	return &Runner{
		rds: rds, db: db, log: log, holder: models.NewID("worker_"),
		jobs: schedule(db, d), runs: runs, grace: 10 * time.Second,
	}
}

// Run keeps the schedule until ctx ends. Then it takes no new work and waits
// for what runs: first kindly, after ten seconds by ending the jobs' contexts.
// It fails only when asynq cannot start; a missing Redis or database is
// logged and waited for.
func (r *Runner) Run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()

	srv := asynq.NewServerFromRedisClient(patient{r.rds.Client, checkInterval}, asynq.Config{
		Concurrency:       4,
		Queues:            map[string]int{queue: 1},
		TaskCheckInterval: checkInterval,
		BaseContext:       func() context.Context { return work },
		// Above grace: asynq must not push a task back that is about to end.
		ShutdownTimeout: r.grace + 5*time.Second,
		Logger:          newAsynqLog(r.log),
		LogLevel:        asynq.InfoLevel,
	})
	if err := srv.Start(asynq.HandlerFunc(r.handle)); err != nil {
		return fmt.Errorf("start asynq: %w", err)
	}
	client := asynq.NewClientFromRedisClient(r.rds.Client)

	var running sync.WaitGroup
	for _, j := range r.jobs {
		running.Go(func() { r.tick(ctx, work, client, j) })
	}
	<-ctx.Done()
	hurry := time.AfterFunc(r.grace, stopWork)
	defer hurry.Stop()
	running.Wait()
	srv.Shutdown()
	return nil
}

// tick offers each slot of a job, starting with the current one, until ctx
// ends.
func (r *Runner) tick(ctx, work context.Context, client *asynq.Client, j job) {
	for {
		slot := time.Now().UTC().Truncate(j.every)
		wait := time.Until(slot.Add(j.every))
		if err := r.offer(ctx, work, client, j, slot); err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Str("job", j.name).Time("slot", slot).Msg("slot not taken, trying again")
			wait = min(retryAfter, j.every)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// offer takes the slot, if it is still free, and sees to its run.
func (r *Runner) offer(ctx, work context.Context, client *asynq.Client, j job, slot time.Time) error {
	name := leasePrefix + j.name + ":" + slot.Format(time.RFC3339Nano)
	// Not the process's own id: a lease may be taken again by its holder, a slot must not.
	won, err := r.db.Acquire(ctx, name, r.holder+"/"+models.NewID(""), time.Now(), slotTTL)
	if err != nil || !won {
		return err
	}
	if err := enqueue(ctx, client, payload{Job: j.name, Slot: slot}); err != nil {
		r.log.Warn().Err(err).Str("job", j.name).Msg("queue not reachable, running the job in this process")
		r.do(work, j, slot)
	}
	return nil
}

func enqueue(ctx context.Context, client *asynq.Client, p payload) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	// No task id, uniqueness or retention: asynq's keys for them outlive a killed
	// process and would block the work.
	_, err = client.EnqueueContext(ctx, asynq.NewTask(taskType, body), asynq.Queue(queue), asynq.MaxRetry(0))
	return err
}

// handle does a task. It never fails: asynq would only put the task into an
// archive that nobody reads.
func (r *Runner) handle(ctx context.Context, t *asynq.Task) error {
	var p payload
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		r.log.Error().Err(err).Msg("task is not a job")
		return nil
	}
	for _, j := range r.jobs {
		if j.name == p.Job {
			r.do(ctx, j, p.Slot)
			return nil
		}
	}
	r.log.Error().Str("job", p.Job).Msg("no such job; processes of several versions share this queue")
	return nil
}

// do runs a job and records the outcome.
func (r *Runner) do(ctx context.Context, j job, slot time.Time) {
	ctx, cancel := context.WithTimeout(r.log.WithContext(ctx), j.timeout)
	defer cancel()
	began := time.Now()
	err := guarded(ctx, j, began.UTC())
	outcome, line := "ok", r.log.Debug()
	if err != nil {
		outcome, line = "failed", r.log.Error().Err(err)
	}
	line.Str("job", j.name).Time("slot", slot).Time("started", began).
		Dur("took_ms", time.Since(began)).Str("outcome", outcome).Msg("job ran")
	r.runs.Add(ctx, 1, metric.WithAttributes(attribute.String("job", j.name), attribute.String("outcome", outcome)))
}

func guarded(ctx context.Context, j job, now time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return j.run(ctx, now)
}
