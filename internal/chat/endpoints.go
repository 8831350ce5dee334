package chat

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// The methods below answer the endpoints beside chat completions. Their errors
// are those of [Service.Relay], and KindInvalid for a bad value.

// CreateEmbedding gives the vectors of texts.
func (s *Service) CreateEmbedding(ctx context.Context, v *models.Viewer, in models.CreateEmbeddingInput) (*models.CreateEmbeddingPayload, error) {
	a, err := s.answer(ctx, v, in.Validate, func(call *RelayCall) (err error) {
		call.Endpoint, call.Operation, call.Model = providers.Embeddings, models.OperationEmbeddings, in.Model
		call.Body, err = requestBody(in, in.Raw, in.Extra)
		texts, n := in.Prompt()
		call.Count = func() int64 { return n + countAll(texts) }
		base64 := in.EncodingFormat != nil && *in.EncodingFormat == "base64"
		call.Mend = func(raw []byte) ([]byte, error) { return mendEmbeddings(raw, base64) }
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateEmbeddingPayload{Embeddings: &models.EmbeddingList{Answer: *a}}, nil
}

// CreateTextCompletion completes a prompt. A provider without the endpoint is
// asked for a chat completion instead.
func (s *Service) CreateTextCompletion(ctx context.Context, v *models.Viewer, in models.CreateTextCompletionInput) (*models.CreateTextCompletionPayload, error) {
	a, err := s.answer(ctx, v, in.Validate, func(call *RelayCall) (err error) {
		call.Endpoint, call.Operation, call.Model = providers.Completions, models.OperationTextCompletion, in.Model
		call.Stream, call.WantsUsage = in.Streams(), in.WantsUsage()
		call.Body, err = requestBody(in, in.Raw, in.Extra)
		texts, n := in.Prompts()
		answers := choices(&in) * max(len(texts), 1)
		call.MaxOutput, call.N = in.MaxTokens, &answers
		call.Count = func() int64 { return n + countAll(texts) }
		call.Mend = wants("choices")
		call.Translate = func(p providers.Provider) providers.Relayer { return &byChat{Provider: p, in: &in} }
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateTextCompletionPayload{TextCompletion: &models.TextCompletion{Answer: *a}}, nil
}

// CreateImage makes images.
func (s *Service) CreateImage(ctx context.Context, v *models.Viewer, in models.CreateImageInput) (*models.CreateImagePayload, error) {
	a, err := s.answer(ctx, v, in.Validate, func(call *RelayCall) (err error) {
		call.Endpoint, call.Operation, call.Model = providers.Images, models.OperationImage, in.Model
		call.Stream, call.N = in.Streams(), in.N
		call.Body, err = requestBody(in, in.Raw, in.Extra)
		call.Count = func() int64 { return tokens.Count(in.Prompt) }
		call.Mend = wants("data")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateImagePayload{Images: &models.ImageList{Answer: *a}}, nil
}

// CreateSpeech speaks a text. Over REST the recording passes through as it is made.
func (s *Service) CreateSpeech(ctx context.Context, v *models.Viewer, in models.CreateSpeechInput) (*models.CreateSpeechPayload, error) {
	a, err := s.answer(ctx, v, in.Validate, func(call *RelayCall) (err error) {
		call.Endpoint, call.Operation, call.Model = providers.Speech, models.OperationSpeech, in.Model
		call.Stream, call.Binary, call.Characters = in.Streams(), true, in.Characters()
		call.Body, err = requestBody(in, in.Raw, in.Extra)
		call.Count = func() int64 { return tokens.Count(in.Input) }
		return err
	})
	if err != nil {
		return nil, err
	}
	if in.Raw == nil { // GraphQL has it whole
		if a, err = readWhole(a); err != nil {
			return nil, err
		}
	}
	return &models.CreateSpeechPayload{Speech: &models.Speech{Answer: *a}}, nil
}

// CreateTranscription writes down a recording.
func (s *Service) CreateTranscription(ctx context.Context, v *models.Viewer, in models.CreateTranscriptionInput) (*models.CreateTranscriptionPayload, error) {
	a, err := s.answer(ctx, v, in.Validate, func(call *RelayCall) (err error) {
		call.Endpoint, call.Operation, call.Model = providers.Transcriptions, models.OperationTranscription, in.Model
		call.Stream, call.AudioMS = in.Streams(), in.AudioMS()
		call.Body, call.ContentType, err = transcriptionForm(&in)
		call.Count = func() int64 { return 0 }
		if f := in.ResponseFormat; f == nil || *f == "json" || *f == "verbose_json" {
			call.Mend = wants("text")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateTranscriptionPayload{Transcription: &models.Transcription{Answer: *a}}, nil
}

// CreateModeration classifies texts. It is free.
func (s *Service) CreateModeration(ctx context.Context, v *models.Viewer, in models.CreateModerationInput) (*models.CreateModerationPayload, error) {
	a, err := s.answer(ctx, v, in.Validate, func(call *RelayCall) (err error) {
		call.Endpoint, call.Operation, call.Model = providers.Moderations, models.OperationModeration, in.Model
		call.Body, err = requestBody(in, in.Raw, in.Extra)
		call.Mend = wants("results")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateModerationPayload{Moderation: &models.Moderation{Answer: *a}}, nil
}

// answer checks a request, relays it, and gives the answer: whole, or as a body
// that is still on its way.
func (s *Service) answer(ctx context.Context, v *models.Viewer, validate func() error, fill func(*RelayCall) error) (*models.Answer, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	if err := validate(); err != nil {
		return nil, err
	}
	call := RelayCall{}
	if err := fill(&call); err != nil {
		return nil, err
	}
	r, err := s.Relay(ctx, v, call)
	if err != nil {
		return nil, err
	}
	if whole := r.JSON(); whole != nil {
		u := r.Usage()
		if call.Count == nil {
			u = nil
		}
		a := models.NewAnswer(r.ContentType, whole, u, r.ChannelID)
		return &a, nil
	}
	return &models.Answer{ContentType: r.ContentType, ChannelID: r.ChannelID, Body: r}, nil
}

// readWhole reads an answer that is on its way to its end.
func readWhole(a *models.Answer) (*models.Answer, error) {
	if a.Body == nil {
		return a, nil
	}
	defer func() { _ = a.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = models.Unavailable(models.CodeUpstreamError, "The upstream's answer is too large.")
	}
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	var u *models.Usage
	if r, ok := a.Body.(*Relayed); ok {
		u = r.Usage()
	}
	whole := models.NewAnswer(a.ContentType, raw, u, a.ChannelID)
	return &whole, nil
}

// wants says that a whole answer must have the member.
func wants(member string) func([]byte) ([]byte, error) {
	return func(raw []byte) ([]byte, error) {
		if !gjson.GetBytes(raw, member).Exists() {
			return nil, errors.New("it has no " + member)
		}
		return raw, nil
	}
}

// choices are how many completions are made of each prompt.
func choices(in *models.CreateTextCompletionInput) int {
	n := 1
	for _, asked := range []*int{in.N, in.BestOf} {
		if asked != nil {
			n = max(n, *asked)
		}
	}
	return n
}

func countAll(texts []string) int64 {
	var n int64
	for _, text := range texts {
		n += tokens.Count(text)
	}
	return n
}
