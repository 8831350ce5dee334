package channels

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// CloneChannel copies a channel with its credentials. The copy is disabled unless
// the input says otherwise. Admins only.
func (r *Registry) CloneChannel(ctx context.Context, v *models.Viewer, id string, in *models.CloneChannelInput) (*models.CloneChannelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if in == nil {
		in = new(models.CloneChannelInput)
	}
	if in.Status != nil && *in.Status != models.ChannelEnabled && *in.Status != models.ChannelDisabled {
		return nil, models.Invalid("status", "'status' must be enabled or disabled.")
	}
	var c *models.Channel
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		var err error
		if c, err = find(ctx, tx, id, false); err != nil {
			return err
		}
		credentials, err := r.open(c)
		if err != nil {
			return models.Conflict("id", "The channel's credential cannot be read; set it again first.")
		}
		if len(c.Sealed) == 0 {
			credentials = nil
		}
		c.ID, c.CreatedAt = models.NewID(models.ChannelPrefix), now()
		c.Enabled = in.Status != nil && *in.Status == models.ChannelEnabled
		if in.Name != nil {
			c.Name = *in.Name
		} else {
			c.Name = copyOf(c.Name)
		}
		if err := r.seal(c, credentials); err != nil {
			return err
		}
		if err := insert(ctx, tx, c); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "channel.cloned", target(c.ID), map[string]string{"id": id}, recorded(c))
	})
	if err != nil {
		return nil, err
	}
	r.fillHealth(c)
	return &models.CloneChannelPayload{Channel: c}, nil
}

// copyOf names a copy within the bounds of names.
func copyOf(name string) string {
	const most, suffix = 100, " (copy)"
	if runes := []rune(name); len(runes) > most-len(suffix) {
		name = string(runes[:most-len(suffix)])
	}
	return name + suffix
}

// ReorderChannels sets the priorities of several channels, all or none. Admins only.
func (r *Registry) ReorderChannels(ctx context.Context, v *models.Viewer, in models.ReorderChannelsInput) (*models.ReorderChannelsPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	p := &models.ReorderChannelsPayload{Channels: make([]*models.Channel, len(in.Channels))}
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		ids := make([]string, len(in.Channels))
		for i, c := range in.Channels {
			ids[i] = c.ID
		}
		rows, err := byIDs(ctx, tx, ids, r.db.Dialect() == storage.Postgres)
		if err != nil {
			return err
		}
		at, was, is := now(), map[string]int{}, map[string]int{}
		for i, to := range in.Channels {
			c := rows[to.ID]
			if c == nil {
				e := models.NotFound("channel", to.ID)
				e.Param = fmt.Sprintf("channels[%d].id", i)
				return e
			}
			p.Channels[i] = c
			if was[c.ID], is[c.ID] = c.Priority, to.Priority; c.Priority == to.Priority {
				continue
			}
			c.Priority, c.UpdatedAt = to.Priority, at
			if _, err := tx.NewUpdate().Model(c).Column("priority", "updated_at").WherePK().Exec(ctx); err != nil {
				return fmt.Errorf("update channel: %w", err)
			}
		}
		return audit.Append(ctx, tx, v, "channels.reordered", target(""), was, is)
	})
	if err != nil {
		return nil, err
	}
	for _, c := range p.Channels {
		r.fillHealth(c)
	}
	return p, nil
}

// errFailures rolls a bulk change back.
var errFailures = errors.New("some channels cannot be changed")

// BulkChannels does the same to many channels. When one of them cannot be changed
// none is, and the payload says which and why. Admins only.
func (r *Registry) BulkChannels(ctx context.Context, v *models.Viewer, in models.BulkChannelsInput) (*models.BulkChannelsPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	p := &models.BulkChannelsPayload{ChannelIDs: []string{}, Failures: []models.BulkFailure{}}
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		rows, err := r.chosen(ctx, tx, &in, p)
		if err != nil {
			return err
		}
		for i, c := range rows {
			before := *c
			in.Apply(c)
			if err := c.Validate(); err != nil && in.Action != models.BulkDelete {
				fail(p, i, c.ID, err)
			}
			if len(p.Failures) > 0 {
				continue // look for the others that fail, too
			}
			if err := r.bulk(ctx, tx, v, in.Action, &before, c); err != nil {
				return err
			}
			p.ChannelIDs = append(p.ChannelIDs, c.ID)
		}
		if len(p.Failures) > 0 {
			return errFailures
		}
		return nil
	})
	if errors.Is(err, errFailures) {
		p.ChannelIDs = nil
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// chosen reads the channels that a bulk change is for. Ids that lead nowhere are
// failures.
func (r *Registry) chosen(ctx context.Context, tx bun.Tx, in *models.BulkChannelsInput, p *models.BulkChannelsPayload) ([]*models.Channel, error) {
	lock := r.db.Dialect() == storage.Postgres
	var list []*models.Channel
	if in.Filter != nil {
		q := r.filter(tx.NewSelect().Model(&list), in.Filter).Order("c.id").Limit(models.MaxBulk + 1)
		if lock {
			q = q.For("UPDATE")
		}
		if err := q.Scan(ctx); err != nil {
			return nil, fmt.Errorf("read channels: %w", err)
		}
		if len(list) > models.MaxBulk {
			return nil, models.Invalid("filter", "The filter finds more than %d channels.", models.MaxBulk)
		}
		return list, nil
	}
	by, err := byIDs(ctx, tx, in.IDs, lock)
	if err != nil {
		return nil, err
	}
	for i, id := range in.IDs {
		if c := by[id]; c != nil {
			list = append(list, c)
		} else {
			fail(p, i, id, models.NotFound("channel", id))
		}
	}
	return list, nil
}

// fail notes why a channel cannot be changed.
func fail(p *models.BulkChannelsPayload, i int, id string, err error) {
	e, _ := models.AsError(err)
	named := *e
	named.Param = fmt.Sprintf("ids[%d]", i)
	p.Failures = append(p.Failures, models.BulkFailure{ID: id, Code: e.Code, Message: e.Message})
	if len(p.Failures) == 1 {
		p.Fail(&named)
		return
	}
	var one models.Payload
	one.Fail(&named)
	p.UserErrors = append(p.UserErrors, one.UserErrors...)
}

// bulk writes one channel of a bulk change.
func (r *Registry) bulk(ctx context.Context, tx bun.Tx, v *models.Viewer, action models.BulkAction, before, c *models.Channel) error {
	if action == models.BulkDelete {
		if _, err := tx.NewDelete().Model(c).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("delete channel: %w", err)
		}
		return audit.Append(ctx, tx, v, "channel.deleted", target(c.ID), recorded(before), nil)
	}
	c.UpdatedAt = now()
	if _, err := tx.NewUpdate().Model(c).Column("enabled", "tags", "priority", "updated_at").WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("update channel: %w", err)
	}
	return audit.Append(ctx, tx, v, "channel.updated", target(c.ID), recorded(before), recorded(c))
}
