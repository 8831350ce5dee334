package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/rs/zerolog"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// WriteError answers a request that fails before execution: the error in
// GraphQL's shape under its true HTTP status, with the headers that the REST
// face sets too. An error that is no *models.Error is logged and shown as
// internal. When the client has left, the answer is only a status for the log.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e, known := models.AsError(err)
	if !known && r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		cutOff(w, r)
		return
	}
	if !known || e.Kind == models.KindInternal {
		zerolog.Ctx(r.Context()).Error().Err(err).Msg("request failed")
	}
	writeProblem(w, r, statusOf(e.Kind), e)
}

// writeProblem answers with one error and no data.
func writeProblem(w http.ResponseWriter, r *http.Request, status int, e *models.Error) {
	setRetryHeaders(w.Header(), e)
	media := negotiate(r)
	if media != mediaGraphQL {
		media = mediaJSON
	}
	writeResponse(w, status, media, &graphql.Response{Errors: gqlerror.List{shown(r.Context(), e)}})
}

func setRetryHeaders(h http.Header, e *models.Error) {
	if e.Kind == models.KindUnauthenticated {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if e.Retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.Retry+time.Second-1)/time.Second), 10))
		h.Set("retry-after-ms", strconv.FormatInt(max(1, e.Retry.Milliseconds()), 10))
	}
	if e.Final {
		h.Set("x-should-retry", "false")
	}
}

func methodNotAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	WriteError(w, r, &models.Error{
		Kind: models.KindMethodNotAllowed, Code: models.CodeMethodNotAllowed,
		Message: fmt.Sprintf("The method %s is not allowed here; use %s.", r.Method, allow),
	})
}

// statusOf is the HTTP status of an error before execution.
func statusOf(k models.Kind) int {
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

// shown is e as GraphQL shows it.
func shown(ctx context.Context, e *models.Error) *gqlerror.Error {
	ext := map[string]any{"code": e.Code, "type": e.Kind.Type()}
	if e.Param != "" {
		ext["param"] = e.Param
	}
	if e.Retry > 0 {
		ext["retryAfterMs"] = e.Retry.Milliseconds()
	}
	if id := models.RequestIDFrom(ctx); id != "" {
		ext["requestId"] = id
	}
	return &gqlerror.Error{Message: e.Message, Extensions: ext}
}

// present is the executor's error presenter. Mistakes in the document keep the
// text and the code that gqlparser gives them; a *models.Error is shown as it
// is; all others are logged under the request id and masked.
func present(ctx context.Context, err error) *gqlerror.Error {
	var at *gqlerror.Error
	if !errors.As(err, &at) {
		at = gqlerror.WrapPath(graphql.GetPath(ctx), err)
	}
	out := shown(ctx, classify(ctx, at))
	out.Path, out.Locations = at.Path, at.Locations
	return out
}

func classify(ctx context.Context, at *gqlerror.Error) *models.Error {
	var e *models.Error
	switch code := at.Extensions["code"]; {
	case errors.As(at.Err, &e):
		if e.Kind == models.KindInternal && e.Cause != nil {
			zerolog.Ctx(ctx).Error().Err(e).Str("path", at.Path.String()).Msg("field failed")
		}
		return e
	case code == errcode.ParseFailed, code == errcode.ValidationFailed:
		message := at.Message
		if models.ViewerFrom(ctx) == nil { // the names in a suggestion are part of the schema
			message, _, _ = strings.Cut(message, " Did you mean")
		}
		return &models.Error{Kind: models.KindInvalid, Code: fmt.Sprint(code), Message: message}
	case introspecting(ctx) && models.ViewerFrom(ctx) != nil:
		return &models.Error{Kind: models.KindInvalid, Code: errcode.ValidationFailed, Message: "This server does not publish its schema."}
	case introspecting(ctx):
		return &models.Error{
			Kind: models.KindUnauthenticated, Code: models.CodeMissingAPIKey,
			Message: "Introspection needs an API key. Send it as 'Authorization: Bearer <key>'.",
		}
	case inArguments(ctx):
		return &models.Error{Kind: models.KindInvalid, Code: models.CodeInvalidValue, Message: at.Message}
	}
	e, _ = models.AsError(at)
	if ctx.Err() == nil { // otherwise the client has gone, and the failure is no news
		zerolog.Ctx(ctx).Error().Err(at).Str("path", at.Path.String()).Msg("field failed")
	}
	return e
}

// introspecting says whether the failing field reads the schema: that fails only
// when introspection is off.
func introspecting(ctx context.Context) bool {
	fc := graphql.GetFieldContext(ctx) //nolint:forbidigo // nil outside the executor
	return fc != nil && fc.Field.Field != nil && (fc.Field.Name == "__schema" || fc.Field.Name == "__type")
}

// inArguments says whether the field failed while its arguments were read, by a
// scalar that did not like its value: then they are absent.
func inArguments(ctx context.Context) bool {
	fc := graphql.GetFieldContext(ctx) //nolint:forbidigo // nil outside the executor
	return fc != nil && fc.Args == nil && fc.Field.Field != nil && len(fc.Field.Arguments) > 0
}

// recovered is the executor's recover function: the stack goes to the log, and
// the client learns nothing.
func recovered(ctx context.Context, p any) error {
	zerolog.Ctx(ctx).Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("panic in resolver")
	e, _ := models.AsError(nil)
	return e
}
