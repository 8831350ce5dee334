package channels

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// stateTopic is the revision that moves whenever a channel's state does.
const stateTopic = "channel_states"

// wholeChannel stands for the channel where a credential's place is expected.
const wholeChannel = -1

// The states of channels, and of their credentials.
const (
	stateHealthy   = "healthy"   // of a channel: it answers
	stateUnhealthy = "unhealthy" // of a channel: it failed repeatedly
	stateResting   = "resting"   // of a credential: the upstream's limit is reached
	stateRefused   = "refused"   // of a credential: the upstream does not take it
)

const saveStateTimeout = 5 * time.Second

// state is what a process tells the others about a channel or a credential.
type state struct {
	bun.BaseModel `bun:"table:channel_states,alias:s"`

	ChannelID  string     `bun:"channel_id,pk"`
	Credential int        `bun:"credential,pk"` // its place, or wholeChannel
	State      string     `bun:"state"`
	RestsUntil *time.Time `bun:"rests_until"`
	Error      string     `bun:"error"`
	ChangedAt  time.Time  `bun:"changed_at"`
}

// edge is a change of a channel or a credential; the zero value is none.
type edge struct {
	credential int
	state      string
	broken     bool
	until      time.Time
	at         time.Time
	message    string
	version    time.Time // of the channel's row
}

// edges are the changes that are to be written down. The newest of a channel or
// a credential is kept, so there are never more than there are of those.
type edges struct {
	mu      sync.Mutex
	pending map[edgeKey]edge
	wake    chan struct{}
}

type edgeKey struct {
	channelID  string
	credential int
}

func newEdges() *edges {
	return &edges{pending: map[edgeKey]edge{}, wake: make(chan struct{}, 1)}
}

// add notes a change. It never waits.
func (q *edges) add(u *upstream, e edge) {
	if e.state == "" {
		return
	}
	e.version = u.row.UpdatedAt
	q.mu.Lock()
	q.pending[edgeKey{u.row.ID, e.credential}] = e
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *edges) take() map[edgeKey]edge {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.pending
	q.pending = map[edgeKey]edge{}
	return taken
}

// putBack keeps a change that could not be written, unless there is a newer one.
func (q *edges) putBack(k edgeKey, e edge) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, newer := q.pending[k]; !newer {
		q.pending[k] = e
	}
}

