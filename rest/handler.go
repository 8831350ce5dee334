// Package rest is the OpenAI-compatible face, /v1. It decodes requests, calls
// the resolvers' Go methods, and spells the answers as OpenAI does. No rule of
// the product is here.
package rest

import (
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// Defaults of [Config].
const (
	defaultMaxBody   = 20 << 20
	defaultKeepAlive = 15 * time.Second
)

// Config says how to serve.
type Config struct {
	MaxBody   int64         // bytes of a request's body at most; default 20 MiB
	KeepAlive time.Duration // silence after which a stream gets a comment; default 15 s
}

type handler struct {
	resolver *graph.Resolver
	cfg      Config
	mux      *http.ServeMux
	methods  []string // all that the table has
}

// NewHandler serves /v1. It expects the viewer and the request id in the
// request's context.
func NewHandler(r *graph.Resolver, cfg Config) http.Handler {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = defaultMaxBody
	}
	if cfg.KeepAlive <= 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	h := &handler{resolver: r, cfg: cfg, mux: http.NewServeMux()}
	seen := map[string]bool{}
	for _, rt := range routes() {
		h.mux.HandleFunc(rt.method+" "+rt.pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := rt.serve(h, w, r); err != nil {
				WriteError(w, r, err)
			}
		})
		if !seen[rt.method] {
			seen[rt.method] = true
			h.methods = append(h.methods, rt.method)
		}
	}
	h.mux.HandleFunc("/", h.unknown)
	return h
}

// ServeHTTP finds the route. Paths that are not in their shortest form are
// unknown: http.ServeMux would answer them with an HTML redirect.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := r.URL.EscapedPath()
	if path.Clean(p) != p || !cleanText(r.URL.Path) || r.Method == http.MethodConnect {
		r.Pattern = ""
		h.unknown(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// cleanText refuses what no id and no name of a model holds, and what
// databases and logs stumble over.
func cleanText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// unknown answers for paths without a route, and for routes without the method.
func (h *handler) unknown(w http.ResponseWriter, r *http.Request) {
	if allowed := h.allowed(r); len(allowed) > 0 {
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		WriteError(w, r, methodNotAllowed(r.Method, list))
		return
	}
	WriteError(w, r, &models.Error{
		Kind: models.KindNotFound, Code: models.CodeUnknownEndpoint,
		Message: "Unknown request URL: " + clip(r.Method, 20) + " " + clip(r.URL.Path, 200) + ". See the API reference for the endpoints.",
	})
}

func methodNotAllowed(method, allowed string) error {
	return &models.Error{
		Kind: models.KindMethodNotAllowed, Code: models.CodeMethodNotAllowed,
		Message: "The method " + clip(method, 20) + " is not allowed here. Allowed: " + allowed + ".",
	}
}

func (h *handler) allowed(r *http.Request) []string {
	if r.Pattern == "" {
		return nil
	}
	var list []string
	probe := *r
	for _, probe.Method = range h.methods {
		if _, pattern := h.mux.Handler(&probe); pattern != "" && pattern != "/" {
			list = append(list, probe.Method)
			if probe.Method == http.MethodGet {
				list = append(list, http.MethodHead)
			}
		}
	}
	return list
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
