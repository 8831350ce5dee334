package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// createResponse answers in the language of OpenAI's responses, whole or as a
// stream.
// https://platform.openai.com/docs/api-reference/responses/create
func (h *handler) createResponse(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return emptyBody()
	}
	in := models.CreateResponseInput{Raw: body}
	if err := unmarshal(body, &in, passUnknown); err != nil {
		return err
	}
	if in.Streams() {
		return stream(h, w, r, openAIResponses(), func(ctx context.Context) (*graph.Feed[*models.StreamEvent], error) {
			return h.resolver.StreamResponse(ctx, in)
		})
	}
	start := time.Now()
	done, err := graph.Outcome(h.resolver.Mutation().CreateResponse(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	setChannel(w.Header(), done.Response.ChannelID)
	setCache(w.Header(), done.Response.Cache)
	setProcessing(w.Header(), start)
	writeBytes(w, http.StatusOK, done.Response.Raw)
	return nil
}

func (h *handler) retrieveResponse(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("stream") == "true" {
		return &models.Error{
			Kind: models.KindInvalid, Code: models.CodeUnsupportedParameter, Param: "stream",
			Message: "A stored response cannot be streamed again.",
		}
	}
	found, err := h.resolver.Query().Response(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	writeBytes(w, http.StatusOK, found.Raw)
	return nil
}

func (h *handler) deleteResponse(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteResponse(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedResponseID, Object: "response", Deleted: true})
}

func (h *handler) cancelResponse(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().CancelResponse(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	writeBytes(w, http.StatusOK, done.Response.Raw)
	return nil
}

func (h *handler) listResponseInputItems(w http.ResponseWriter, r *http.Request) error {
	p, err := parsePage(r.URL.Query())
	if err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().ResponseInputItems(r.Context(), r.PathValue("id"), first, after, last, before, p.order)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page,
		func(i *models.ResponseItem) string { return i.ID }, func(i *models.ResponseItem) any { return i.Raw })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

// openAIResponses is the language of responses, which end by an event of their own.
func openAIResponses() language {
	return language{fail: func(ctx context.Context, e *models.Error) (string, []byte) {
		return "error", encodeErrorEvent(ctx, e)
	}}
}

// encodeErrorEvent is the event for a failure before a response has begun, when
// the head of the answer was already out.
func encodeErrorEvent(ctx context.Context, e *models.Error) []byte {
	event := struct {
		Type     string  `json:"type"`
		Code     string  `json:"code"`
		Message  string  `json:"message"`
		Param    *string `json:"param"`
		Sequence int     `json:"sequence_number"`
	}{Type: "error", Code: e.Code, Message: e.Message}
	if e.Param != "" {
		event.Param = &e.Param
	}
	b, err := json.Marshal(event, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("encode error")
	}
	return b
}
