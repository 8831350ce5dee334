package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) APIKeys(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.APIKeyFilter,
) (*models.APIKeyConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.accounts.APIKeys(ctx, viewer(ctx), page, filter)
}

func (r query) APIKey(ctx context.Context, id string) (*models.APIKey, error) {
	return r.accounts.APIKey(ctx, viewer(ctx), id)
}

func (r mutation) CreateAPIKey(ctx context.Context, in models.CreateAPIKeyInput) (*models.CreateAPIKeyPayload, error) {
	return settle(r.accounts.CreateAPIKey(ctx, viewer(ctx), in))
}

func (r mutation) UpdateAPIKey(ctx context.Context, id string, in models.UpdateAPIKeyInput) (*models.UpdateAPIKeyPayload, error) {
	return settle(r.accounts.UpdateAPIKey(ctx, viewer(ctx), id, in))
}

func (r mutation) RotateAPIKey(ctx context.Context, id string, in *models.RotateAPIKeyInput) (*models.RotateAPIKeyPayload, error) {
	return settle(r.accounts.RotateAPIKey(ctx, viewer(ctx), id, in))
}

func (r mutation) DeleteAPIKey(ctx context.Context, id string) (*models.DeleteAPIKeyPayload, error) {
	return settle(r.accounts.DeleteAPIKey(ctx, viewer(ctx), id))
}
