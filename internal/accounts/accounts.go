// Package accounts knows users, their API keys and the plans of their tiers.
package accounts

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"
	"golang.org/x/sync/singleflight"

	"github.com/coaidev/coai/internal/mail"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	// topic is the revision that every change of this package counts up.
	topic = "accounts"

	defaultCacheTTL = 5 * time.Second
	// Unknown secrets have a cache of their own: a flood of them must not push
	// out those that count.
	maxKnown, maxUnknown = 100_000, 10_000

	pollEvery    = time.Second
	flushEvery   = 5 * time.Second
	queryTimeout = 5 * time.Second
)

// Config is how accounts are kept.
type Config struct {
	// BootstrapKey is a fixed secret of an admin, for automation: at least 24
	// printable ASCII characters. Empty: none. See [Service.Bootstrap].
	BootstrapKey string
	// CacheTTL is how long an API key is believed without asking the database;
	// zero means 5 s. Changes by this process count at once, and those by others
	// within a second while [Service.Run] runs.
	CacheTTL time.Duration

	SignUp          models.SignUpMode  // empty: closed
	SessionIdle     time.Duration      // without a request a session ends; default 7 days
	SessionLifetime time.Duration      // a session ends at the latest; default 30 days
	Limiter         *ratelimit.Limiter // of guesses; nil: this process counts for itself
	Mail            mail.Sender        // nil: nobody is written to
	PublicURL       string             // where people reach the server, without a final slash; for links
	OIDC            *OIDC              // nil: no sign-in through an OpenID issuer
}

// Service keeps accounts. It is safe for concurrent use.
type Service struct {
	db  *storage.DB
	cfg Config
	now func() time.Time

	bootstrap *digest // of Config.BootstrapKey, nil without a valid one

	// generation numbers the states of the accounts that this process knows of;
	// what was cached in an earlier one counts no more.
	generation     atomic.Uint64
	known, unknown cache
	loads          singleflight.Group
	plans          atomic.Pointer[planSnapshot]
	uses           uses // of keys
	seen           uses // of sessions

	passwords passwords
	errands   errands
	issuer    issuer
}

// New makes the service. It reads nothing yet.
func New(db *storage.DB, cfg Config) *Service {
	if cfg.CacheTTL <= 0 {
		cfg.CacheTTL = defaultCacheTTL
	}
	if cfg.SignUp == "" {
		cfg.SignUp = models.SignUpClosed
	}
	if cfg.SessionIdle <= 0 {
		cfg.SessionIdle = defaultSessionIdle
	}
	if cfg.SessionLifetime <= 0 {
		cfg.SessionLifetime = defaultSessionLifetime
	}
	if cfg.Limiter == nil {
		cfg.Limiter = ratelimit.NewMemory()
	}
	s := &Service{db: db, cfg: cfg, now: time.Now, passwords: newPasswords(), errands: newErrands()}
	s.known.most, s.unknown.most = maxKnown, maxUnknown
	if validBootstrapKey(cfg.BootstrapKey) == nil {
		sum := digest(sha256.Sum256([]byte(cfg.BootstrapKey)))
		s.bootstrap = &sum
	}
	return s
}

// LimitWith replaces [Config.Limiter]. Call it before anybody signs in.
func (s *Service) LimitWith(l *ratelimit.Limiter) { s.cfg.Limiter = l }

// Run forgets cached keys, sessions and plans within a second of a change by any
// process, and writes down when keys and sessions were last used: every few seconds, and once more
// when ctx ends. It returns the error of that last write only.
func (s *Service) Run(ctx context.Context) error {
	poll, flush := time.NewTicker(pollEvery), time.NewTicker(flushEvery)
	defer poll.Stop()
	defer flush.Stop()
	log := zerolog.Ctx(ctx)
	revision, healthy := int64(-1), true
	for {
		select {
		case <-poll.C:
			n, err := s.revision(ctx)
			if healthy != (err == nil) && ctx.Err() == nil {
				healthy = err == nil
				log.Warn().Err(err).Bool("healthy", healthy).Msg("watching the accounts' revision")
			}
			if err == nil && n != revision {
				revision = n
				s.invalidate()
			}
			s.sweep()
		case <-flush.C:
			if err := s.flushUses(ctx); err != nil && ctx.Err() == nil {
				log.Warn().Err(err).Msg("the time of the last use of keys or sessions was not written; trying again")
			}
		case <-ctx.Done():
			return s.flushUses(context.WithoutCancel(ctx))
		}
	}
}

func (s *Service) revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return s.db.Revision(ctx, topic)
}

// change runs fn in a transaction that counts the revision up. It counts first:
// with that, changes of accounts wait for each other across all processes, and
// fn may rely on what it reads.
func (s *Service) change(ctx context.Context, fn func(ctx context.Context, tx bun.Tx) error) error {
	defer s.invalidate() // after an error too: the commit may have happened all the same
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := storage.Bump(ctx, tx, topic); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

// invalidate makes everything that is cached stale.
func (s *Service) invalidate() { s.generation.Add(1) }

// time is now, as the databases keep it.
func (s *Service) time() time.Time { return stored(s.now()) }

func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// signedIn fails without a viewer.
func signedIn(v *models.Viewer) error {
	if v == nil {
		return v.Require(models.ScopeProfile)
	}
	return nil
}

// Operator is the viewer as whom the command line acts: the user, with all
// scopes.
func Operator(u *models.User) *models.Viewer {
	return &models.Viewer{UserID: u.ID, Role: u.Role, Tier: u.Tier, Scopes: models.AllScopes(), Groups: u.Groups, Operator: true}
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
