package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/chat"
	"github.com/coaidev/coai/internal/conversations"
	"github.com/coaidev/coai/internal/files"
	"github.com/coaidev/coai/internal/idempotency"
	"github.com/coaidev/coai/internal/payments"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/server"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/internal/webhooks"
	"github.com/coaidev/coai/jobs"
	"github.com/coaidev/coai/models"
)

// closeTimeout bounds [App.Close] after the requests have ended: flushing the
// ledger, the spans, and the connections.
const closeTimeout = 15 * time.Second

// core is what all kinds of processes share: settings, records, and the order
// in which things are closed.
type core struct {
	cfg      *Config
	log      zerolog.Logger
	db       *storage.DB
	accounts *accounts.Service
	box      *sealed.Box // of sealer

	closers   []closer // the last one first
	closeOnce sync.Once
	closeErr  error
}

type closer struct {
	what  string
	close func(context.Context) error
}

// openCore opens the database and brings its schema up to date. On failure
// nothing stays open; a caller that fails later calls close.
func openCore(ctx context.Context, cfg *Config, log zerolog.Logger, migrate bool) (*core, error) {
	c := &core{cfg: cfg, log: log}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	db, err := storage.Open(ctx, cfg.Database())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	c.onClose("database", func(context.Context) error { return db.Close() })
	c.db = db
	if migrate {
		if err := c.migrate(ctx); err != nil {
			return nil, errors.Join(err, c.close(ctx))
		}
	}
	if err := c.openAccounts(); err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	return c, nil
}

func (c *core) migrate(ctx context.Context) error {
	if !c.cfg.AutoMigrate {
		return c.requireMigrated(ctx)
	}
	applied, err := c.db.Migrate(ctx)
	if err != nil {
		return fmt.Errorf("bring the database schema up to date: %w", err)
	}
	if applied > 0 {
		c.log.Info().Int("migrations", applied).Str("database", c.db.Dialect()).Msg("database schema brought up to date")
	}
	return nil
}

func (c *core) requireMigrated(ctx context.Context) error {
	list, err := c.db.MigrationStatus(ctx)
	if err != nil {
		return fmt.Errorf("read the state of the database schema: %w", err)
	}
	for _, m := range list {
		if m.AppliedAt == nil {
			return fmt.Errorf("the database schema lacks migration %d (%s), and COAI_AUTO_MIGRATE is off: run 'coai migrate'", m.Version, m.Name)
		}
	}
	return nil
}

// sealer opens the box that secrets are sealed in, with the master key.
func (c *core) sealer() (*sealed.Box, error) {
	if c.box != nil {
		return c.box, nil
	}
	if c.cfg.MasterKey == "" && !c.cfg.embeddedDatabase() {
		c.log.Warn().Str("file", c.cfg.masterKeyFile()).
			Msg("COAI_MASTER_KEY is not set: processes on other machines cannot read what is sealed with this file's key")
	}
	key, err := sealed.LoadKey(c.cfg.MasterKey, c.cfg.masterKeyFile())
	if err != nil {
		return nil, fmt.Errorf("load the master key: %w", err)
	}
	if c.box, err = sealed.New(key); err != nil {
		return nil, fmt.Errorf("use the master key: %w", err)
	}
	return c.box, nil
}

// registry makes the channel registry. A Redis server counts what all processes
// send to channels with limits; nil, or an embedded one, leaves that to this
// process.
func (c *core) registry(rds *storage.Redis) (*channels.Registry, error) {
	box, err := c.sealer()
	if err != nil {
		return nil, err
	}
	policy, err := safehttp.ParsePolicy(c.cfg.AllowPrivateNetworks, true)
	if err != nil {
		return nil, fmt.Errorf("read COAI_ALLOW_PRIVATE_NETWORKS: %w", err)
	}
	chcfg := channels.Config{
		Policy: policy, Strategy: models.RoutingStrategy(c.cfg.RoutingStrategy), KeyViewer: c.accounts.KeyViewer, Redis: rds,
	}
	reg := channels.New(c.db, box, chcfg, c.log)
	c.onClose("channels", func(context.Context) error { reg.Close(); return nil })
	return reg, nil
}

// redis opens the configured Redis, or the embedded one.
func (c *core) redis(ctx context.Context) (*storage.Redis, error) {
	rds, err := storage.OpenRedis(ctx, c.cfg.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("open Redis: %w", err)
	}
	c.onClose("Redis", func(context.Context) error { return rds.Close() })
	return rds, nil
}

