package channels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const maxCredential = 8192 // bytes

// Channels lists the channels. Admins only.
func (r *Registry) Channels(ctx context.Context, v *models.Viewer, args models.PageArgs, filter *models.ChannelFilter) (*models.Connection[models.Channel], error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	list, err := storage.List(ctx, r.db.Read(), page, "id",
		func(c *models.Channel) string { return c.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery { return r.filter(q, filter) })
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	for _, c := range list.Nodes() {
		r.fillHealth(c)
	}
	return list, nil
}

func (r *Registry) filter(q *bun.SelectQuery, f *models.ChannelFilter) *bun.SelectQuery {
	if f == nil {
		return q
	}
	if f.Type != nil {
		q = q.Where("type = ?", *f.Type)
	}
	if f.Model != nil {
		if r.db.Dialect() == "postgres" {
			q = q.Where("models @> ?::jsonb", []string{*f.Model})
		} else {
			q = q.Where("EXISTS (SELECT 1 FROM json_each(c.models) WHERE json_each.value = ?)", *f.Model)
		}
	}
	return q
}

// Channel is one channel. Admins only.
func (r *Registry) Channel(ctx context.Context, v *models.Viewer, id string) (*models.Channel, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	c, err := find(ctx, r.db.Read(), id, false)
	if err != nil {
		return nil, err
	}
	r.fillHealth(c)
	return c, nil
}

// Presets are the upstreams that are known by name. Admins only.
func (r *Registry) Presets(_ context.Context, v *models.Viewer) ([]*models.ChannelPreset, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	presets := models.ChannelPresets()
	list := make([]*models.ChannelPreset, len(presets))
	for i := range presets {
		list[i] = &presets[i]
	}
	return list, nil
}

// CreateChannel makes a channel. Admins only.
func (r *Registry) CreateChannel(ctx context.Context, v *models.Viewer, in models.CreateChannelInput) (*models.CreateChannelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	c, err := in.Channel()
	if err != nil {
		return nil, err
	}
	c.ID = models.NewID(models.ChannelPrefix)
	c.CreatedAt = now()
	if err := r.seal(c, in.Credential); err != nil {
		return nil, err
	}
	if err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error { return insert(ctx, tx, c) }); err != nil {
		return nil, err
	}
	r.fillHealth(c)
	return &models.CreateChannelPayload{Channel: c}, nil
}

// UpdateChannel changes a channel. Admins only.
func (r *Registry) UpdateChannel(ctx context.Context, v *models.Viewer, id string, in models.UpdateChannelInput) (*models.UpdateChannelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	var c *models.Channel
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		var err error
		if c, err = find(ctx, tx, id, r.db.Dialect() == "postgres"); err != nil {
			return err
		}
		credential, changed, err := in.Apply(c)
		if err != nil {
			return err
		}
		if changed {
			if err := r.seal(c, credential); err != nil {
				return err
			}
		}
		if err := c.Validate(); err != nil {
			return err
		}
		c.UpdatedAt = now()
		if _, err := tx.NewUpdate().Model(c).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("update channel: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.fillHealth(c)
	return &models.UpdateChannelPayload{Channel: c}, nil
}

// DeleteChannel removes a channel. Requests that it is serving end normally.
// Admins only.
func (r *Registry) DeleteChannel(ctx context.Context, v *models.Viewer, id string) (*models.DeleteChannelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := find(ctx, tx, id, false); err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*models.Channel)(nil)).Where("id = ?", id).Exec(ctx); err != nil {
			return fmt.Errorf("delete channel: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteChannelPayload{DeletedChannelID: &id}, nil
}

// Probe is an attempt at a channel whatever its state, for a test that an admin
// asked for. model may be empty: the channel's first. Admins only.
func (r *Registry) Probe(ctx context.Context, v *models.Viewer, id string, model string) (*models.Model, *Attempt, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, nil, err
	}
	if _, err := r.Channel(ctx, v, id); err != nil {
		return nil, nil, err
	}
	s := r.snap.Load()
	u := s.byID[id]
	if u == nil { // made by another process this second
		if err := r.Load(ctx); err != nil {
			return nil, nil, err
		}
		s = r.snap.Load()
		if u = s.byID[id]; u == nil {
			return nil, nil, models.NotFound("channel", id)
		}
	}
	if model == "" {
		model = u.row.Models[0]
	}
	if !slices.Contains(u.row.Models, model) {
		return nil, nil, models.Invalid("model", "The channel does not serve the model '%s'.", model)
	}
	m := s.models[model]
	if m == nil { // a disabled channel's own
		m = undescribed(model, &u.row)
	}
	a := &Attempt{
		ChannelID: u.row.ID, ChannelType: u.row.Type, Model: model,
		Provider: u.provider, health: u.health, done: func(error) {},
	}
	if to := u.row.ModelMapping[model]; to != "" {
		a.Model = to
	}
	if a.Provider == nil {
		a.Provider = unusable(u.broken)
	}
	u.health.begin()
	return m, a, nil
}

