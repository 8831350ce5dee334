// Package channels keeps the upstreams that admins manage and the catalogue of
// models: who serves what, in which order, and who answers.
package channels

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/providers"
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
}

// snapshot is what the registry knew at one revision.
type snapshot struct {
	revision int64
	byID     map[string]*upstream
	routes   map[string]*route        // by the name that clients use
	models   map[string]*models.Model // served or described, by name
	aliases  map[string]string        // alias -> name
	names    []string                 // served, sorted
	until    time.Time                // when the next planned price begins; zero: none is planned
}

// upstream is a channel ready for use. Its health outlives the snapshot.
type upstream struct {
	row      models.Channel
	provider providers.Provider // nil when the channel cannot be used, see broken
	broken   string
	health   *health
	close    func()
}

// route is how a model is served: tiers of one priority each, the highest first.
type route struct{ tiers []*tier }

// New makes a registry; call [Registry.Load] before use.
func New(db *storage.DB, box *sealed.Box, cfg Config, log zerolog.Logger) *Registry {
	r := &Registry{db: db, box: box, cfg: cfg, log: log}
	r.snap.Store(&snapshot{})
	return r
}

// Run reloads when any process changed a channel or a model, until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		revision, err := r.db.Revision(ctx, topic)
		if s := r.snap.Load(); err == nil && (revision != s.revision || !s.until.IsZero() && !time.Now().Before(s.until)) {
			err = r.Load(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("channels not refreshed; the last known ones stay in use")
		}
	}
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
	next.index(catalogue)
	next.price(prices, now())
	r.snap.Store(next)
	for id, u := range old.byID {
		if next.byID[id] == nil || next.byID[id].provider != u.provider {
			u.close()
		}
	}
	return nil
}

// Close releases idle connections to upstreams.
func (r *Registry) Close() {
	for _, u := range r.snap.Load().byID {
		u.close()
	}
}

// upstream makes a channel ready, keeping the connections of an unchanged one
// and the health of a changed one.
func (r *Registry) upstream(row *models.Channel, old *upstream) *upstream {
	u := &upstream{row: *row, close: func() {}}
	if old == nil {
		u.health = newHealth(row.Name)
	} else if u.health = old.health; old.row.UpdatedAt.Equal(row.UpdatedAt) {
		u.provider, u.broken, u.close = old.provider, old.broken, old.close
		return u
	}
	provider, closeIdle, err := r.provider(row)
	if err != nil {
		r.log.Error().Err(err).Str("channel_id", row.ID).Msg("channel cannot be used")
		u.broken = err.Error()
		return u
	}
	u.provider, u.close = provider, closeIdle
	return u
}

// index works out who serves what.
func (s *snapshot) index(catalogue []*models.Model) {
	s.routes = map[string]*route{}
	s.models = map[string]*models.Model{}
	s.aliases = map[string]string{}
	for _, m := range catalogue {
		s.models[m.Name] = m
	}
	byPriority := map[string]map[int]*tier{}
	for _, u := range s.sorted() {
		if !u.row.Enabled {
			continue
		}
		for _, name := range u.row.Models {
			if s.models[name] == nil {
				s.models[name] = undescribed(name, &u.row)
			}
			if byPriority[name] == nil {
				byPriority[name] = map[int]*tier{}
				s.routes[name] = &route{}
				s.names = append(s.names, name)
			}
			t := byPriority[name][u.row.Priority]
			if t == nil {
				t = &tier{}
				byPriority[name][u.row.Priority] = t
				s.routes[name].tiers = append(s.routes[name].tiers, t)
			}
			t.seats = append(t.seats, &seat{upstream: u, weight: u.row.Weight})
		}
	}
	slices.Sort(s.names)
	for _, m := range catalogue {
		for _, alias := range m.Aliases {
			if s.routes[alias] == nil {
				s.aliases[alias] = m.Name
			}
		}
	}
}

// sorted are the channels, the highest priority and then the oldest first.
func (s *snapshot) sorted() []*upstream {
	list := make([]*upstream, 0, len(s.byID))
	for _, u := range s.byID {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b *upstream) int {
		return cmp.Or(cmp.Compare(b.row.Priority, a.row.Priority), cmp.Compare(a.row.ID, b.row.ID))
	})
	return list
}

func undescribed(name string, c *models.Channel) *models.Model {
	return &models.Model{
		Name: name, DisplayName: name, OwnedBy: string(c.Type),
		Capabilities: []string{}, Aliases: []string{}, CreatedAt: &c.CreatedAt,
	}
}

// resolve turns an alias into the model's name.
func (s *snapshot) resolve(name string) string {
	if to, ok := s.aliases[name]; ok {
		return to
	}
	return name
}
