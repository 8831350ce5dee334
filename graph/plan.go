package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Plans(ctx context.Context) ([]*models.Plan, error) {
	return r.accounts.Plans(ctx, viewer(ctx))
}

func (r mutation) UpdatePlan(ctx context.Context, tier models.Tier, in models.UpdatePlanInput) (*models.UpdatePlanPayload, error) {
	return settle(r.accounts.UpdatePlan(ctx, viewer(ctx), tier, in))
}
