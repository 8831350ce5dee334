package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/idempotency"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/runs"
	"github.com/coaidev/coai/internal/server"
	"github.com/coaidev/coai/jobs"
	"github.com/coaidev/coai/rest"
)

// App is a serving process: both faces, and the periodic jobs unless they are
// left to workers.
type App struct {
	// Out is where a person is told the URL and, once, the first admin's API key.
	// Default: standard output.
	Out io.Writer

	*core
	first    *accounts.Bootstrap // nil but at a first start
	server   *server.Server
	ops      *server.Server // metrics and health on their own address; nil: beside the API
	loops    []func(context.Context) error
	draining atomic.Bool

	listener, opsListener net.Listener
}

// New opens everything that cfg names and wires it, migrates the database, and
// at a first start makes the administrator and the first channels. It serves
// nothing before [App.Run]. The caller closes it, or runs it to its end.
func New(ctx context.Context, cfg *Config, log zerolog.Logger) (*App, error) {
	a := &App{Out: os.Stdout}
	ctx = log.WithContext(ctx)
	// Before the database is touched: a second process must not migrate it.
	var unlock func(context.Context) error
	if cfg.embeddedDatabase() {
		lock, err := lockDataDir(cfg.DataDir)
		if err != nil {
			return nil, err
		}
		unlock = func(context.Context) error { return lock.Close() }
	}
	var err error
	if a.core, err = openCore(ctx, cfg, log, true); err != nil {
		if unlock != nil {
			err = errors.Join(err, unlock(ctx))
		}
		return nil, err
	}
	if unlock != nil { // closed last of all
		a.closers = append([]closer{{"lock of the data directory", unlock}}, a.closers...)
	}
	if err := a.wire(ctx); err != nil {
		return nil, errors.Join(err, a.Close(ctx))
	}
	return a, nil
}

func (a *App) wire(ctx context.Context) error {
	rds, err := a.redis(ctx)
	if err != nil {
		return err
	}
	tel, err := a.telemetry(ctx)
	if err != nil {
		return err
	}
	limiter := ratelimit.NewMemory()
	if !rds.Embedded {
		limiter = ratelimit.NewRedis(rds.Client, a.log)
	}
	a.accounts.LimitWith(limiter)
	reg, err := a.registry(rds)
	if err != nil {
		return err
	}
	if err := reg.Seed(ctx, a.cfg.upstreams()); err != nil {
		return err
	}
	if err := reg.Load(ctx); err != nil {
		return err
	}
	p, err := a.open(ctx, reg, tel, limiter)
	if err != nil {
		return err
	}
	resolver := graph.NewResolver(graph.Deps{
		Accounts: a.accounts, Audit: audit.New(a.db), Channels: reg, Chat: p.completions, Conversations: p.conversations, Files: p.files,
		Payments: p.payments, Usage: p.ledger, Analytics: p.analytics, Limiter: limiter, Webhooks: p.webhooks, Runs: runs.New(a.db),
	})
	gql, err := a.graphqlConfig()
	if err != nil {
		return err
	}
	graphql := graph.NewHandler(resolver, gql)
	cfg := server.Config{
		Addr: a.cfg.Addr, CORSOrigins: corsOrigins(a.cfg.CORSOrigins), TrustedProxies: a.cfg.TrustedProxies,
		HTTPS:           strings.HasPrefix(a.cfg.publicURL(), "https://"),
		ShutdownTimeout: a.cfg.ShutdownTimeout, Checks: a.checks(rds, p.files), Metrics: tel.metrics, WriteError: rest.WriteError,
		Idempotency: idempotency.New(a.db, a.box),
		OnShutdown: []func(context.Context){
			func(context.Context) { a.draining.Store(true) },
			func(ctx context.Context) { _ = graphql.Shutdown(ctx) },
			func(ctx context.Context) { _ = p.completions.EndDrains(ctx) }, // Close tells its error
		},
	}
	if a.cfg.MetricsAddr != "" {
		a.ops = server.New(server.Config{
			Addr: a.cfg.MetricsAddr, ShutdownTimeout: a.cfg.ShutdownTimeout, Metrics: tel.metrics, WriteError: rest.WriteError,
			Checks: append(a.checks(rds, p.files), server.Check{Name: "api", Vital: true, Probe: a.accepting}),
		}, a.accounts, limiter, a.log, tel.meter, tel.tracer)
		cfg.Metrics = nil
	}
	v1 := rest.NewHandler(resolver, rest.Config{MaxBody: int64(a.cfg.MaxBody), MaxFile: int64(a.cfg.FileMaxSize)})
	mounts := append([]server.Mount{
		{Pattern: "/v1/", WriteError: rest.WriteError, Handler: v1, Idempotent: true},
		{Pattern: "/v1/auth/", WriteError: rest.WriteError, Handler: v1, Anonymous: true}, // where people sign in; its answers set cookies
		{Pattern: "/v1/shared/", WriteError: rest.WriteError, Handler: v1, Anonymous: true},
		// Stripe proves itself by its signature.
		{Pattern: "/v1/payments/stripe/webhook", WriteError: rest.WriteError, Handler: v1, Anonymous: true, Uncounted: true},
		{Pattern: "/openapi.json", WriteError: rest.WriteError, Handler: rest.OpenAPI(BuildVersion().Version), Anonymous: true},
	}, a.graphqlMounts(graphql)...)
	a.server = server.New(cfg, a.accounts, limiter, a.log, tel.meter, tel.tracer, mounts...)

	a.loops = []func(context.Context) error{a.accounts.Run, reg.Run, p.analytics.Run, limiter.Run}
	if a.cfg.Worker {
		a.loops = append(a.loops, a.jobs(rds, p, tel).Run)
	} else if !rds.Embedded { // whose queue nobody would empty
		a.loops = append(a.loops, jobs.NewFeeder(rds, a.db).Run)
	}
	// Last: what can fail has not, so the key that this makes will be shown.
	if a.first, err = a.accounts.Bootstrap(ctx); err != nil {
		return fmt.Errorf("make the first administrator: %w", err)
	}
	return nil
}

