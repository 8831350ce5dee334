package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Models(ctx context.Context, first *int, after *string, last *int, before *string) (*models.ModelConnection, error) {
	return r.channels.Models(ctx, viewer(ctx), models.PageArgs{First: first, After: after, Last: last, Before: before})
}

func (r query) Model(ctx context.Context, name string) (*models.Model, error) {
	return r.channels.Model(ctx, viewer(ctx), name)
}

func (r mutation) CreateModel(ctx context.Context, in models.SaveModelInput) (*models.CreateModelPayload, error) {
	return settle(r.channels.CreateModel(ctx, viewer(ctx), in))
}

func (r mutation) UpdateModel(ctx context.Context, id string, in models.UpdateModelInput) (*models.UpdateModelPayload, error) {
	return settle(r.channels.UpdateModel(ctx, viewer(ctx), id, in))
}

func (r mutation) SaveModel(ctx context.Context, in models.SaveModelInput) (*models.SaveModelPayload, error) {
	return settle(r.channels.SaveModel(ctx, viewer(ctx), in))
}

func (r mutation) DeleteModel(ctx context.Context, id string) (*models.DeleteModelPayload, error) {
	return settle(r.channels.DeleteModel(ctx, viewer(ctx), id))
}

func (r mutation) ImportModelPrices(ctx context.Context, in models.ImportModelPricesInput) (*models.ImportModelPricesPayload, error) {
	return settle(r.channels.ImportModelPrices(ctx, viewer(ctx), in))
}
