package graph

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/coaidev/coai/models"
)

// outcome is how far a request came.
type outcome int

const (
	malformed outcome = iota // it is no GraphQL request: bad JSON, no query
	declined                 // the document or its variables are at fault: nothing was executed
	executed                 // fields were resolved, with or without errors
)

// responseStatus is the HTTP status of an answer. It is the whole table of
// https://graphql.github.io/graphql-over-http/draft/#sec-Status-Codes as the
// audits of graphql-http have it.
func responseStatus(o outcome, media string) int {
	switch o {
	case malformed:
		return http.StatusBadRequest
	case declined:
		if media == mediaGraphQL {
			return http.StatusBadRequest
		}
		// Clients of application/json take another status as a sign that the answer
		// does not come from a GraphQL server.
		return http.StatusOK
	case executed:
	}
	return http.StatusOK
}

// servePost takes a request in a JSON body and answers with JSON or, when the
// client prefers it, with an event stream.
func (h *Handler) servePost(w http.ResponseWriter, r *http.Request) {
	media := negotiate(r)
	if media == "" {
		notAcceptable(w, r)
		return
	}
	if !acceptable(r) {
		WriteError(w, r, &models.Error{
			Kind: models.KindUnsupportedMedia, Code: models.CodeUnsupportedMediaType,
			Message: "The body must be application/json in UTF-8, without a content encoding.",
		})
		return
	}
	body, err := h.readBody(w, r)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	req, err := decodeRequest(body)
	if err != nil {
		h.malformed(w, r, media, err)
		return
	}
	if media == mediaEvents {
		h.serveEvents(w, r, req)
		return
	}
	h.execute(w, r, media, req)
}

// serveGet takes a query from the URL's parameters.
func (h *Handler) serveGet(w http.ResponseWriter, r *http.Request) {
	if h.cfg.Page != nil && wantsPage(r) {
		h.cfg.Page.ServeHTTP(w, r)
		return
	}
	media := negotiate(r)
	if media == "" || media == mediaEvents { // a stream over GET would be started, and paid for, by a mere link
		notAcceptable(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	req, err := requestFromURL(r.URL)
	if err != nil {
		h.malformed(w, r, media, err)
		return
	}
	h.execute(w, r, media, req)
}

func requestFromURL(u *url.URL) (*request, error) {
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, models.Invalid("", "The URL's parameters are not properly encoded.")
	}
	req := &request{query: params.Get("query"), operationName: params.Get("operationName")}
	var extensions []byte
	for _, name := range []string{"variables", "extensions"} {
		text := params.Get(name)
		if text == "" || text == "null" {
			continue
		}
		if _, err := decodeObject([]byte(text)); err != nil {
			return nil, badJSON("'"+name+"'", err)
		}
		if name == "variables" {
			req.variables = []byte(text)
		} else {
			extensions = []byte(text)
		}
	}
	if req.hash, err = documentHash(params.Get("documentId"), extensions); err != nil {
		return nil, err
	}
	if req.query == "" && req.hash == "" {
		return nil, models.Missing("query")
	}
	return req, nil
}

func (h *Handler) execute(w http.ResponseWriter, r *http.Request, media string, req *request) {
	ctx := r.Context()
	op, declinedResponse := h.prepare(ctx, req)
	if op == nil {
		h.respond(w, responseStatus(declined, media), media, declinedResponse)
		return
	}
	switch kind := op.Operation.Operation; {
	case r.Method == http.MethodGet && kind != ast.Query:
		methodNotAllowed(w, r, http.MethodPost)
		return
	case kind == ast.Subscription:
		writeProblem(w, r, responseStatus(declined, media),
			models.Invalid("", "A subscription needs 'Accept: text/event-stream', or a websocket with the subprotocol %s.", subprotocol))
		return
	}
	responses, ctx := h.exec.DispatchOperation(ctx, op)
	resp := responses(ctx)
	if resp == nil { // the context ended
		cutOff(w, r)
		return
	}
	h.respond(w, responseStatus(executed, media), media, resp)
}

// statusClientClosedRequest is for the log: the client is gone and sees nothing.
const statusClientClosedRequest = 499

// cutOff answers a request whose context ended under it: because the server
// says so, with its reason, or because the client has gone.
func cutOff(w http.ResponseWriter, r *http.Request) {
	if e, known := models.AsError(context.Cause(r.Context())); known {
		WriteError(w, r, e)
		return
	}
	w.WriteHeader(statusClientClosedRequest)
}

// respond writes an answer of any size.
func (h *Handler) respond(w http.ResponseWriter, status int, media string, resp *graphql.Response) {
	w.Header().Set("Content-Type", media+"; charset=utf-8")
	w.WriteHeader(status)
	_ = writePieces(w, http.NewResponseController(w), h.cfg.WriteTimeout, appendResponse(nil, resp))
}

// pieceSize is how much a client must take within one write deadline.
const pieceSize = 64 << 10

// writePieces writes text, a piece within each deadline, so that a client that
// does not read cannot hold an answer for ever, and one that reads slowly still
// gets it. The last deadline holds for what the connection still buffers.
func writePieces(w io.Writer, rc *http.ResponseController, timeout time.Duration, text []byte) error {
	for piece := range slices.Chunk(text, pieceSize) {
		// Not every writer has deadlines; then the server's own must do.
		_ = rc.SetWriteDeadline(time.Now().Add(timeout))
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// readBody reads the body within the limits of size and time.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > h.cfg.MaxBody {
		return nil, tooLarge(h.cfg.MaxBody)
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(h.cfg.ReadTimeout))
	// Left in place, the deadline would later end the connection under a long answer.
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), 1<<20)) + bytes.MinRead) // what is merely announced is not believed beyond a megabyte
	_, err := io.Copy(&body, http.MaxBytesReader(w, r.Body, h.cfg.MaxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(h.cfg.MaxBody)
	case err != nil:
		return nil, models.Invalid("", "The body did not arrive whole.")
	}
	return body.Bytes(), nil
}

func tooLarge(limit int64) *models.Error {
	e := models.Invalid("", "The request must have at most %d bytes.", limit)
	e.Kind, e.Code = models.KindTooLarge, models.CodeRequestTooLarge
	return e
}

func (h *Handler) malformed(w http.ResponseWriter, r *http.Request, media string, err error) {
	e, _ := models.AsError(err)
	writeProblem(w, r, responseStatus(malformed, media), e)
}

func notAcceptable(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, r, http.StatusNotAcceptable, models.Invalid("",
		"Accept %s or %s, or, with POST, %s.", mediaGraphQL, mediaJSON, mediaEvents))
}