// saveStates writes the changes down that this process has seen.
func (r *Registry) saveStates(ctx context.Context) error {
	var failed error
	for k, e := range r.edges.take() {
		err := r.saveState(ctx, k, e)
		if err != nil {
			r.edges.putBack(k, e)
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// saveState writes a change down, unless another process has been quicker. The
// event is in the transaction of the change, which is conditional: of all
// processes that see a channel fail, one makes the event.
func (r *Registry) saveState(ctx context.Context, k edgeKey, e edge) error {
	ctx, cancel := context.WithTimeout(ctx, saveStateTimeout)
	defer cancel()
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		c, err := find(ctx, tx, k.channelID, false)
		if gone := new(models.Error); errors.As(err, &gone) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if k.credential != wholeChannel && !c.UpdatedAt.Equal(e.version) {
			return nil // in its place there may be another one now
		}
		row := e.row(k)
		var changed bool
		switch e.state {
		case stateUnhealthy:
			changed, err = r.saveUnhealthy(ctx, tx, c, row)
		case stateHealthy:
			changed, err = r.saveHealthy(ctx, tx, c, row)
		default:
			changed, err = saveResting(ctx, tx, row)
		}
		if err != nil || !changed {
			return err
		}
		return storage.Bump(ctx, tx, stateTopic)
	})
	if err != nil {
		return fmt.Errorf("write the state of channel %s: %w", k.channelID, err)
	}
	return nil
}

func (e edge) row(k edgeKey) *state {
	s := &state{
		ChannelID: k.channelID, Credential: k.credential, State: e.state, Error: e.message,
		ChangedAt: e.at.UTC().Truncate(time.Microsecond),
	}
	if e.broken {
		s.State = stateRefused
	}
	if !e.until.IsZero() {
		until := e.until.UTC().Truncate(time.Microsecond)
		s.RestsUntil = &until
	}
	return s
}

func (r *Registry) saveUnhealthy(ctx context.Context, tx bun.Tx, c *models.Channel, row *state) (bool, error) {
	first, err := affected(upsert(tx, row).Where("s.state <> ?", stateUnhealthy).Exec(ctx))
	if err != nil {
		return false, err
	}
	if first {
		return true, healthChanged(ctx, tx, c, models.HealthHealthy, row)
	}
	// Another process was quicker, or it failed again: it rests for longer.
	return affected(tx.NewUpdate().Model(row).Column("rests_until", "error", "changed_at").WherePK().
		Where("s.rests_until < ?", row.RestsUntil).Exec(ctx))
}

func (r *Registry) saveHealthy(ctx context.Context, tx bun.Tx, c *models.Channel, row *state) (bool, error) {
	healed, err := affected(tx.NewUpdate().Model(row).Column("state", "rests_until", "error", "changed_at").WherePK().
		Where("s.state = ?", stateUnhealthy).Exec(ctx))
	if err != nil || !healed {
		return false, err
	}
	return true, healthChanged(ctx, tx, c, models.HealthUnhealthy, row)
}

// saveResting writes down until when a credential rests: the later end counts.
func saveResting(ctx context.Context, tx bun.Tx, row *state) (bool, error) {
	return affected(upsert(tx, row).Where("s.rests_until IS NULL OR s.rests_until < ?", row.RestsUntil).Exec(ctx))
}

func upsert(tx bun.Tx, row *state) *bun.InsertQuery {
	return tx.NewInsert().Model(row).On("CONFLICT (channel_id, credential) DO UPDATE").
		Set("state = EXCLUDED.state").Set("rests_until = EXCLUDED.rests_until").
		Set("error = EXCLUDED.error").Set("changed_at = EXCLUDED.changed_at")
}

// healthChanged appends the event of a channel's change.
func healthChanged(ctx context.Context, tx bun.Tx, c *models.Channel, from models.HealthState, row *state) error {
	c.Health.State = models.HealthState(row.State)
	change := models.ChannelHealthChange{
		Object: "channel", ID: c.ID, Name: c.Name, Type: c.Type, Status: c.Status(),
		State: c.Health.State, PreviousState: from, RestsUntil: row.RestsUntil,
	}
	if row.Error != "" {
		change.Error = &row.Error
	}
	_, err := events.Append(ctx, tx, models.EventChannelHealthChanged, change)
	return err
}

// loadStates takes over what other processes found out.
func (r *Registry) loadStates(ctx context.Context) error {
	revision, err := r.db.Revision(ctx, stateTopic)
	if err != nil {
		return err
	}
	var rows []state
	if err := r.db.Read().NewSelect().Model(&rows).Scan(ctx); err != nil {
		return fmt.Errorf("read the states of channels: %w", err)
	}
	s := r.snap.Load()
	for i := range rows {
		u := s.byID[rows[i].ChannelID]
		switch place := rows[i].Credential; {
		case u == nil:
		case place == wholeChannel:
			u.health.follow(&rows[i])
		case place < len(u.credentials):
			u.credentials[place].follow(&rows[i])
		}
	}
	r.stateRevision.Store(revision)
	return nil
}

// ResetChannelHealth forgets that a channel failed, in all processes: it and all
// its credentials are asked again at once. Admins only.
func (r *Registry) ResetChannelHealth(ctx context.Context, v *models.Viewer, id string) (*models.ResetChannelHealthPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	var c *models.Channel
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var err error
		if c, err = find(ctx, tx, id, r.db.Dialect() == storage.Postgres); err != nil {
			return err
		}
		if err := r.forget(ctx, tx, c); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "channel.health_reset", target(id), nil, nil)
	})
	if err != nil {
		return nil, err
	}
	if u := r.snap.Load().byID[id]; u != nil {
		u.reset(time.Now())
	}
	r.fillHealth(c)
	return &models.ResetChannelHealthPayload{Channel: c}, nil
}

// forget makes the channel healthy in the database, and its credentials usable.
func (r *Registry) forget(ctx context.Context, tx bun.Tx, c *models.Channel) error {
	at := now()
	if _, err := r.saveHealthy(ctx, tx, c, &state{ChannelID: c.ID, Credential: wholeChannel, State: stateHealthy, ChangedAt: at}); err != nil {
		return err
	}
	// Also where it was healthy already: other processes may have failures on their minds.
	_, err := tx.NewUpdate().Model((*state)(nil)).Set("rests_until = NULL").Set("changed_at = ?", at).
		Where("s.channel_id = ?", c.ID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("reset the state of channel %s: %w", c.ID, err)
	}
	return storage.Bump(ctx, tx, stateTopic)
}

// forgetCredentials drops what is known of credentials that are replaced.
func forgetCredentials(ctx context.Context, tx bun.Tx, c *models.Channel) error {
	_, err := tx.NewDelete().Model((*state)(nil)).Where("channel_id = ?", c.ID).Where("credential <> ?", wholeChannel).Exec(ctx)
	if err != nil {
		return fmt.Errorf("forget the credentials of channel %s: %w", c.ID, err)
	}
	return nil
}

// reset forgets what this process knows against the channel.
func (u *upstream) reset(now time.Time) {
	u.health.reset(now)
	for _, c := range u.credentials {
		c.reset(now)
	}
}

func affected(res interface{ RowsAffected() (int64, error) }, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
