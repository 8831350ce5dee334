package channels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// Models lists what the viewer's key may use, by name.
func (r *Registry) Models(_ context.Context, v *models.Viewer, args models.PageArgs) (*models.Connection[models.Model], error) {
	if err := v.Require(models.ScopeModelsRead); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	s := r.snap.Load()
	names := s.names
	if s.closed || len(v.AllowedModels) > 0 || len(v.ChannelTags) > 0 {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !s.allows(v, n) || !s.reaches(v, n) })
	}
	total := len(names)
	count := func(context.Context) (int, error) { return total, nil }
	names, more := window(names, page)
	rows := make([]*models.Model, len(names))
	for i, n := range names {
		rows[i] = s.models[n]
	}
	return models.NewConnection(page, rows, more, func(m *models.Model) string { return m.Name }, count), nil
}

// window cuts a page out of a sorted list.
func window(names []string, p models.Page) (page []string, more bool) {
	at, found := slices.BinarySearch(names, p.Key)
	if p.Backward {
		if p.Key != "" {
			names = names[:at]
		}
		if len(names) > p.Limit {
			return names[len(names)-p.Limit:], true
		}
		return names, false
	}
	if found {
		at++
	}
	names = names[min(max(at, p.Offset), len(names)):]
	if len(names) > p.Limit {
		return names[:p.Limit], true
	}
	return names, false
}

// Model is the model with this name or alias, if the viewer's key may use it.
// Admins also see models that are described and not served.
func (r *Registry) Model(_ context.Context, v *models.Viewer, name string) (*models.Model, error) {
	if err := v.Require(models.ScopeModelsRead); err != nil {
		return nil, err
	}
	s := r.snap.Load()
	canonical := s.resolve(name)
	m := s.models[canonical]
	if m == nil || !s.reaches(v, canonical) && !v.IsAdmin() || !s.allows(v, canonical) {
		return nil, models.ModelNotFound(name)
	}
	return m, nil
}

// SaveModel describes a model and sets its price, which wins over an imported
// one. Admins only.
func (r *Registry) SaveModel(ctx context.Context, v *models.Viewer, in models.SaveModelInput) (*models.SaveModelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	m := &models.Model{
		Name: in.Name, DisplayName: in.Name, OwnedBy: "coai",
		ContextWindow: in.ContextWindow, MaxOutputTokens: in.MaxOutputTokens,
		Capabilities: nonNil(in.Capabilities), Aliases: nonNil(in.Aliases), Routing: in.Routing,
	}
	if in.DisplayName != nil {
		m.DisplayName = *in.DisplayName
	}
	if in.OwnedBy != nil {
		m.OwnedBy = *in.OwnedBy
	}
	at := now()
	if in.PricingFrom != nil && !in.PricingFrom.After(at) {
		return nil, models.Invalid("pricing_from", "'pricing_from' must be in the future; without it the price counts from now on.")
	}
	m.CreatedAt, m.UpdatedAt = &at, &at
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := saveModel(ctx, tx, m); err != nil {
			return err
		}
		return savePrice(ctx, tx, m, in.Pricing, in.PricingFrom, at)
	})
	if err != nil {
		return nil, err
	}
	m.Pricing = m.PriceAt(at)
	return &models.SaveModelPayload{Model: m}, nil
}

func saveModel(ctx context.Context, tx bun.IDB, m *models.Model) error {
	var others []*models.Model
	if err := tx.NewSelect().Model(&others).Where("name <> ?", m.Name).Scan(ctx); err != nil {
		return fmt.Errorf("read models: %w", err)
	}
	for _, o := range others {
		if slices.Contains(o.Aliases, m.Name) {
			return models.Conflict("name", "'%s' is an alias of the model '%s'.", m.Name, o.Name)
		}
		for i, a := range m.Aliases {
			if a == o.Name || slices.Contains(o.Aliases, a) {
				return models.Conflict(fmt.Sprintf("aliases[%d]", i), "'%s' already means the model '%s'.", a, o.Name)
			}
		}
	}
	_, err := tx.NewInsert().Model(m).
		On("CONFLICT (name) DO UPDATE").
		Set("display_name = EXCLUDED.display_name").Set("owned_by = EXCLUDED.owned_by").
		Set("context_window = EXCLUDED.context_window").Set("max_output_tokens = EXCLUDED.max_output_tokens").
		Set("capabilities = EXCLUDED.capabilities").Set("aliases = EXCLUDED.aliases").
		Set("routing = EXCLUDED.routing").Set("updated_at = EXCLUDED.updated_at").
		Returning("created_at").Exec(ctx, m)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

// DeleteModel removes a model's description and its prices. Admins only.
func (r *Registry) DeleteModel(ctx context.Context, v *models.Viewer, id string) (*models.DeleteModelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	name, ok := models.ModelName(id)
	if !ok {
		return nil, models.NotFound("model", id)
	}
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*models.Model)(nil)).Where("name = ?", name).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete model: %w", err)
		}
		if n, err := res.RowsAffected(); err == nil && n == 0 {
			return models.NotFound("model", id)
		}
		if _, err := tx.NewDelete().Model((*models.ModelPrice)(nil)).Where("model = ?", name).Exec(ctx); err != nil {
			return fmt.Errorf("delete prices: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteModelPayload{DeletedModelID: &id}, nil
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
