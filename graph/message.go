package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r mutation) CreateMessage(ctx context.Context, in models.CreateMessageInput) (*models.CreateMessagePayload, error) {
	return settle(r.chat.CreateMessage(ctx, viewer(ctx), in))
}

func (r mutation) CountMessageTokens(ctx context.Context, in models.CreateMessageInput) (*models.CountMessageTokensPayload, error) {
	return settle(r.chat.CountMessageTokens(ctx, viewer(ctx), in))
}

func (r subscription) Message(ctx context.Context, in models.CreateMessageInput) (<-chan *models.StreamEvent, error) {
	return pump(r.StreamMessage(ctx, in))
}

// StreamMessage is the subscription message without its channel.
func (r *Resolver) StreamMessage(ctx context.Context, in models.CreateMessageInput) (*Feed[*models.StreamEvent], error) {
	return feed(ctx, failedEvent)(r.chat.StreamMessage(ctx, viewer(ctx), in))
}
