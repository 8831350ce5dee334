package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r mutation) CreateEmbedding(ctx context.Context, in models.CreateEmbeddingInput) (*models.CreateEmbeddingPayload, error) {
	return settle(r.chat.CreateEmbedding(ctx, viewer(ctx), in))
}

func (r mutation) CreateTextCompletion(ctx context.Context, in models.CreateTextCompletionInput) (*models.CreateTextCompletionPayload, error) {
	return settle(r.chat.CreateTextCompletion(ctx, viewer(ctx), in))
}

func (r mutation) CreateImage(ctx context.Context, in models.CreateImageInput) (*models.CreateImagePayload, error) {
	return settle(r.chat.CreateImage(ctx, viewer(ctx), in))
}

func (r mutation) CreateSpeech(ctx context.Context, in models.CreateSpeechInput) (*models.CreateSpeechPayload, error) {
	return settle(r.chat.CreateSpeech(ctx, viewer(ctx), in))
}

func (r mutation) CreateTranscription(ctx context.Context, in models.CreateTranscriptionInput) (*models.CreateTranscriptionPayload, error) {
	return settle(r.chat.CreateTranscription(ctx, viewer(ctx), in))
}

func (r mutation) CreateModeration(ctx context.Context, in models.CreateModerationInput) (*models.CreateModerationPayload, error) {
	return settle(r.chat.CreateModeration(ctx, viewer(ctx), in))
}
