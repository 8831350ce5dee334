package rest

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// createEmbedding answers with vectors.
// https://platform.openai.com/docs/api-reference/embeddings/create
func (h *handler) createEmbedding(w http.ResponseWriter, r *http.Request) error {
	return relay(h, w, r, func(ctx context.Context, in models.CreateEmbeddingInput, body []byte) (*models.Answer, error) {
		in.Raw = body
		done, err := graph.Outcome(h.resolver.Mutation().CreateEmbedding(ctx, in))
		if err != nil {
			return nil, err //nolint:wrapcheck // a resolver's
		}
		return &done.Embeddings.Answer, nil
	})
}

// createTextCompletion completes a prompt, whole or as a stream.
// https://platform.openai.com/docs/api-reference/completions/create
func (h *handler) createTextCompletion(w http.ResponseWriter, r *http.Request) error {
	return relay(h, w, r, func(ctx context.Context, in models.CreateTextCompletionInput, body []byte) (*models.Answer, error) {
		in.Raw = body
		done, err := graph.Outcome(h.resolver.Mutation().CreateTextCompletion(ctx, in))
		if err != nil {
			return nil, err //nolint:wrapcheck // a resolver's
		}
		return &done.TextCompletion.Answer, nil
	})
}

// createImage makes images.
// https://platform.openai.com/docs/api-reference/images/create
func (h *handler) createImage(w http.ResponseWriter, r *http.Request) error {
	return relay(h, w, r, func(ctx context.Context, in models.CreateImageInput, body []byte) (*models.Answer, error) {
		in.Raw = body
		done, err := graph.Outcome(h.resolver.Mutation().CreateImage(ctx, in))
		if err != nil {
			return nil, err //nolint:wrapcheck // a resolver's
		}
		return &done.Images.Answer, nil
	})
}

// createSpeech speaks a text.
// https://platform.openai.com/docs/api-reference/audio/createSpeech
func (h *handler) createSpeech(w http.ResponseWriter, r *http.Request) error {
	return relay(h, w, r, func(ctx context.Context, in models.CreateSpeechInput, body []byte) (*models.Answer, error) {
		in.Raw = body
		done, err := graph.Outcome(h.resolver.Mutation().CreateSpeech(ctx, in))
		if err != nil {
			return nil, err //nolint:wrapcheck // a resolver's
		}
		return &done.Speech.Answer, nil
	})
}

// createModeration classifies texts.
// https://platform.openai.com/docs/api-reference/moderations/create
func (h *handler) createModeration(w http.ResponseWriter, r *http.Request) error {
	return relay(h, w, r, func(ctx context.Context, in models.CreateModerationInput, body []byte) (*models.Answer, error) {
		in.Raw = body
		done, err := graph.Outcome(h.resolver.Mutation().CreateModeration(ctx, in))
		if err != nil {
			return nil, err //nolint:wrapcheck // a resolver's
		}
		return &done.Moderation.Answer, nil
	})
}

// relay reads a JSON request, asks, and sends the answer.
func relay[T any](h *handler, w http.ResponseWriter, r *http.Request, ask func(context.Context, T, []byte) (*models.Answer, error)) error {
	began := time.Now()
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return emptyBody()
	}
	var in T
	if err := unmarshal(body, &in, passUnknown); err != nil {
		return err
	}
	a, err := ask(r.Context(), in, body)
	if err != nil {
		return err
	}
	sendAnswer(w, r, a, began)
	return nil
}

// sendAnswer sends an answer: whole, or as it comes.
func sendAnswer(w http.ResponseWriter, r *http.Request, a *models.Answer, began time.Time) {
	setChannel(w.Header(), a.ChannelID)
	w.Header().Set("Openai-Processing-Ms", strconv.FormatInt(time.Since(began).Milliseconds(), 10))
	if a.Body == nil {
		w.Header().Set("Content-Type", a.ContentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Bytes())))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(a.Bytes())
		return
	}
	defer func() { _ = a.Body.Close() }() // accounts for what was sent
	passOn(w, r, a)
}

// passOn sends what comes as it comes. A failure ends a stream of events with an
// event that tells it; of other bytes the connection is cut, as nothing else
// tells a client that they are not all.
func passOn(w http.ResponseWriter, r *http.Request, a *models.Answer) {
	h := w.Header()
	mediaType, _, _ := mime.ParseMediaType(a.ContentType)
	events := mediaType == "text/event-stream"
	h.Set("Content-Type", a.ContentType)
	if events {
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no")
	}
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	buf := make([]byte, flushSize)
	for {
		n, err := a.Body.Read(buf)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
			_, failed := w.Write(buf[:n])
			if failed == nil {
				failed = rc.Flush()
			}
			if failed != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			continue
		}
		known, gone := explain(r.Context(), err)
		if gone {
			return
		}
		if !events {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(append(append([]byte("data: "), encodeError(r.Context(), known)...), "\n\n"...))
		_ = rc.Flush()
		return
	}
}
