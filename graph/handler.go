package graph

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/graph/generated"
	"github.com/coaidev/coai/models"
)

// documentCache is how many accepted documents are kept parsed.
const documentCache = 1000

// HandlerConfig are the limits of the transports. A zero value means the
// default.
type HandlerConfig struct {
	// MaxBody is the size of a request body, or of a websocket message, in
	// bytes; default 20 MiB, because messages of a chat may carry images.
	MaxBody int64
	// Origins are the origins, beside the handler's own host, whose pages may open
	// a websocket: hosts such as app.example.com or *.example.com, or whole origins
	// such as https://app.example.com. A "*" among them allows all.
	Origins []string
	// ClientAddr is where a request comes from, for keys that are bound to
	// networks; default: the peer of the connection.
	ClientAddr func(*http.Request) netip.Addr
	// ReadTimeout is how long a body may take to arrive; default 60 s.
	ReadTimeout time.Duration
	// WriteTimeout is how long a websocket's frame, or 64 KiB of an event or of a
	// JSON answer, may take to leave before the client is given up; default 10 s.
	WriteTimeout time.Duration
	// KeepAlive is the silence on an event stream after which a comment is
	// sent; default 15 s.
	KeepAlive time.Duration
	// InitTimeout is how long a websocket may take to sign in; default 5 s.
	InitTimeout time.Duration
	// PingInterval is the time between pings to a websocket, which is given up
	// after two that were not answered; default 25 s.
	PingInterval time.Duration
	// MaxOperations is how many operations may run on one websocket at a time;
	// default 50.
	MaxOperations int
	// NoIntrospection hides the schema from documents, and from [Handler.Schema] and
	// [Handler.Introspection].
	NoIntrospection bool
	// Trusted are the only documents that are executed, by their SHA-256 in
	// lower-case hex; nil: all may be. See [TrustedDocuments].
	Trusted map[string]string
	// Page answers browsers that ask for HTML; nil: they are answered as others.
	Page http.Handler
}

func (c *HandlerConfig) setDefaults() {
	c.MaxBody = cmp.Or(c.MaxBody, 20<<20)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, time.Minute)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 10*time.Second)
	c.KeepAlive = cmp.Or(c.KeepAlive, 15*time.Second)
	c.InitTimeout = cmp.Or(c.InitTimeout, 5*time.Second)
	c.PingInterval = cmp.Or(c.PingInterval, 25*time.Second)
	c.MaxOperations = cmp.Or(c.MaxOperations, 50)
	if c.ClientAddr == nil {
		c.ClientAddr = peer
	}
}

// gate is what a websocket asks for itself, because the server in front of the
// handler sees only the upgrade.
type gate struct {
	// authenticate turns an API key into a viewer.
	authenticate func(ctx context.Context, secret string, from netip.Addr) (*models.Viewer, error)
	// admit takes a token from the viewer's rate limit.
	admit func(ctx context.Context, v *models.Viewer) error
}

// Handler serves GraphQL over HTTP (POST and GET), server-sent events and
// websockets, all on one path. The viewer, the request id and the logger are
// taken from the request's context; a websocket may come without a viewer and
// signs in by its first message.
type Handler struct {
	cfg     HandlerConfig
	schema  *ast.Schema
	exec    *executor.Executor
	cache   graphql.Cache[*ast.QueryDocument]
	docs    *documents
	vars    *variables
	gate    gate
	sockets sockets
}

// NewHandler makes the handler.
func NewHandler(r *Resolver, cfg HandlerConfig) *Handler {
	return newHandler(executable(r), cfg, gate{authenticate: r.accounts.Authenticate, admit: r.admit})
}

// executable binds the resolver to the schema, without the directive @defer,
// which gqlparser adds to every schema: no transport here speaks its format.
func executable(r generated.ResolverRoot) graphql.ExecutableSchema {
	cfg := generated.Config{Resolvers: r}
	schema := *generated.NewExecutableSchema(cfg).Schema()
	schema.Directives = maps.Clone(schema.Directives)
	delete(schema.Directives, "defer")
	cfg.Schema = &schema
	return generated.NewExecutableSchema(cfg)
}

func newHandler(es graphql.ExecutableSchema, cfg HandlerConfig, g gate) *Handler {
	cfg.setDefaults()
	h := &Handler{
		cfg: cfg, schema: es.Schema(), gate: g,
		exec:  executor.New(es),
		cache: lru.New[*ast.QueryDocument](documentCache),
		docs:  newDocuments(cfg.Trusted),
		vars:  newVariables(es.Schema()),
	}
	h.exec.SetQueryCache(h.cache)
	h.exec.SetParserTokenLimit(maxTokens)
	h.exec.SetErrorPresenter(present)
	h.exec.SetRecoverFunc(recovered)
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isUpgrade(r):
		h.serveWebsocket(w, r)
	case r.Method == http.MethodPost:
		h.servePost(w, r)
	case r.Method == http.MethodGet:
		h.serveGet(w, r)
	default:
		methodNotAllowed(w, r, "GET, POST")
	}
}

// Shutdown ends all websockets with 1012 (service restart), which clients take
// as a sign to connect again: idle ones at once, others when their operations
// have finished or ctx ends. New ones are refused from now on. It returns ctx's
// error when operations had to be cut off.
func (h *Handler) Shutdown(ctx context.Context) error {
	defer h.docs.close()
	return h.sockets.shutdown(ctx)
}

// prepare parses and validates the request. On failure it gives the response
// that says why, without data.
func (h *Handler) prepare(ctx context.Context, req *request) (*graphql.OperationContext, *graphql.Response) {
	op, errs := h.parse(ctx, req)
	if len(errs) > 0 {
		return nil, h.exec.DispatchError(ctx, errs)
	}
	return op, nil
}

func (h *Handler) parse(ctx context.Context, req *request) (*graphql.OperationContext, gqlerror.List) {
	if err := h.docs.complete(req); err != nil {
		return nil, gqlerror.List{err}
	}
	// A document in the cache has passed the guard and the validation.
	doc, ok := h.cache.Get(ctx, req.query)
	if !ok {
		var err *gqlerror.Error
		if doc, err = guard(req.query); err != nil {
			return nil, gqlerror.List{err}
		}
	}
	values, badValue := h.vars.decode(doc.Operations.ForName(req.operationName), req.variables)
	op, errs := h.exec.CreateOperationContext(graphql.StartOperationTrace(ctx), &graphql.RawParams{
		Query: req.query, OperationName: req.operationName, Variables: values,
	})
	switch {
	case len(errs) > 0:
		return nil, errs
	case badValue != nil:
		return nil, gqlerror.List{badValue}
	}
	h.docs.keep(req)
	op.DisableIntrospection = h.cfg.NoIntrospection || models.ViewerFrom(ctx) == nil
	return op, nil
}

func isUpgrade(r *http.Request) bool {
	for _, v := range r.Header.Values("Upgrade") {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "websocket") {
				return true
			}
		}
	}
	return false
}

func peer(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, _ := netip.ParseAddr(host)
	return addr.Unmap()
}
