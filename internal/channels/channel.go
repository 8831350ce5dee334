package channels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

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
	credentials, err := in.CredentialList()
	if err != nil {
		return nil, err
	}
	if err := r.seal(c, credentials); err != nil {
		return nil, err
	}
	err = r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := insert(ctx, tx, c); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "channel.created", target(c.ID), nil, recorded(c))
	})
	if err != nil {
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
		if in.IfUpdatedAt != nil && !sameMoment(*in.IfUpdatedAt, c.UpdatedAt) {
			return models.Conflict("if_updated_at", "The channel was changed at %s. Read it again, and change what it is now.", c.UpdatedAt.UTC().Format(time.RFC3339Nano))
		}
		before := *c
		credentials, changed, err := in.Apply(c)
		if err != nil {
			return err
		}
		if changed {
			if err := r.seal(c, credentials); err != nil {
				return err
			}
			if err := forgetCredentials(ctx, tx, c); err != nil {
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
		return audit.Append(ctx, tx, v, "channel.updated", target(c.ID), recorded(&before), recorded(c))
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
		c, err := find(ctx, tx, id, false)
		if err != nil {
			return err
		}
		if _, err := tx.NewDelete().Model((*models.Channel)(nil)).Where("id = ?", id).Exec(ctx); err != nil {
			return fmt.Errorf("delete channel: %w", err)
		}
		return audit.Append(ctx, tx, v, "channel.deleted", target(id), recorded(c), nil)
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteChannelPayload{DeletedChannelID: &id}, nil
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

// sameMoment says whether a client means the time that is stored. GraphQL tells times
// to the millisecond.
func sameMoment(given, stored time.Time) bool {
	if given.Truncate(time.Millisecond).Equal(given) {
		stored = stored.Truncate(time.Millisecond)
	}
	return given.Equal(stored)
}

// target is a channel in the audit log; an empty id stands for several.
func target(id string) audit.Target { return audit.Target{Type: "channel", ID: id} }

// recorded is a channel as the audit log shows it.
func recorded(c *models.Channel) any {
	status := models.ChannelEnabled
	if !c.Enabled {
		status = models.ChannelDisabled
	}
	return struct {
		*models.Channel

		Status models.ChannelStatus  `json:"status"`
		Health *models.ChannelHealth `json:"health,omitempty"` // in the place of the channel's, which is not an admin's
	}{Channel: c, Status: status}
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
