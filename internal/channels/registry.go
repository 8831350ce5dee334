// Package channels keeps the upstreams that admins manage and the catalogue of
// models: who serves what, in which order, and who answers.
package channels

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// topic is the revision that moves whenever channels or models change.
const topic = "channels"

const pollInterval = time.Second

// Config says how channels may be reached.
type Config struct {
	Policy safehttp.Policy // which addresses channels may dial
	// Strategy is for models that say none; default [models.RoutingPriority].
	Strategy models.RoutingStrategy
	// Redis counts what all processes send to channels that have limits; nil, or an
	// embedded one: this process counts alone.
	Redis *storage.Redis
	// KeyViewer is who signs in with an API key, for [Registry.ExplainRoute].
	KeyViewer func(ctx context.Context, keyID string) (*models.Viewer, error)
}

// Registry is the one place that knows the channels. Requests read an immutable
// snapshot; changes by any process replace it within about a second.
type Registry struct {
	db  *storage.DB
	box *sealed.Box
	cfg Config
	log zerolog.Logger

	snap   atomic.Pointer[snapshot]
	loadMu sync.Mutex // one load at a time

	edges         *edges
	stateRevision atomic.Int64 // of the states that this process follows
	quota         *quota       // nil without a Redis server
	stop          context.CancelFunc
}

// upstream is a channel ready for use. Its health outlives the snapshot.
type upstream struct {
	registry    *Registry
	row         models.Channel
	hash        uint64
	credentials []*credential // none when the channel cannot be used, see broken
	turn        atomic.Uint64 // of the credentials
	broken      string
	health      *health
	close       func()
}

// limited says whether the channel has limits.
func (u *upstream) limited() bool {
	l := &u.row.Limits
	return l.RPM != nil || l.TPM != nil || l.Concurrency != nil
}

// New makes a registry; call [Registry.Load] before use.
func New(db *storage.DB, box *sealed.Box, cfg Config, log zerolog.Logger) *Registry {
	if cfg.Strategy == "" {
		cfg.Strategy = models.RoutingPriority
	}
	r := &Registry{db: db, box: box, cfg: cfg, log: log, edges: newEdges()}
	r.snap.Store(&snapshot{})
	r.stateRevision.Store(-1)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background()) //nolint:forbidigo // of commands to Redis, which no request's end may cut short; Close ends it
	if cfg.Redis != nil && !cfg.Redis.Embedded {
		r.quota = newQuota(ctx, cfg.Redis.Client, log)
	}
	return r
}

// Run reloads when any process changed a channel or a model, tells the others
// how channels are and learns it from them, until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	tick, beat := time.NewTicker(pollInterval), time.NewTicker(leaseBeat)
	defer tick.Stop()
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			if err := r.saveStates(context.WithoutCancel(ctx)); err != nil {
				r.log.Warn().Err(err).Msg("the last states of channels were not written")
			}
			return nil
		case <-r.edges.wake:
			err = r.saveStates(ctx)
		case <-beat.C:
			if r.quota != nil {
				err = r.quota.beat(ctx)
			}
		case <-tick.C:
			err = errors.Join(r.poll(ctx), r.saveStates(ctx))
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("channels not refreshed; the last known ones stay in use")
		}
	}
}

// poll looks for changes by other processes.
func (r *Registry) poll(ctx context.Context) error {
	revision, err := r.db.Revision(ctx, topic)
	if s := r.snap.Load(); err == nil && (revision != s.revision || !s.until.IsZero() && !time.Now().Before(s.until)) {
		return r.Load(ctx)
	}
	if err != nil {
		return err
	}
	states, err := r.db.Revision(ctx, stateTopic)
	if err != nil || states == r.stateRevision.Load() {
		return err
	}
	return r.loadStates(ctx)
}

// Load reads all channels and models.
func (r *Registry) Load(ctx context.Context) error {
	r.loadMu.Lock()
	defer r.loadMu.Unlock()
	revision, err := r.db.Revision(ctx, topic) // before the rows: a later change only reloads once more
	if err != nil {
		return fmt.Errorf("read channel revision: %w", err)
	}
	var rows []models.Channel
	if err := r.db.Read().NewSelect().Model(&rows).Order("id").Scan(ctx); err != nil {
		return fmt.Errorf("read channels: %w", err)
	}
	var catalogue []*models.Model
	if err := r.db.Read().NewSelect().Model(&catalogue).Order("name").Scan(ctx); err != nil {
		return fmt.Errorf("read models: %w", err)
	}
	prices, err := loadPrices(ctx, r.db.Read())
	if err != nil {
		return err
	}
	old := r.snap.Load()
	next := &snapshot{revision: revision, byID: make(map[string]*upstream, len(rows))}
	for i := range rows {
		next.byID[rows[i].ID] = r.upstream(&rows[i], old.byID[rows[i].ID])
	}
	next.index(catalogue, r.cfg.Strategy)
	next.price(prices, now())
	r.snap.Store(next)
	for id, u := range old.byID {
		if next.byID[id] != u {
			u.close()
		}
	}
	return r.loadStates(ctx)
}

// Close releases idle connections to upstreams.
func (r *Registry) Close() {
	r.stop()
	for _, u := range r.snap.Load().byID {
		u.close()
	}
}

// upstream makes a channel ready, keeping an unchanged one as it is, and the
// health of a changed one.
func (r *Registry) upstream(row *models.Channel, old *upstream) *upstream {
	if old != nil && old.row.UpdatedAt.Equal(row.UpdatedAt) {
		return old
	}
	u := &upstream{registry: r, row: *row, hash: Affinity(row.ID), close: func() {}}
	if u.health = new(health); old != nil {
		u.health = old.health
	}
	credentials, closeIdle, err := r.credentials(row)
	if err != nil {
		r.log.Error().Err(err).Str("channel_id", row.ID).Msg("channel cannot be used")
		u.broken = err.Error()
		return u
	}
	u.credentials, u.close = credentials, closeIdle
	return u
}
