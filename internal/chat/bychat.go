package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// byChat serves legacy completions through a provider that only chats: the
// prompt becomes a user's message, and what the model says the text.
type byChat struct {
	providers.Provider

	in *models.CreateTextCompletionInput
}

// Serves implements [providers.Relayer].
func (b *byChat) Serves(e providers.Endpoint) bool { return e == providers.Completions }

// Relay implements [providers.Relayer].
func (b *byChat) Relay(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	in, err := b.chat()
	if err != nil {
		return nil, err
	}
	req := providers.Request{Input: in, Model: call.Model}
	if call.Stream {
		stream, err := b.Stream(ctx, req)
		if err != nil {
			return nil, err //nolint:wrapcheck // the provider's own
		}
		return &providers.Reply{ContentType: "text/event-stream", Body: &textStream{from: stream}}, nil
	}
	c, err := b.Complete(ctx, req)
	if err != nil {
		return nil, err //nolint:wrapcheck // the provider's own
	}
	raw, err := textOf(c)
	if err != nil {
		return nil, err
	}
	return &providers.Reply{ContentType: "application/json", Body: io.NopCloser(bytes.NewReader(raw))}, nil
}

// chat is the request as one for a chat completion. What chat has no word for is
// refused by its name.
func (b *byChat) chat() (*models.ChatCompletionInput, error) {
	in := b.in
	for _, p := range []struct {
		param string
		set   bool
	}{
		{"logprobs", in.Logprobs != nil},
		{"echo", in.Echo != nil && *in.Echo},
		{"suffix", in.Suffix != nil && *in.Suffix != ""},
		{"best_of", in.BestOf != nil && *in.BestOf > 1},
	} {
		if p.set {
			return nil, unsupported(p.param, "'"+p.param+"' is not supported by this model: it chats, and completes prompts by way of that.")
		}
	}
	texts, n := in.Prompts()
	if n > 0 || len(texts) != 1 {
		return nil, unsupported("prompt", "'prompt' must be one text for this model: it chats, and completes prompts by way of that.")
	}
	chat := &models.ChatCompletionInput{
		Model:       in.Model,
		Messages:    []models.ChatMessage{{Role: models.RoleMessageUser, Content: models.TextContent(texts[0])}},
		Temperature: in.Temperature, TopP: in.TopP, N: in.N, Stop: in.Stop, Seed: in.Seed, User: in.User,
		PresencePenalty: in.PresencePenalty, FrequencyPenalty: in.FrequencyPenalty, Metadata: in.Metadata,
	}
	if in.MaxTokens != nil && *in.MaxTokens > 0 {
		chat.MaxTokens = in.MaxTokens
	}
	if in.Streams() {
		yes := true
		chat.Stream, chat.StreamOptions = &yes, &models.StreamOptions{IncludeUsage: &yes}
	}
	return chat, nil
}

func unsupported(param, message string) error {
	return &providers.Error{Class: providers.Rejected, Code: models.CodeUnsupportedParameter, Param: param, Message: message}
}

// textOf is a chat completion as a text completion.
func textOf(c *models.ChatCompletion) ([]byte, error) {
	body, err := c.Body()
	if err != nil {
		return nil, malformed("The upstream's answer could not be read.")
	}
	raw, err := c.JSON()
	if err != nil {
		return nil, malformed("The upstream's answer could not be read.")
	}
	out := models.TextCompletionBody{
		ID: textID(body.ID), Object: "text_completion", Created: body.Created, Model: body.Model,
		Choices: []models.TextChoice{}, Usage: usageOf(raw),
	}
	for _, choice := range body.Choices {
		text := models.TextChoice{Index: choice.Index, FinishReason: &choice.FinishReason}
		if choice.Message.Content != nil {
			text.Text = *choice.Message.Content
		}
		out.Choices = append(out.Choices, text)
	}
	return json.Marshal(out) //nolint:wrapcheck // cannot fail: the parts were decoded from JSON
}

// textChunk is a chunk of a chat completion as one of a text completion; nil
// when it says nothing.
func textChunk(c *models.ChatCompletionChunk) ([]byte, error) {
	body, err := c.Body()
	if err != nil {
		return nil, malformed("The upstream sent a chunk that could not be read.")
	}
	raw, err := c.JSON()
	if err != nil {
		return nil, malformed("The upstream sent a chunk that could not be read.")
	}
	out := models.TextCompletionBody{
		ID: textID(body.ID), Object: "text_completion", Created: body.Created, Model: body.Model,
		Choices: []models.TextChoice{}, Usage: usageOf(raw),
	}
	for _, choice := range body.Choices {
		text := models.TextChoice{Index: choice.Index, FinishReason: choice.FinishReason}
		if choice.Delta.Content != nil {
			text.Text = *choice.Delta.Content
		}
		if text.Text != "" || text.FinishReason != nil {
			out.Choices = append(out.Choices, text)
		}
	}
	if len(out.Choices) == 0 && out.Usage == nil {
		return nil, nil
	}
	return json.Marshal(out) //nolint:wrapcheck // as above
}

func usageOf(raw []byte) models.JSON {
	if u := gjson.GetBytes(raw, "usage"); u.IsObject() {
		return models.JSON(u.Raw)
	}
	return nil
}

func textID(id string) string { return "cmpl-" + strings.TrimPrefix(id, "chatcmpl-") }

// textStream is a chat stream as the events of a text completion.
type textStream struct {
	from providers.Stream
	out  []byte
	err  error
}

func (s *textStream) Read(b []byte) (int, error) {
	for len(s.out) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		chunk, err := s.from.Next()
		var raw []byte
		if err == nil {
			raw, err = textChunk(chunk)
		}
		switch {
		case errors.Is(err, io.EOF) && ended(err):
			s.out, s.err = []byte("data: [DONE]\n\n"), io.EOF
		case err != nil:
			s.err = err
		case raw != nil:
			s.out = Event{Data: raw}.Append(nil)
		}
	}
	n := copy(b, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *textStream) Close() error { return s.from.Close() } //nolint:wrapcheck // the provider's own
