package rest

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

const (
	messagesPath = "/v1/messages"
	maxBeta      = 4096 // bytes of the header
)

// createMessage answers in Anthropic's language, whole or as a stream.
// https://docs.anthropic.com/en/api/messages
func (h *handler) createMessage(w http.ResponseWriter, r *http.Request) error {
	in, err := h.readMessage(w, r)
	if err != nil {
		return err
	}
	if in.Streams() {
		return stream(h, w, r, anthropic(), func(ctx context.Context) (*graph.Feed[*models.StreamEvent], error) {
			return h.resolver.StreamMessage(ctx, in)
		})
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateMessage(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	setChannel(w.Header(), done.Message.ChannelID)
	setCache(w.Header(), done.Message.Cache)
	writeBytes(w, http.StatusOK, done.Message.Raw)
	return nil
}

// countMessageTokens counts what a request would send.
// https://docs.anthropic.com/en/api/messages-count-tokens
func (h *handler) countMessageTokens(w http.ResponseWriter, r *http.Request) error {
	in, err := h.readMessage(w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CountMessageTokens(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, struct {
		InputTokens int64 `json:"input_tokens"`
	}{*done.InputTokens})
}

func (h *handler) readMessage(w http.ResponseWriter, r *http.Request) (models.CreateMessageInput, error) {
	var in models.CreateMessageInput
	setAnthropicID(w.Header(), r)
	body, err := h.readBody(w, r)
	if err != nil {
		return in, err
	}
	if len(body) == 0 {
		return in, emptyBody()
	}
	in.Raw, in.Beta = body, strings.Join(r.Header.Values("Anthropic-Beta"), ",")
	if len(in.Beta) > maxBeta {
		return in, models.Invalid("anthropic-beta", "The header Anthropic-Beta must have at most %d bytes.", maxBeta)
	}
	return in, unmarshal(body, &in, passUnknown)
}

// anthropic is the language of messages, which end by an event of their own.
func anthropic() language {
	return language{fail: func(ctx context.Context, e *models.Error) (string, []byte) {
		return "error", encodeAnthropicError(ctx, e)
	}}
}

// speaksAnthropic says whether errors of the path are in Anthropic's shape.
func speaksAnthropic(r *http.Request) bool {
	return r.URL.Path == messagesPath || strings.HasPrefix(r.URL.Path, messagesPath+"/")
}

// setAnthropicID names the request where Anthropic's SDKs look for it.
func setAnthropicID(h http.Header, r *http.Request) {
	h.Set("Request-Id", models.RequestIDFrom(r.Context()))
}

// anthropicEnvelope is Anthropic's error object.
// https://docs.anthropic.com/en/api/errors
type anthropicEnvelope struct {
	Type      string         `json:"type"`
	Error     anthropicError `json:"error"`
	RequestID string         `json:"request_id"`
}

type anthropicError struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func encodeAnthropicError(ctx context.Context, e *models.Error) []byte {
	// Messages may quote what the client sent.
	b, err := json.Marshal(anthropicEnvelope{
		Type: "error", Error: anthropicError{Type: anthropicType(e), Message: e.Message}, RequestID: models.RequestIDFrom(ctx),
	}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("encode error")
	}
	return b
}

const (
	statusOverloaded = 529 // Anthropic's own

	overloadedError = "overloaded_error"
	timeoutError    = "timeout_error"
	apiError        = "api_error"
)

// anthropicType is an error's type in Anthropic's words.
func anthropicType(e *models.Error) string {
	switch e.Kind {
	case models.KindInvalid, models.KindMethodNotAllowed, models.KindConflict, models.KindUnsupportedMedia, models.KindUnprocessable:
		return "invalid_request_error"
	case models.KindUnauthenticated:
		return "authentication_error"
	case models.KindForbidden:
		return "permission_error"
	case models.KindNotFound:
		return "not_found_error"
	case models.KindTooLarge:
		return "request_too_large"
	case models.KindRateLimited:
		return "rate_limit_error"
	case models.KindUnavailable:
		switch e.Code {
		case models.CodeOverloaded, models.CodeNoHealthyChannel, models.CodeShuttingDown:
			return overloadedError
		case models.CodeUpstreamTimeout:
			return timeoutError
		}
	case models.KindInternal:
	}
	return apiError
}

// anthropicStatus is the status that goes with the type.
func anthropicStatus(e *models.Error) int {
	switch anthropicType(e) {
	case overloadedError:
		return statusOverloaded
	case timeoutError:
		return http.StatusGatewayTimeout
	case apiError:
		return http.StatusInternalServerError
	}
	return status(e.Kind)
}
