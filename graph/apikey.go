package graph

import (
	"context"
	"time"

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

func (r apiKey) Usage(ctx context.Context, k *models.APIKey) (*models.APIKeyUsage, error) {
	return usageOf(k, func(ids []string) (map[string]*models.APIKeyUsage, error) {
		return r.usage.KeySummaries(ctx, k.UserID, ids, time.Now())
	})
}

// usageOf sums the usage up for all keys that were listed together.
func usageOf(k *models.APIKey, load func(ids []string) (map[string]*models.APIKeyUsage, error)) (*models.APIKeyUsage, error) {
	batch := k.Batch
	if batch == nil {
		batch = &models.APIKeyBatch{IDs: []string{k.ID}}
	}
	by, err := batch.Usage(load)
	return by[k.ID], err
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
