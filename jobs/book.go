package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/coaidev/coai/models"
)

const (
	// attendEvery is how often the book is asked for runs that somebody wants.
	attendEvery = 2 * time.Second
	// registerEvery is how often the book is told which jobs there are.
	registerEvery = time.Hour
)

// attend writes down which jobs there are, and has those run that somebody asked
// for, until ctx ends.
func (r *Runner) attend(ctx, work context.Context, client *asynq.Client) {
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	var registered time.Time
	for {
		if time.Since(registered) > registerEvery {
			if err := r.register(ctx); err == nil {
				registered = time.Now()
			} else if ctx.Err() == nil {
				r.log.Warn().Err(err).Msg("jobs not registered, trying again")
			}
		}
		names, err := r.book.Requested(ctx)
		if ctx.Err() == nil {
			r.note(err)
		}
		for _, name := range names {
			p := payload{Job: name, Slot: time.Now().UTC()}
			if err := enqueue(ctx, client, p); err != nil {
				r.run(work, p)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// register writes down which jobs there are.
func (r *Runner) register(ctx context.Context) error {
	list := make([]models.Job, len(r.jobs))
	for i, j := range r.jobs {
		list[i] = models.Job{Name: j.name, Description: j.about, IntervalSeconds: max(int(j.every/time.Second), 1)}
	}
	return r.book.Register(ctx, list)
}

// RunNow runs a job in this process, whether or not it is due, and gives its
// failure.
func (r *Runner) RunNow(ctx context.Context, name string) error {
	if err := r.register(ctx); err != nil {
		return err
	}
	for _, j := range r.jobs {
		if j.name == name {
			if err := r.do(ctx, j, time.Now().UTC()); err != nil {
				return fmt.Errorf("job %s: %w", name, err)
			}
			return nil
		}
	}
	e := models.NotFound("job", name)
	e.Param = "name"
	return e
}

// note logs that the book could not be kept: the jobs run all the same.
func (r *Runner) note(err error) {
	if err != nil {
		r.log.Warn().Err(err).Msg("book of jobs not kept")
	}
}