// corsOrigins turns the setting into the server's terms, where none means any.
func corsOrigins(setting []string) []string {
	for _, o := range setting {
		if o == "*" {
			return nil
		}
	}
	return setting
}

func (a *App) accepting(context.Context) error {
	if a.draining.Load() {
		return errors.New("shutting down")
	}
	return nil
}

// Handler answers all requests, for tests that need no listener.
func (a *App) Handler() http.Handler { return a.server.Handler() }

// FirstKey is the API key of the administrator that this start made; empty at
// any other start.
func (a *App) FirstKey() string {
	if a.first == nil {
		return ""
	}
	return a.first.Secret
}

// Listen opens the listeners and says where the API will be. [App.Run] does it
// when nobody did before.
func (a *App) Listen(ctx context.Context) (net.Addr, error) {
	if a.listener != nil {
		return a.listener.Addr(), nil
	}
	l, err := listen(ctx, a.cfg.Addr)
	if err != nil {
		return nil, err
	}
	if a.ops != nil {
		if a.opsListener, err = listen(ctx, a.cfg.MetricsAddr); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	a.listener = l
	return l.Addr(), nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// Run serves until ctx ends. Then it accepts no more, lets running requests and
// streams finish within the shutdown timeout, stops the background work, and
// closes everything. A stop that was asked for is no error.
func (a *App) Run(ctx context.Context) (err error) {
	ctx = a.log.WithContext(ctx)
	defer func() { err = errors.Join(err, a.Close(ctx)) }()
	addr, err := a.Listen(ctx)
	if err != nil {
		printKey(a.Out, a.first)
		return err
	}
	printBanner(a.Out, baseURL(addr), a.first)
	a.log.Info().Str("addr", addr.String()).Str("database", a.db.Dialect()).Bool("worker", a.cfg.Worker).Msg("serving")

	loops := a.loops
	if a.ops != nil {
		loops = append(loops, func(ctx context.Context) error { return a.ops.Serve(ctx, a.opsListener) })
	}
	err = runAll(ctx, func(ctx context.Context) error { return a.server.Serve(ctx, a.listener) }, loops)
	a.log.Info().Err(err).Msg("stopped")
	return err
}

// runAll runs main until ctx ends or a loop fails, and the loops until main
// has ended: what main drains still uses them.
func runAll(ctx context.Context, main func(context.Context) error, loops []func(context.Context) error) error {
	group, mainCtx := errgroup.WithContext(ctx)
	loopCtx, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()
	for _, loop := range loops {
		group.Go(func() error {
			err := loop(loopCtx)
			if loopCtx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		})
	}
	group.Go(func() error {
		defer stopLoops()
		return main(mainCtx)
	})
	return group.Wait()
}

// Close flushes and closes everything. It may be called twice, and after
// [App.Run].
func (a *App) Close(ctx context.Context) error { return a.close(ctx) }
