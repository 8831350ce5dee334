package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/rs/zerolog"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// subprotocol is the one that websockets speak.
// https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
const subprotocol = "graphql-transport-ws"

// The protocol's close codes.
const (
	closeBadMessage        = websocket.StatusCode(4400)
	closeUnauthorized      = websocket.StatusCode(4401)
	closeForbidden         = websocket.StatusCode(4403)
	closeBadSubprotocol    = websocket.StatusCode(4406)
	closeInitTimeout       = websocket.StatusCode(4408)
	closeSubscriberExists  = websocket.StatusCode(4409)
	closeTooManyInit       = websocket.StatusCode(4429)
	maxCloseReason         = 120 // bytes; a close frame has room for 123
	unansweredPingsAllowed = 2
)

// serveWebsocket accepts a websocket and serves it to its end.
func (h *Handler) serveWebsocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, OriginPatterns: h.cfg.Origins,
	})
	if err != nil {
		return // Accept has answered
	}
	ctx, cancel := context.WithCancel(r.Context())
	s := &socket{h: h, conn: conn, ctx: ctx, cancel: cancel, from: r, ops: map[string]context.CancelFunc{}, viewer: models.ViewerFrom(ctx)}
	defer func() {
		cancel()
		s.running.Wait()
		_ = conn.CloseNow()
		h.sockets.remove(s)
	}()
	switch {
	case conn.Subprotocol() != subprotocol:
		s.close(closeBadSubprotocol, "Subprotocol not acceptable")
	case !h.sockets.add(s):
		s.close(websocket.StatusServiceRestart, "Shutting down")
	default:
		conn.SetReadLimit(h.cfg.MaxBody)
		s.serve()
	}
}

// socket is one connection.
type socket struct {
	h      *Handler
	conn   *websocket.Conn
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	from   *http.Request
	viewer *models.Viewer // set by the upgrade or by connection_init; then constant
	ready  bool           // connection_init has been accepted; for the reading goroutine

	running sync.WaitGroup // everything that may still write

	mu       sync.Mutex
	ops      map[string]context.CancelFunc // running operations by the client's id
	draining bool
	closed   bool
}

// message is one of the protocol's messages.
type message struct {
	id, kind string
	payload  jsontext.Value
}

func (s *socket) serve() {
	timer := time.AfterFunc(s.h.cfg.InitTimeout, func() { s.close(closeInitTimeout, "Connection initialisation timeout") })
	defer timer.Stop()
	for {
		_, text, err := s.conn.Read(s.ctx)
		if err != nil {
			return
		}
		m, err := decodeMessage(text)
		if err != nil {
			s.close(closeBadMessage, "Invalid message")
			return
		}
		if !s.handle(m, timer) {
			return
		}
	}
}

// handle deals with a message and says whether the connection goes on.
func (s *socket) handle(m *message, initTimer *time.Timer) bool {
	switch m.kind {
	case "connection_init":
		if s.ready {
			s.close(closeTooManyInit, "Too many initialisation requests")
			return false
		}
		initTimer.Stop()
		return s.init(m)
	case "ping":
		return s.write(frame("pong", "", m.payload)) == nil
	case "pong":
		return true
	case "subscribe":
		return s.subscribe(m)
	case "complete":
		s.mu.Lock()
		stop := s.ops[m.id]
		delete(s.ops, m.id)
		s.mu.Unlock()
		if stop != nil {
			stop()
		}
		return true
	}
	s.close(closeBadMessage, "Unknown message type")
	return false
}

// init signs in.
func (s *socket) init(m *message) bool {
	secret, ok := credential(m.payload)
	if !ok {
		s.close(closeBadMessage, "The payload of connection_init must be an object")
		return false
	}
	if secret != "" {
		v, err := s.h.gate.authenticate(s.ctx, secret, s.h.cfg.ClientAddr(s.from))
		if err != nil {
			e, _ := models.AsError(err)
			s.close(closeForbidden, e.Code)
			return false
		}
		s.viewer = v
	}
	if s.viewer == nil {
		s.close(closeForbidden, models.CodeMissingAPIKey)
		return false
	}
	s.ready = true
	s.running.Go(s.ping)
	return s.write(frame("connection_ack", "", nil)) == nil
}

// credential finds the API key in the payload of connection_init: authorization,
// with or without Bearer, or apiKey, also inside headers as browser clients send
// them. ok is false for a payload that is no object.
func credential(payload jsontext.Value) (secret string, ok bool) {
	if len(payload) == 0 || payload.Kind() == jsontext.KindNull {
		return "", true
	}
	members, err := decodeObject(payload)
	if err != nil {
		return "", false
	}
	for name, value := range members {
		text, err := stringMember(members, name)
		switch strings.ToLower(name) {
		case "authorization":
			if scheme, key, found := strings.Cut(text, " "); found && strings.EqualFold(scheme, "bearer") {
				text = key
			}
			secret = strings.TrimSpace(text)
		case "apikey", "api-key", "x-api-key":
			secret = strings.TrimSpace(text)
		case "headers":
			if value.Kind() == jsontext.KindBeginObject {
				if inner, _ := credential(value); inner != "" {
					secret = inner
				}
			}
			continue
		default:
			continue
		}
		if err != nil {
			return "", false
		}
	}
	return secret, true
}

