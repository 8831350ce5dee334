package graph

import (
	"context"
	"time"

	"github.com/coaidev/coai/models"
)

func (r query) Viewer(ctx context.Context) (*models.User, error) {
	return r.accounts.Viewer(ctx, viewer(ctx))
}

func (r mutation) UpdateViewer(ctx context.Context, in models.UpdateViewerInput) (*models.UpdateViewerPayload, error) {
	return settle(r.accounts.UpdateViewer(ctx, viewer(ctx), in))
}

func (r mutation) UpdateUser(ctx context.Context, id string, in models.UpdateUserInput) (*models.UpdateUserPayload, error) {
	return settle(r.accounts.UpdateUser(ctx, viewer(ctx), id, in))
}

func (r user) Usage(ctx context.Context, u *models.User) (*models.UsageSummary, error) {
	return r.usage.Summary(ctx, u.ID, time.Now())
}

func (r user) Plan(ctx context.Context, u *models.User) (*models.Plan, error) {
	return r.accounts.Plan(ctx, u.Tier)
}
