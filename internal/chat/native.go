package chat

import (
	"context"
	"errors"
	"io"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/internal/dialect/messages"
	"github.com/coaidev/coai/internal/dialect/responses"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// native plans a request that the upstreams get in the client's own bytes, so
// that nothing is lost that a chat completion has no word for: cache marks,
// signatures of thoughts, server tools. Nil: it is to be translated, because
// there are no such bytes, or one of the channels that may be asked does not
// speak the language, or the key keeps answers or reads them to their end, which
// is done with completions alone.
func (s *Service) native(v *models.Viewer, model string, raw []byte, e providers.Endpoint) *channels.Route {
	if raw == nil || v.Require(models.ScopeChat) != nil || v.CacheTTL > 0 || v.OnDisconnect == models.OnDisconnectDrain {
		return nil
	}
	route, err := s.channels.Plan(v, model)
	if err != nil {
		return nil // translating finds the mistakes in their order
	}
	serves := func(p providers.Provider) bool {
		r, ok := p.(providers.Relayer)
		return ok && r.Serves(e)
	}
	if !route.AllServe(serves) {
		return nil
	}
	return route
}

// pass makes the answer of a native request. prompt translates it, for those who
// look at its content: what cannot be translated is counted roughly.
func (s *Service) pass(ctx context.Context, v *models.Viewer, route *channels.Route, call RelayCall, prompt func() (*models.ChatCompletionInput, error)) *Relayed {
	call.Count = func() int64 {
		in, err := prompt()
		if err != nil {
			return int64(len(call.Body)-call.Attached+3) / 4
		}
		return tokens.CountPrompt(in)
	}
	if route.Sticky() {
		if in, err := prompt(); err == nil {
			route.Stick(promptAffinity(in))
		}
	}
	return s.relayed(ctx, v, route, call)
}

// passMessage makes the answer of a message. What its upstream checks is not
// checked here.
func (s *Service) passMessage(ctx context.Context, v *models.Viewer, route *channels.Route, in *models.CreateMessageInput) (*Relayed, error) {
	switch {
	case in.MaxTokens == nil:
		return nil, models.Missing("max_tokens")
	case *in.MaxTokens < 1 || *in.MaxTokens > 1<<30:
		return nil, models.Invalid("max_tokens", "'max_tokens' must be between 1 and %d; got %d.", 1<<30, *in.MaxTokens)
	case !dialect.Of("messages", in.Messages).Given():
		return nil, models.Missing("messages")
	}
	return s.pass(ctx, v, route, RelayCall{
		Endpoint: providers.Messages, Operation: models.OperationMessages, Model: in.Model,
		Beta: in.Beta, Body: in.Raw, Stream: in.Streams(), MaxOutput: in.MaxTokens, Mend: wants("content"), Attached: in.Attached,
	}, func() (*models.ChatCompletionInput, error) {
		translated, err := messages.Prompt(in)
		return &translated, err
	}), nil
}

func wholeMessage(r *Relayed) *models.AnthropicMessage {
	root := gjson.ParseBytes(r.JSON())
	return &models.AnthropicMessage{
		ID: root.Get("id").Str, Model: root.Get("model").Str, StopReason: root.Get("stop_reason").Str,
		Content: models.JSON(root.Get("content").Raw), Usage: r.Usage(), Raw: r.JSON(), ChannelID: r.ChannelID,
	}
}

// nativeResponse is [Service.native] for responses.
func (s *Service) nativeResponse(v *models.Viewer, in *models.CreateResponseInput) *channels.Route {
	if !stateless(in) {
		return nil
	}
	return s.native(v, in.Model, in.Raw, providers.Responses)
}

// stateless says whether a response neither is to be stored nor refers to
// anything that is: then an upstream can make it alone. What an upstream itself
// has stored is not of the client's account, and must not be reached.
func stateless(in *models.CreateResponseInput) bool {
	return !in.Stores() && in.PreviousResponseID == nil && (in.Background == nil || !*in.Background) &&
		!dialect.Of("conversation", in.Conversation).Given() && !dialect.Of("prompt", in.Prompt).Given() &&
		len(responses.References(in)) == 0
}

// passResponse makes the answer of a response. What its upstream checks is not
// checked here.
func (s *Service) passResponse(ctx context.Context, v *models.Viewer, route *channels.Route, in *models.CreateResponseInput) *Relayed {
	most := in.MaxOutputTokens
	if most != nil && (*most < 1 || *most > 1<<30) {
		most = nil // the upstream says so
	}
	return s.pass(ctx, v, route, RelayCall{
		Endpoint: providers.Responses, Operation: models.OperationResponses, Model: in.Model,
		Body: in.Raw, Stream: in.Streams(), MaxOutput: most, Mend: wants("output"), Attached: in.Attached,
	}, func() (*models.ChatCompletionInput, error) {
		translated, err := responses.Translate(in, "", nil, nil)
		if err != nil {
			return nil, err //nolint:wrapcheck // not shown to anybody
		}
		return &translated.Chat, nil
	})
}

func wholeResponse(r *Relayed) *models.Response {
	root := gjson.ParseBytes(r.JSON())
	return &models.Response{
		ID: root.Get("id").Str, Model: root.Get("model").Str, Status: models.ResponseStatus(root.Get("status").Str),
		Output: models.JSON(root.Get("output").Raw), Raw: r.JSON(), Usage: r.Usage(), ChannelID: r.ChannelID,
	}
}

// pass takes the next of an upstream's own events. The first call asks the channels.
func (e *Events) pass() {
	var event Event
	var err error
	if !e.began {
		e.began = true
		err = e.native.begin()
	}
	if err == nil {
		event, err = e.native.Next()
	}
	e.channelID = e.native.ChannelID
	switch {
	case errors.Is(err, io.EOF):
		e.done = true
	case err != nil:
		failure, _ := models.AsError(err)
		e.ready, e.done = []*models.StreamEvent{models.FailedEvent(failure)}, true
	default:
		name := event.Type
		if name == "" {
			name = gjson.GetBytes(event.Data, "type").Str
		}
		e.ready = []*models.StreamEvent{{Type: name, Data: event.Data}}
	}
}
