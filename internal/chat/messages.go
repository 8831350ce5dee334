package chat

import (
	"context"

	"github.com/coaidev/coai/internal/dialect/messages"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// CreateMessage answers a request in Anthropic's language in one piece, by any
// channel. Where all channels of the model speak the language a REST client's
// bytes are passed on, see [Service.native]; else it is a chat completion
// underneath. Its errors are those of [Service.Complete]. Scope: chat.
func (s *Service) CreateMessage(ctx context.Context, v *models.Viewer, in models.CreateMessageInput) (*models.CreateMessagePayload, error) {
	if err := s.messageFiles(ctx, v, &in); err != nil {
		return nil, err
	}
	if route := s.native(v, in.Model, in.Raw, providers.Messages); route != nil {
		r, err := s.passMessage(ctx, v, route, &in)
		if err == nil {
			err = r.begin()
		}
		if err != nil {
			return nil, err
		}
		return &models.CreateMessagePayload{Message: wholeMessage(r)}, nil
	}
	translated, err := s.message(v, &in)
	if err != nil {
		return nil, err
	}
	done, err := s.Complete(ctx, v, *translated)
	if err != nil {
		return nil, err
	}
	body, err := done.ChatCompletion.Body()
	if err != nil {
		return nil, public(unreadable(err))
	}
	m, err := messages.Answer(body, in.Model, done.ChatCompletion.Usage)
	if err != nil {
		return nil, public(unreadable(err))
	}
	m.ChannelID, m.Cache = done.ChatCompletion.ChannelID, done.ChatCompletion.Cache
	return &models.CreateMessagePayload{Message: m}, nil
}

// StreamMessage answers a request in Anthropic's language in its events, by the
// ways of [Service.CreateMessage]. Its errors are those of [Service.Stream].
// Scope: chat.
func (s *Service) StreamMessage(ctx context.Context, v *models.Viewer, in models.CreateMessageInput) (*Events, error) {
	if err := s.messageFiles(ctx, v, &in); err != nil {
		return nil, err
	}
	if route := s.native(v, in.Model, in.Raw, providers.Messages); route != nil {
		r, err := s.passMessage(ctx, v, route, &in)
		if err != nil {
			return nil, err
		}
		return &Events{native: r}, nil
	}
	translated, err := s.message(v, &in)
	if err != nil {
		return nil, err
	}
	return s.streamEvents(ctx, v, translated, messages.NewWriter(in.Model))
}

// CountMessageTokens counts the tokens of a request in Anthropic's language with
// the local tokenizer. Nothing is asked of a channel. Scope: chat.
func (s *Service) CountMessageTokens(ctx context.Context, v *models.Viewer, in models.CreateMessageInput) (*models.CountMessageTokensPayload, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	if err := s.messageFiles(ctx, v, &in); err != nil {
		return nil, err
	}
	translated, err := messages.Prompt(&in)
	if err == nil {
		err = translated.Validate()
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.channels.Plan(v, in.Model); err != nil {
		return nil, err
	}
	n := tokens.CountPrompt(&translated)
	return &models.CountMessageTokensPayload{InputTokens: &n}, nil
}

// message translates a request.
func (s *Service) message(v *models.Viewer, in *models.CreateMessageInput) (*models.ChatCompletionInput, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	translated, err := messages.Translate(in)
	if err != nil {
		return nil, err
	}
	// Clients must give a number and give what Claude can write. A model that can
	// write less never reaches it; some upstreams would refuse it.
	if route, err := s.channels.Plan(v, in.Model); err == nil && translated.MaxCompletionTokens != nil {
		if most := route.Model.MaxOutputTokens; most != nil && *most < *translated.MaxCompletionTokens {
			n := *most
			translated.MaxCompletionTokens = &n
		}
	}
	return &translated, nil
}

// streamEvents streams a translated request through a writer.
func (s *Service) streamEvents(ctx context.Context, v *models.Viewer, in *models.ChatCompletionInput, w writer) (*Events, error) {
	yes := true
	in.Stream, in.StreamOptions = &yes, &models.StreamOptions{IncludeUsage: &yes}
	st, err := s.Stream(ctx, v, *in)
	if err != nil {
		return nil, err
	}
	return &Events{stream: st, writer: w}, nil
}
