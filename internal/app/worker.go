package app

import (
	"context"
	"errors"
	"net"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/server"
	"github.com/coaidev/coai/rest"
)

// Worker is a process that runs the periodic jobs and serves no API.
type Worker struct {
	*core
	run    func(context.Context) error
	runNow func(ctx context.Context, job string) error
	loops  []func(context.Context) error
	ops    *server.Server // nil without a metrics address
}

// NewWorker opens what the jobs need. The caller runs it to its end, or closes it.
func NewWorker(ctx context.Context, cfg *Config, log zerolog.Logger) (*Worker, error) {
	c, err := openCore(log.WithContext(ctx), cfg, log, true)
	if err != nil {
		return nil, err
	}
	w := &Worker{core: c}
	if err := w.wire(ctx); err != nil {
		return nil, errors.Join(err, w.Close(ctx))
	}
	return w, nil
}

func (w *Worker) wire(ctx context.Context) error {
	rds, err := w.redis(ctx)
	if err != nil {
		return err
	}
	tel, err := w.telemetry(ctx)
	if err != nil {
		return err
	}
	reg, err := w.registry(rds)
	if err != nil {
		return err
	}
	if err := reg.Load(ctx); err != nil {
		return err
	}
	p, err := w.open(ctx, reg, tel, nil)
	if err != nil {
		return err
	}
	w.loops = []func(context.Context) error{reg.Run}
	runner := w.jobs(rds, p, tel)
	w.run, w.runNow = runner.Run, runner.RunNow
	if w.cfg.MetricsAddr != "" {
		w.ops = server.New(server.Config{
			Addr: w.cfg.MetricsAddr, ShutdownTimeout: w.cfg.ShutdownTimeout,
			Checks: w.checks(rds, p.files), Metrics: tel.metrics, WriteError: rest.WriteError,
		}, w.accounts, ratelimit.NewMemory(), w.log, tel.meter, tel.tracer)
	}
	return nil
}

// Run runs jobs until ctx ends, waits for those that run, and closes
// everything.
func (w *Worker) Run(ctx context.Context) (err error) {
	ctx = w.log.WithContext(ctx)
	defer func() { err = errors.Join(err, w.Close(ctx)) }()
	loops := w.loops
	if w.ops != nil {
		var l net.Listener
		if l, err = listen(ctx, w.cfg.MetricsAddr); err != nil {
			return err
		}
		loops = append(loops, func(ctx context.Context) error { return w.ops.Serve(ctx, l) })
	}
	w.log.Info().Str("database", w.db.Dialect()).Str("metrics", w.cfg.MetricsAddr).Msg("worker runs")
	err = runAll(ctx, w.run, loops)
	w.log.Info().Err(err).Msg("worker stopped")
	return err
}

// Close flushes and closes everything. It may be called twice.
func (w *Worker) Close(ctx context.Context) error { return w.close(ctx) }
