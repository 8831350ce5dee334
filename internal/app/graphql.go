package app

import (
	"fmt"
	"net/http"
	"os"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/internal/server"
	"github.com/coaidev/coai/rest"
	"github.com/coaidev/coai/web"
)

// graphqlConfig says what the settings let GraphQL's clients do.
func (a *App) graphqlConfig() (graph.HandlerConfig, error) {
	cfg := graph.HandlerConfig{
		MaxBody: int64(a.cfg.MaxBody),
		// The server has put the client's own address into the request, behind proxies too.
		Origins:         a.cfg.CORSOrigins,
		NoIntrospection: !a.cfg.GraphQLIntrospection,
	}
	if a.cfg.GraphQLIDE {
		cfg.Page = web.Page()
	}
	if a.cfg.TrustedDocuments == "" {
		return cfg, nil
	}
	manifest, err := os.ReadFile(a.cfg.TrustedDocuments)
	if err != nil {
		return cfg, fmt.Errorf("trusted documents: %w", err)
	}
	cfg.Trusted, err = graph.TrustedDocuments(manifest)
	return cfg, err
}

// graphqlMounts are the face and what belongs to it. All may be had without a
// credential but the API itself, which asks for one where it needs it.
func (a *App) graphqlMounts(h *graph.Handler) []server.Mount {
	mounts := []server.Mount{
		{Pattern: "/graphql", WriteError: graph.WriteError, Handler: h, Anonymous: true},
		{Pattern: "/graphql/introspection.json", WriteError: graph.WriteError, Handler: h.Introspection(), Anonymous: true},
		{Pattern: "/schema.graphql", WriteError: rest.WriteError, Handler: h.Schema(), Anonymous: true},
	}
	if !a.cfg.GraphQLIDE {
		return mounts
	}
	missing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rest.WriteError(w, r, server.UnknownEndpoint(r)) })
	return append(mounts, server.Mount{Pattern: "/graphql/ide/", WriteError: rest.WriteError, Handler: web.Assets(missing), Anonymous: true, Uncounted: true})
}
