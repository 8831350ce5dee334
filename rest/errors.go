package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// statusClientClosedRequest is for the log: the client is gone and sees nothing.
const statusClientClosedRequest = 499

// envelope is OpenAI's error object. All its fields are always there.
// https://platform.openai.com/docs/guides/error-codes
type envelope struct {
	Error errorBody `json:"error"`
}

type errorBody struct {
	Message   string  `json:"message"`
	Type      string  `json:"type"`
	Param     *string `json:"param"`
	Code      string  `json:"code"`
	RequestID string  `json:"request_id"`
}

// WriteError answers with the error envelope of the path's language, its status, and what tells SDKs
// whether and when to try again. An error that is not a [models.Error] is
// logged and shown as internal. When the client has left, the answer is only a
// status for the log.
func WriteError(w http.ResponseWriter, req *http.Request, err error) {
	e, gone := explain(req.Context(), err)
	if gone {
		w.WriteHeader(statusClientClosedRequest)
		return
	}
	h := w.Header()
	if e.Kind == models.KindUnauthenticated {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if e.Final {
		h.Set("X-Should-Retry", "false")
	}
	if e.Retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.Retry+time.Second-1)/time.Second), 10))
		h.Set("Retry-After-Ms", strconv.FormatInt(max(1, e.Retry.Milliseconds()), 10))
	}
	if speaksAnthropic(req) {
		setAnthropicID(h, req)
		writeBytes(w, anthropicStatus(e), encodeAnthropicError(req.Context(), e))
		return
	}
	writeBytes(w, status(e.Kind), encodeError(req.Context(), e))
}

// explain finds what to tell the client about err, or that nobody listens any
// more. Unknown errors go to the log.
func explain(ctx context.Context, err error) (e *models.Error, gone bool) {
	e, known := models.AsError(err)
	if known && e.Kind != models.KindInternal {
		return e, false
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		// The server may have ended the request itself, and says why.
		if e, known = models.AsError(context.Cause(ctx)); known {
			return e, false
		}
		return nil, true
	}
	zerolog.Ctx(ctx).Error().Err(err).Msg("request failed")
	return e, false
}

func encodeError(ctx context.Context, e *models.Error) []byte {
	body := errorBody{Message: e.Message, Type: e.Kind.Type(), Code: e.Code, RequestID: models.RequestIDFrom(ctx)}
	if e.Param != "" {
		body.Param = &e.Param
	}
	// Messages may quote what the client sent.
	b, err := json.Marshal(envelope{Error: body}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("encode error")
	}
	return b
}

func status(k models.Kind) int {
	switch k {
	case models.KindInvalid:
		return http.StatusBadRequest
	case models.KindUnauthenticated:
		return http.StatusUnauthorized
	case models.KindForbidden:
		return http.StatusForbidden
	case models.KindNotFound:
		return http.StatusNotFound
	case models.KindMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case models.KindConflict:
		return http.StatusConflict
	case models.KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case models.KindUnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case models.KindUnprocessable:
		return http.StatusUnprocessableEntity
	case models.KindRateLimited:
		return http.StatusTooManyRequests
	case models.KindUnavailable:
		return http.StatusServiceUnavailable
	case models.KindInternal:
	}
	return http.StatusInternalServerError
}
