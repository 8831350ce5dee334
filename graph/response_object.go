package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Response(ctx context.Context, id string) (*models.Response, error) {
	return r.chat.Response(ctx, viewer(ctx), id)
}

func (r query) ResponseInputItems(ctx context.Context, id string, first *int, after *string, last *int, before *string, order *models.OrderDirection) (*models.ResponseItemConnection, error) {
	return r.chat.ResponseInputItems(ctx, viewer(ctx), id, models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order})
}

func (r mutation) CreateResponse(ctx context.Context, in models.CreateResponseInput) (*models.CreateResponsePayload, error) {
	return settle(r.chat.CreateResponse(ctx, viewer(ctx), in))
}

func (r mutation) DeleteResponse(ctx context.Context, id string) (*models.DeleteResponsePayload, error) {
	return settle(r.chat.DeleteResponse(ctx, viewer(ctx), id))
}

func (r mutation) CancelResponse(ctx context.Context, id string) (*models.CancelResponsePayload, error) {
	return settle(r.chat.CancelResponse(ctx, viewer(ctx), id))
}

func (r subscription) Response(ctx context.Context, in models.CreateResponseInput) (<-chan *models.StreamEvent, error) {
	return pump(r.StreamResponse(ctx, in))
}

// StreamResponse is the subscription response without its channel.
func (r *Resolver) StreamResponse(ctx context.Context, in models.CreateResponseInput) (*Feed[*models.StreamEvent], error) {
	return feed(ctx, failedEvent)(r.chat.StreamResponse(ctx, viewer(ctx), in))
}
