package rest

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// createChatCompletion answers whole, or as a stream when the client asks for one.
// https://platform.openai.com/docs/api-reference/chat/create
func (h *handler) createChatCompletion(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	in, err := h.readChatCompletion(w, r)
	if err != nil {
		return err
	}
	if in.Streams() {
		return stream(h, w, r, openAI(), func(ctx context.Context) (*graph.Feed[*models.ChatCompletionChunk], error) {
			return h.resolver.StreamChatCompletion(ctx, *in)
		})
	}
	return h.complete(w, r, in, start)
}

// readChatCompletion reads a request. It is apart from what waits for the answer,
// so that a stream keeps no room for it on its stack.
func (h *handler) readChatCompletion(w http.ResponseWriter, r *http.Request) (*models.ChatCompletionInput, error) {
	body, err := h.readBody(w, r)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, emptyBody()
	}
	in := &models.ChatCompletionInput{Raw: body, NoCache: noCache(r.Header)}
	return in, unmarshal(body, in, passUnknown)
}

// complete answers in one piece.
func (h *handler) complete(w http.ResponseWriter, r *http.Request, in *models.ChatCompletionInput, start time.Time) error {
	done, err := graph.Outcome(h.resolver.Mutation().CreateChatCompletion(r.Context(), *in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	answer, err := done.ChatCompletion.JSON()
	if err != nil {
		return err //nolint:wrapcheck // the model's own words
	}
	setChannel(w.Header(), done.ChatCompletion.ChannelID)
	setCache(w.Header(), done.ChatCompletion.Cache)
	setProcessing(w.Header(), start)
	writeBytes(w, http.StatusOK, answer)
	return nil
}

// setChannel names the channel that answered, to those who may know.
func setChannel(h http.Header, channelID string) {
	if channelID != "" {
		h.Set("X-Coai-Channel", channelID)
	}
}

// noCache says whether the client wants an answer that was not kept.
// https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1
func noCache(h http.Header) bool {
	control := strings.ToLower(strings.Join(h.Values("Cache-Control"), ","))
	return strings.Contains(control, "no-cache") || strings.Contains(control, "no-store")
}

// setCache says whether the answer was kept, to keys that use the cache.
func setCache(h http.Header, c *models.CacheStatus) {
	if c != nil {
		h.Set("X-Coai-Cache", string(*c))
	}
}

// setProcessing says how long the answer took.
func setProcessing(h http.Header, start time.Time) {
	h.Set("Openai-Processing-Ms", strconv.FormatInt(time.Since(start).Milliseconds(), 10))
}
