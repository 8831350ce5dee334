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
	h.sendAnswer(w, r, a, began)
	return nil
}

// sendAnswer sends an answer: whole, or as it comes.
func (h *handler) sendAnswer(w http.ResponseWriter, r *http.Request, a *models.Answer, began time.Time) {
	setChannel(w.Header(), a.ChannelID)
	setProcessing(w.Header(), began)
	if a.Body == nil {
		w.Header().Set("Content-Type", a.ContentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Bytes())))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(a.Bytes())
		return
	}
	defer func() { _ = a.Body.Close() }() // accounts for what was sent
	if mediaType, _, _ := mime.ParseMediaType(a.ContentType); mediaType == "text/event-stream" {
		h.passEvents(w, r, a.Body)
		return
	}
	passBytes(w, r, a)
}

// passEvents sends events as they come, with comments into their silence. A failure
// ends them with an event that tells it.
func (h *handler) passEvents(w http.ResponseWriter, r *http.Request, body io.Reader) {
	const atOnce = 4 << 10
	// A write that fails ends the request's context, and so the wait for the upstream.
	out := newOutput(w, h.cfg.KeepAlive, func() {})
	defer out.release()
	buf := make([]byte, atOnce)
	for {
		n, err := body.Read(buf)
		if n > 0 && !out.write(buf[:n]) || errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			continue
		}
		if known, gone := explain(r.Context(), err); !gone {
			out.write(append(append([]byte("data: "), encodeError(r.Context(), known)...), "\n\n"...))
		}
		return
	}
}

// passBytes sends what comes as it comes. A failure cuts the connection, as nothing
// else tells a client that the bytes are not all.
func passBytes(w http.ResponseWriter, r *http.Request, a *models.Answer) {
	w.Header().Set("Content-Type", a.ContentType)
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
		if _, gone := explain(r.Context(), err); !gone {
			panic(http.ErrAbortHandler)
		}
		return
	}
}