// unusable is the provider of a channel that could not be made ready.
type unusable string

func (u unusable) Complete(context.Context, providers.Request) (*models.ChatCompletion, error) {
	return nil, &providers.Error{Class: providers.Credential, Message: "The channel cannot be used: " + string(u)}
}

func (u unusable) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	_, err := u.Complete(ctx, req)
	return nil, err
}

// seal puts the credential into the row, encrypted; nil or empty removes it.
func (r *Registry) seal(c *models.Channel, credential *string) error {
	if credential == nil || *credential == "" {
		c.Sealed, c.KeyHint = nil, nil
		return nil
	}
	s := *credential
	if len(s) > maxCredential {
		return models.Invalid("credential", "'credential' must have at most %d characters.", maxCredential)
	}
	for _, b := range []byte(s) {
		if b <= 0x20 || b >= 0x7f {
			return models.Invalid("credential", "'credential' must be printable ASCII without spaces.")
		}
	}
	blob, err := r.box.Seal("channels", c.ID, []byte(s))
	if err != nil {
		return fmt.Errorf("encrypt credential: %w", err)
	}
	hint := "****"
	if len(s) >= 12 {
		hint += s[len(s)-4:]
	}
	c.Sealed, c.KeyHint = blob, &hint
	return nil
}

// save runs a change in a transaction, moves the revision, and reloads, so that
// this process sees the change at once.
func (r *Registry) save(ctx context.Context, change func(context.Context, bun.Tx) error) error {
	err := r.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := change(ctx, tx); err != nil {
			return err
		}
		return storage.Bump(ctx, tx, topic)
	})
	if err != nil {
		return err
	}
	if err := r.Load(context.WithoutCancel(ctx)); err != nil {
		r.log.Warn().Err(err).Msg("channels not refreshed after a change; tried again within a second")
	}
	return nil
}

func (r *Registry) fillHealth(c *models.Channel) {
	c.Health = models.ChannelHealth{State: models.HealthUnknown}
	if u := r.snap.Load().byID[c.ID]; u != nil {
		c.Health = u.health.report()
		if u.broken != "" {
			c.Health.State, c.Health.LastError = models.HealthUnhealthy, &u.broken
		}
	}
}

func insert(ctx context.Context, tx bun.IDB, c *models.Channel) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c.UpdatedAt = c.CreatedAt
	if _, err := tx.NewInsert().Model(c).Exec(ctx); err != nil {
		return fmt.Errorf("insert channel: %w", err)
	}
	return nil
}

func find(ctx context.Context, db bun.IDB, id string, lock bool) (*models.Channel, error) {
	c := new(models.Channel)
	q := db.NewSelect().Model(c).Where("id = ?", id)
	if lock {
		q = q.For("UPDATE")
	}
	switch err := q.Scan(ctx); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, models.NotFound("channel", id)
	case err != nil:
		return nil, fmt.Errorf("read channel: %w", err)
	}
	return c, nil
}

// now is the present as both databases can store it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
