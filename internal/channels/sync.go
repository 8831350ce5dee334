package channels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	// listTimeout bounds the wait for an upstream's list of models.
	listTimeout = 30 * time.Second
	// maxListed bounds the list; OpenRouter's has about 400.
	maxListed = 10_000
)

// ChannelModels asks a channel's upstream which models it has, and compares them
// with those that the channel serves. Admins only.
func (r *Registry) ChannelModels(ctx context.Context, v *models.Viewer, id string) (*models.ChannelModels, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	c, err := find(ctx, r.db.Read(), id, false)
	if err != nil {
		return nil, err
	}
	listed, err := r.listed(ctx, c)
	if err != nil {
		return nil, err
	}
	return compared(c, listed), nil
}

// SyncChannelModels takes over what the upstream lists: what is new is served by
// the upstream's own name, and, if the input says so, what is not listed is served
// no more. The mapping stays. Admins only.
func (r *Registry) SyncChannelModels(ctx context.Context, v *models.Viewer, id string, in *models.SyncChannelModelsInput) (*models.SyncChannelModelsPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if in == nil {
		in = new(models.SyncChannelModelsInput)
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	c, err := find(ctx, r.db.Read(), id, false)
	if err != nil {
		return nil, err
	}
	listed, err := r.listed(ctx, c)
	if err != nil {
		return nil, err
	}
	p := &models.SyncChannelModelsPayload{Added: []string{}, Removed: []string{}}
	err = r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		if p.Channel, err = find(ctx, tx, id, r.db.Dialect() == storage.Postgres); err != nil {
			return err
		}
		before := *p.Channel
		if err := takeOver(p, in, compared(p.Channel, listed)); err != nil {
			return err
		}
		if err := p.Channel.Validate(); err != nil {
			return err
		}
		p.Channel.UpdatedAt = now()
		if _, err := tx.NewUpdate().Model(p.Channel).Column("models", "updated_at").WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("update channel: %w", err)
		}
		return audit.Append(ctx, tx, v, "channel.models_synced", target(id), recorded(&before), recorded(p.Channel))
	})
	if err != nil {
		return nil, err
	}
	r.fillHealth(p.Channel)
	return p, nil
}

// takeOver changes the channel's list of models.
func takeOver(p *models.SyncChannelModelsPayload, in *models.SyncChannelModelsInput, diff *models.ChannelModels) error {
	p.Added = diff.Added
	if in.Only != nil {
		for i, name := range in.Only {
			if !slices.Contains(diff.Added, name) {
				return models.Invalid(fmt.Sprintf("only[%d]", i), "The upstream lists no new model '%.80s'.", name)
			}
		}
		p.Added = in.Only
	}
	list := slices.Clone(p.Channel.Models)
	if in.RemoveMissing != nil && *in.RemoveMissing {
		p.Removed = diff.Missing
		list = slices.DeleteFunc(list, func(name string) bool { return slices.Contains(diff.Missing, name) })
	}
	p.Channel.Models = append(list, p.Added...)
	return nil
}

// compared holds a channel's models against its upstream's.
func compared(c *models.Channel, listed []string) *models.ChannelModels {
	out := &models.ChannelModels{ChannelID: c.ID, Upstream: listed, Added: []string{}, Missing: []string{}, Kept: []string{}}
	has, served := map[string]bool{}, map[string]bool{}
	for _, name := range listed {
		has[name] = true
	}
	for _, name := range c.Models {
		to := name
		if mapped := c.ModelMapping[name]; mapped != "" {
			to = mapped
		}
		served[name], served[to] = true, true
		if has[to] {
			out.Kept = append(out.Kept, name)
		} else {
			out.Missing = append(out.Missing, name)
		}
	}
	for _, name := range listed {
		if !served[name] {
			out.Added = append(out.Added, name)
		}
	}
	return out
}

// listed asks the upstream for its models, sorted.
func (r *Registry) listed(ctx context.Context, c *models.Channel) ([]string, error) {
	credentials, closeIdle, err := r.credentials(c)
	if err != nil {
		return nil, models.Conflict("id", "The channel cannot be used: its credential or its settings cannot be read.")
	}
	defer closeIdle()
	lister, ok := credentials[0].provider.(providers.Lister)
	if !ok || c.Type == models.ChannelAzure {
		return nil, models.Conflict("id", "Upstreams of the type %s do not list their models.", c.Type)
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	names, err := lister.Models(ctx)
	if err != nil {
		return nil, unlisted(err)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	names = slices.DeleteFunc(names, func(name string) bool { return !models.ValidModelName(name) })
	return names[:min(len(names), maxListed)], nil
}

// unlisted is an upstream's failure for the admin who asked.
func unlisted(err error) error {
	e := providers.AsError(err)
	out := models.Unavailable(models.CodeUpstreamError, "The upstream's models could not be read: %s", e.Message)
	if e.Class == providers.Timeout || errors.Is(err, context.DeadlineExceeded) {
		out.Code = models.CodeUpstreamTimeout
	}
	out.Cause, out.Retry = err, e.Retry
	return out
}
