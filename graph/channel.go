package graph

import (
	"context"

	"github.com/coaidev/coai/internal/chat"
	"github.com/coaidev/coai/models"
)

func (r query) Channels(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.ChannelFilter, by *models.ChannelOrderField,
) (*models.ChannelConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.channels.Channels(ctx, viewer(ctx), page, filter, by)
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

func (r query) ChannelModels(ctx context.Context, id string) (*models.ChannelModels, error) {
	return r.channels.ChannelModels(ctx, viewer(ctx), id)
}

func (r mutation) SyncChannelModels(ctx context.Context, id string, in *models.SyncChannelModelsInput) (*models.SyncChannelModelsPayload, error) {
	return settle(r.channels.SyncChannelModels(ctx, viewer(ctx), id, in))
}

func (r mutation) CloneChannel(ctx context.Context, id string, in *models.CloneChannelInput) (*models.CloneChannelPayload, error) {
	return settle(r.channels.CloneChannel(ctx, viewer(ctx), id, in))
}

func (r mutation) ReorderChannels(ctx context.Context, in models.ReorderChannelsInput) (*models.ReorderChannelsPayload, error) {
	return settle(r.channels.ReorderChannels(ctx, viewer(ctx), in))
}

func (r mutation) BulkChannels(ctx context.Context, in models.BulkChannelsInput) (*models.BulkChannelsPayload, error) {
	return settle(r.channels.BulkChannels(ctx, viewer(ctx), in))
}

func (r subscription) TestChannel(ctx context.Context, id string, names []string) (<-chan *models.TestChannelResult, error) {
	return pump(r.StreamChannelTest(ctx, id, &models.TestChannelInput{Models: names}))
}

// StreamChannelTest is the subscription testChannel without its channel.
func (r *Resolver) StreamChannelTest(ctx context.Context, id string, in *models.TestChannelInput) (*Feed[*models.TestChannelResult], error) {
	return feed(ctx, failedTest)(trial(r.chat.StreamChannelTest(ctx, viewer(ctx), id, in)))
}

// trial keeps a nil pointer from becoming a source that is not nil.
func trial(t *chat.Trial, err error) (source[*models.TestChannelResult], error) { return t, err }

func failedTest(_ int, e *models.Error) *models.TestChannelResult {
	return &models.TestChannelResult{Error: &e.Message, Err: e}
}