// subscribe begins an operation.
func (s *socket) subscribe(m *message) bool {
	if !s.ready {
		s.close(closeUnauthorized, "Unauthorized")
		return false
	}
	members, err := decodeObject(m.payload)
	if m.id == "" || err != nil {
		s.close(closeBadMessage, "A subscribe message needs an id and an object as payload")
		return false
	}
	ctx, stop := context.WithCancel(models.WithViewer(s.ctx, s.viewer))
	ctx = models.WithRequestID(ctx, models.NewID(models.RequestPrefix))
	s.mu.Lock()
	_, exists := s.ops[m.id]
	full, draining := len(s.ops) >= s.h.cfg.MaxOperations, s.draining
	if !exists && !full && !draining {
		s.ops[m.id] = stop
	}
	s.mu.Unlock()
	switch {
	case exists:
		stop()
		s.close(closeSubscriberExists, clipped("Subscriber for "+m.id+" already exists"))
		return false
	case draining:
		stop()
		return s.decline(ctx, m.id, models.Unavailable(models.CodeShuttingDown, "The server is shutting down; connect again."))
	case full:
		stop()
		return s.decline(ctx, m.id, &models.Error{
			Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded,
			Message: fmt.Sprintf("A connection may run %d operations at a time.", s.h.cfg.MaxOperations),
		})
	}
	s.running.Go(func() { s.operate(ctx, stop, m.id, members) })
	return true
}

// operate runs an operation to its end.
func (s *socket) operate(ctx context.Context, stop context.CancelFunc, id string, payload map[string]jsontext.Value) {
	defer func() {
		if p := recover(); p != nil {
			zerolog.Ctx(ctx).Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("panic in operation")
			e, _ := models.AsError(nil)
			s.decline(ctx, id, e)
		}
		stop()
		s.end(id)
	}()
	req, err := requestFrom(payload)
	if err == nil {
		err = s.h.gate.admit(ctx, s.viewer)
	}
	if err != nil {
		e, known := models.AsError(err)
		if !known {
			zerolog.Ctx(ctx).Error().Err(err).Msg("operation not admitted")
		}
		s.decline(ctx, id, e)
		return
	}
	op, declinedResponse := s.h.prepare(ctx, req)
	if op == nil {
		s.errors(id, declinedResponse.Errors)
		return
	}
	responses, opCtx := s.h.exec.DispatchOperation(ctx, op)
	for resp := responses(opCtx); resp != nil; resp = responses(opCtx) {
		if s.next(id, resp) != nil {
			return // the connection is lost, and with it the operation
		}
	}
	if ctx.Err() == nil && s.end(id) {
		_ = s.write(frame("complete", id, nil))
	}
}

// end forgets an operation and says whether it was still known: one that the
// client has completed gets no answer.
func (s *socket) end(id string) bool {
	s.mu.Lock()
	_, known := s.ops[id]
	delete(s.ops, id)
	last := s.draining && len(s.ops) == 0
	s.mu.Unlock()
	if last && !known {
		s.close(websocket.StatusServiceRestart, "Shutting down")
	}
	return known
}

func (s *socket) next(id string, resp *graphql.Response) error {
	return s.write(frame("next", id, appendResponse(nil, resp)))
}

// decline answers a subscribe message with one error, and says whether the
// connection goes on.
func (s *socket) decline(ctx context.Context, id string, e *models.Error) bool {
	return s.errors(id, gqlerror.List{shown(ctx, e)})
}

func (s *socket) errors(id string, list gqlerror.List) bool {
	b, err := json.Marshal(list)
	if err != nil {
		b = []byte(`[{"message":"The errors could not be encoded."}]`)
	}
	return s.write(frame("error", id, b)) == nil
}

// write sends a frame within the write deadline. A failure ends the connection,
// and with it all its operations.
func (s *socket) write(text []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.h.cfg.WriteTimeout)
	defer cancel()
	err := s.conn.Write(ctx, websocket.MessageText, text)
	if err != nil {
		s.cancel()
	}
	return err
}

// ping finds out whether the client is still there, by websocket pings, which
// browsers answer by themselves.
func (s *socket) ping() {
	tick := time.NewTicker(s.h.cfg.PingInterval)
	defer tick.Stop()
	for unanswered := 0; unanswered < unansweredPingsAllowed; {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(s.ctx, s.h.cfg.PingInterval)
		if s.conn.Ping(ctx) == nil {
			unanswered = 0
		} else {
			unanswered++
		}
		cancel()
	}
	s.cancel()
}

// close ends the connection with a code. The handshake waits for the peer, so
// it does not hold the caller up.
func (s *socket) close(code websocket.StatusCode, reason string) {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		s.running.Go(func() {
			_ = s.conn.Close(code, clipped(reason))
			s.cancel()
		})
	}
}

// drain lets running operations finish and then ends the connection.
func (s *socket) drain() {
	s.mu.Lock()
	s.draining = true
	idle := len(s.ops) == 0
	s.mu.Unlock()
	if idle {
		s.close(websocket.StatusServiceRestart, "Shutting down")
	}
}

func decodeMessage(text []byte) (*message, error) {
	members, err := decodeObject(text)
	if err != nil {
		return nil, err
	}
	m := &message{payload: members["payload"]}
	if m.kind, err = stringMember(members, "type"); err != nil {
		return nil, err
	}
	m.id, err = stringMember(members, "id")
	return m, err
}

// frame writes a message.
func frame(kind, id string, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+len(id)+48)
	b = append(append(append(b, `{"type":"`...), kind...), '"')
	if id != "" {
		b = append(b, `,"id":`...)
		b, _ = jsontext.AppendQuote(b, id)
	}
	if len(payload) > 0 {
		b = append(append(b, `,"payload":`...), payload...)
	}
	return append(b, '}')
}

func clipped(reason string) string {
	if len(reason) > maxCloseReason {
		reason = strings.ToValidUTF8(reason[:maxCloseReason], "")
	}
	return reason
}