func (c *core) ledger() *usage.Ledger {
	l := usage.New(c.db, c.log)
	percents, _ := percentages(c.cfg.UsageThresholds) // checked when the settings were loaded
	l.TellAt(percents)
	c.onClose("usage ledger", l.Close)
	return l
}

func (c *core) analytics() *usage.Analytics {
	a := usage.NewAnalytics(c.db, int64(c.cfg.AnalyticsMemory))
	c.onClose("analytics", a.Close)
	return a
}

func (c *core) conversations() *conversations.Service {
	s := conversations.New(c.db, c.log)
	c.onClose("conversations", s.Close)
	return s
}

func (c *core) completions(p *parts, tel *telemetry, limiter *ratelimit.Limiter) *chat.Service {
	s := chat.New(p.channels, p.ledger, archive.New(c.db), chat.Config{
		Timeout: c.cfg.CompletionTimeout, Retries: c.cfg.UpstreamRetries, CacheBytes: int64(c.cfg.CacheSize),
		DrainTimeout: c.cfg.DrainTimeout, DrainTokens: c.cfg.DrainTokens, Drains: c.cfg.DrainConcurrency,
		Conversations: p.conversations, TitleModel: c.cfg.TitleModel, Files: p.files, Limiter: limiter,
	}, chat.Telemetry{Meter: tel.meter, Tracer: tel.tracer})
	c.onClose("completions without clients", s.Close) // before the ledger
	return s
}

func (c *core) telemetry(ctx context.Context) (*telemetry, error) {
	tel, err := newTelemetry(ctx, c.cfg.OTLPEndpoint, BuildVersion().Version)
	if err != nil {
		return nil, err
	}
	c.onClose("telemetry", tel.close)
	return tel, nil
}

// parts are the services that serving processes and workers both have.
type parts struct {
	channels      *channels.Registry
	ledger        *usage.Ledger
	analytics     *usage.Analytics
	conversations *conversations.Service
	files         *files.Service
	completions   *chat.Service
	payments      *payments.Service
	webhooks      *webhooks.Service
}

// open makes the services; without a limiter completions are for probes alone.
func (c *core) open(ctx context.Context, reg *channels.Registry, tel *telemetry, limiter *ratelimit.Limiter) (*parts, error) {
	p := &parts{channels: reg, ledger: c.ledger(), analytics: c.analytics(), conversations: c.conversations(), payments: c.payments()}
	var err error
	if p.files, err = c.files(ctx); err != nil {
		return nil, err
	}
	p.completions = c.completions(p, tel, limiter)
	if p.webhooks, err = c.webhooks(tel); err != nil {
		return nil, err
	}
	return p, nil
}

func (c *core) jobs(rds *storage.Redis, p *parts, tel *telemetry) *jobs.Runner {
	return jobs.New(rds, c.db, jobs.Deps{
		Accounts: c.accounts, Usage: p.ledger, Analytics: p.analytics, Archive: archive.New(c.db), Idempotency: idempotency.New(c.db, c.box),
		Files: p.files, Payments: p.payments, Meter: tel.meter, ProbeChannels: p.completions.ProbeChannels,
		UsageRetention: c.cfg.UsageRetention, KeyRetention: c.cfg.KeyRetention,
		Audit: audit.New(c.db), AuditRetention: c.cfg.AuditRetention,
		Conversations: p.conversations, ConversationRetention: c.cfg.ConversationRetention,
		Webhooks: p.webhooks, Concurrency: c.cfg.JobConcurrency, WebhookConcurrency: c.cfg.WebhookConcurrency,
	}, c.log)
}

// checks are the parts that /readyz reports. Without its database the product
// can do nothing; without Redis limits are counted in each process alone.
func (c *core) checks(rds *storage.Redis, kept *files.Service) []server.Check {
	list := []server.Check{{Name: "database", Vital: true, Probe: c.db.Ping}, {Name: "files", Probe: kept.Ping}}
	if !rds.Embedded {
		list = append(list, server.Check{Name: "redis", Probe: func(ctx context.Context) error {
			return rds.Client.Ping(ctx).Err()
		}})
	}
	return list
}

func (c *core) onClose(what string, fn func(context.Context) error) {
	c.closers = append(c.closers, closer{what, fn})
}

// close closes everything, the newest first, once.
func (c *core) close(ctx context.Context) error {
	c.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		for _, part := range slices.Backward(c.closers) {
			if err := part.close(ctx); err != nil {
				c.closeErr = errors.Join(c.closeErr, fmt.Errorf("close the %s: %w", part.what, err))
			}
		}
	})
	return c.closeErr
}
