package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Channels(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.ChannelFilter,
) (*models.ChannelConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.channels.Channels(ctx, viewer(ctx), page, filter)
}

func (r query) Channel(ctx context.Context, id string) (*models.Channel, error) {
	return r.channels.Channel(ctx, viewer(ctx), id)
}

func (r query) ChannelPresets(ctx context.Context) ([]*models.ChannelPreset, error) {
	return r.channels.Presets(ctx, viewer(ctx))
}

func (r mutation) CreateChannel(ctx context.Context, in models.CreateChannelInput) (*models.CreateChannelPayload, error) {
	return settle(r.channels.CreateChannel(ctx, viewer(ctx), in))
}

func (r mutation) UpdateChannel(ctx context.Context, id string, in models.UpdateChannelInput) (*models.UpdateChannelPayload, error) {
	return settle(r.channels.UpdateChannel(ctx, viewer(ctx), id, in))
}

func (r query) ExplainRoute(ctx context.Context, model string, apiKeyID *string) (*models.RouteExplanation, error) {
	return r.channels.ExplainRoute(ctx, viewer(ctx), model, apiKeyID)
}

func (r mutation) ResetChannelHealth(ctx context.Context, id string) (*models.ResetChannelHealthPayload, error) {
	return settle(r.channels.ResetChannelHealth(ctx, viewer(ctx), id))
}

func (r mutation) DeleteChannel(ctx context.Context, id string) (*models.DeleteChannelPayload, error) {
	return settle(r.channels.DeleteChannel(ctx, viewer(ctx), id))
}

func (r mutation) TestChannel(ctx context.Context, id string, in *models.TestChannelInput) (*models.TestChannelPayload, error) {
	return settle(r.chat.TestChannel(ctx, viewer(ctx), id, in))
}
