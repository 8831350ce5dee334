package channels

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/models"
)

// CreateModel describes a model that is not in the catalogue yet. Admins only.
func (r *Registry) CreateModel(ctx context.Context, v *models.Viewer, in models.SaveModelInput) (*models.CreateModelPayload, error) {
	m, err := r.describe(ctx, v, func(ctx context.Context, tx bun.Tx) (string, *models.SaveModelInput, bool, error) {
		found, err := tx.NewSelect().Model((*models.Model)(nil)).Where("name = ?", in.Name).Exists(ctx)
		if err == nil && found {
			err = models.Conflict("name", "There is a model '%s' in the catalogue already.", in.Name)
		}
		return "model.created", &in, true, err
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateModelPayload{Model: m}, nil
}

// UpdateModel changes a model of the catalogue, by its id or its name. Admins only.
func (r *Registry) UpdateModel(ctx context.Context, v *models.Viewer, id string, in models.UpdateModelInput) (*models.UpdateModelPayload, error) {
	m, err := r.describe(ctx, v, func(ctx context.Context, tx bun.Tx) (string, *models.SaveModelInput, bool, error) {
		had, err := described(ctx, tx, nameOf(id), now())
		if err != nil {
			return "", nil, false, err
		}
		if had == nil {
			return "", nil, false, models.NotFound("model", id)
		}
		save, err := in.Apply(had)
		_, priced := in.Pricing.ValueOK()
		return "model.updated", &save, priced || in.PricingFrom != nil, err
	})
	if err != nil {
		return nil, err
	}
	return &models.UpdateModelPayload{Model: m}, nil
}

// SaveModel describes a model and sets its price, which wins over an imported
// one. Admins only.
func (r *Registry) SaveModel(ctx context.Context, v *models.Viewer, in models.SaveModelInput) (*models.SaveModelPayload, error) {
	m, err := r.describe(ctx, v, func(context.Context, bun.Tx) (string, *models.SaveModelInput, bool, error) {
		return "model.saved", &in, true, nil
	})
	if err != nil {
		return nil, err
	}
	return &models.SaveModelPayload{Model: m}, nil
}

// describe writes a description, and the price if it is to change. plan runs in the
// transaction, and gives the action's name in the audit log.
func (r *Registry) describe(
	ctx context.Context, v *models.Viewer,
	plan func(context.Context, bun.Tx) (action string, in *models.SaveModelInput, priced bool, err error),
) (*models.Model, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	at := now()
	var m *models.Model
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		action, in, priced, err := plan(ctx, tx)
		if err != nil {
			return err
		}
		if err := in.Validate(); err != nil {
			return err
		}
		if in.PricingFrom != nil && !in.PricingFrom.After(at) {
			return models.Invalid("pricing_from", "'pricing_from' must be in the future; without it the price counts from now on.")
		}
		before, err := described(ctx, tx, in.Name, at)
		if err != nil {
			return err
		}
		m = in.Model()
		m.CreatedAt, m.UpdatedAt = &at, &at
		if err := saveModel(ctx, tx, m); err != nil {
			return err
		}
		if priced {
			if err := savePrice(ctx, tx, m, in.Pricing, in.PricingFrom, at); err != nil {
				return err
			}
		}
		if m, err = described(ctx, tx, in.Name, at); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, action, audit.Target{Type: "model", ID: m.Name}, recordedModel(before), recordedModel(m))
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// described is a model of the catalogue with its prices; nil: it is not in it.
func described(ctx context.Context, tx bun.IDB, name string, at time.Time) (*models.Model, error) {
	m := new(models.Model)
	switch err := tx.NewSelect().Model(m).Where("name = ?", name).Scan(ctx); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil //nolint:nilnil // it is not there, and that is fine
	case err != nil:
		return nil, fmt.Errorf("read model: %w", err)
	}
	if err := tx.NewSelect().Model(&m.Prices).Where("model = ?", name).OrderExpr("effective_from").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read prices: %w", err)
	}
	m.Pricing = m.PriceAt(at)
	return m, nil
}

// recordedModel is a model as the audit log shows it.
func recordedModel(m *models.Model) any {
	if m == nil {
		return nil
	}
	return m
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
		Set("routing = EXCLUDED.routing").Set("visible_tiers = EXCLUDED.visible_tiers").
		Set("visible_groups = EXCLUDED.visible_groups").Set("updated_at = EXCLUDED.updated_at").
		Returning("created_at").Exec(ctx, m)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

// DeleteModel removes a model's description and its prices, by its id or its name.
// Admins only.
func (r *Registry) DeleteModel(ctx context.Context, v *models.Viewer, id string) (*models.DeleteModelPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	name := nameOf(id)
	err := r.save(ctx, func(ctx context.Context, tx bun.Tx) error {
		had, err := described(ctx, tx, name, now())
		if err != nil {
			return err
		}
		if had == nil {
			return models.NotFound("model", id)
		}
		if _, err := tx.NewDelete().Model((*models.Model)(nil)).Where("name = ?", name).Exec(ctx); err != nil {
			return fmt.Errorf("delete model: %w", err)
		}
		if _, err := tx.NewDelete().Model((*models.ModelPrice)(nil)).Where("model = ?", name).Exec(ctx); err != nil {
			return fmt.Errorf("delete prices: %w", err)
		}
		return audit.Append(ctx, tx, v, "model.deleted", audit.Target{Type: "model", ID: name}, had, nil)
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteModelPayload{DeletedModelID: &id}, nil
}

// nameOf is the name that an id of a model stands for; what is no id is a name.
func nameOf(id string) string {
	if name, ok := models.ModelName(id); ok {
		return name
	}
	return id
}
