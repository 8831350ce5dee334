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

func (r query) Users(
	ctx context.Context, first *int, after *string, last *int, before *string, orderBy *models.UserOrder, filter *models.UserFilter,
) (*models.UserConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before}
	return r.accounts.Users(ctx, viewer(ctx), page, orderBy, filter)
}

func (r mutation) CreateUser(ctx context.Context, in models.CreateUserInput) (*models.CreateUserPayload, error) {
	return settle(r.accounts.CreateUser(ctx, viewer(ctx), in))
}

func (r mutation) DeleteUser(ctx context.Context, id string) (*models.DeleteUserPayload, error) {
	return settle(r.accounts.DeleteUser(ctx, viewer(ctx), id))
}

func (r user) Quota(ctx context.Context, u *models.User) (*models.Quota, error) {
	return r.accounts.Quota(ctx, u)
}

func (r user) Usage(ctx context.Context, u *models.User) (*models.UsageSummary, error) {
	return r.usage.Summary(ctx, u.ID, time.Now())
}

func (r user) Plan(ctx context.Context, u *models.User) (*models.Plan, error) {
	return r.accounts.Plan(ctx, u.Tier)
}
