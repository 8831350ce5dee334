package graph

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/introspection"

	"github.com/coaidev/coai/models"
)

// Schema serves the schema as it is written in schema.graphql.
func (h *Handler) Schema() http.Handler {
	text := h.schema.Query.Position.Src.Input
	return h.published("text/plain; charset=utf-8", func(context.Context) string { return text })
}

// Introspection serves the answer to the standard introspection query, which tools
// read in place of the schema's text.
func (h *Handler) Introspection() http.Handler {
	var once sync.Once
	var text []byte
	return h.published(mediaJSON, func(ctx context.Context) string {
		once.Do(func() {
			// Not under the guard, which is for documents of others, nor for this viewer alone.
			ctx := graphql.StartOperationTrace(context.WithoutCancel(ctx))
			op, errs := h.exec.CreateOperationContext(ctx, &graphql.RawParams{Query: introspection.Query})
			if len(errs) > 0 {
				text = appendResponse(nil, h.exec.DispatchError(ctx, errs))
				return
			}
			op.DisableIntrospection = false
			responses, ctx := h.exec.DispatchOperation(ctx, op)
			text = appendResponse(nil, responses(ctx))
		})
		return string(text)
	})
}

func (h *Handler) published(media string, text func(context.Context) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case h.cfg.NoIntrospection:
			WriteError(w, r, &models.Error{Kind: models.KindNotFound, Code: models.CodeUnknownEndpoint, Message: "This server does not publish its schema."})
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			methodNotAllowed(w, r, "GET, HEAD")
		default:
			w.Header().Set("Content-Type", media)
			_, _ = io.WriteString(w, text(r.Context()))
		}
	})
}
