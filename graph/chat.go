package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r mutation) CreateChatCompletion(ctx context.Context, in models.ChatCompletionInput) (*models.CreateChatCompletionPayload, error) {
	return settle(r.chat.Complete(ctx, viewer(ctx), in))
}

func (r subscription) ChatCompletion(ctx context.Context, in models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error) {
	return pump(r.StreamChatCompletion(ctx, in))
}

// StreamChatCompletion is the subscription chatCompletion without its channel.
func (r *Resolver) StreamChatCompletion(ctx context.Context, in models.ChatCompletionInput) (*Feed[*models.ChatCompletionChunk], error) {
	withUsage(&in)
	return feed(ctx, failedChunk)(r.chat.Stream(ctx, viewer(ctx), in))
}

// withUsage asks for the usage chunk. GraphQL always promises it; a REST client,
// whose request comes along in Raw, has said itself whether it wants it.
func withUsage(in *models.ChatCompletionInput) {
	if in.Raw == nil {
		yes := true
		in.StreamOptions = &models.StreamOptions{IncludeUsage: &yes}
	}
}

func (chatCompletionInput) Stop(_ context.Context, in *models.ChatCompletionInput, texts []string) error {
	in.Stop = texts
	return nil
}
