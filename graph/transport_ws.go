package graph

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// subprotocol is the one that websockets speak.
// https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
const subprotocol = "graphql-transport-ws"

// The protocol's close codes.
const (
	closeBadMessage       = websocket.StatusCode(4400)
	closeUnauthorized     = websocket.StatusCode(4401)
	closeForbidden        = websocket.StatusCode(4403)
	closeBadSubprotocol   = websocket.StatusCode(4406)
	closeInitTimeout      = websocket.StatusCode(4408)
	closeSubscriberExists = websocket.StatusCode(4409)
	closeTooManyInit      = websocket.StatusCode(4429)
)

const (
	maxStrangerMessage = 64 << 10 // bytes of a message before the client has signed in
	maxReplies         = 64       // answers to messages that may wait for a client that does not read
	maxUnanswered      = 2        // pings
)

// serveWebsocket accepts a websocket and serves it to its end.
func (h *Handler) serveWebsocket(w http.ResponseWriter, r *http.Request) {
	if h.sockets.draining() {
		e := models.Unavailable(models.CodeShuttingDown, "This server is shutting down. Try again.")
		e.Retry = time.Second
		WriteError(w, r, e)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, OriginPatterns: h.cfg.Origins,
	})
	if err != nil {
		return // Accept has answered
	}
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	s := &socket{
		h: h, conn: conn, ctx: ctx, end: end,
		from: h.cfg.ClientAddr(r), secret: headerCredential(r.Header),
		replies: make(chan []byte, maxReplies), operations: make(map[string]*operation),
	}
	s.viewer.Store(models.ViewerFrom(ctx))
	if !h.sockets.add(s) {
		s.close(websocket.StatusServiceRestart, "Shutting down")
	}
	defer h.sockets.remove(s)
	if conn.Subprotocol() != subprotocol {
		s.close(closeBadSubprotocol, "Subprotocol not acceptable")
	}
	s.serve()
}

// socket is one connection. One goroutine, that of the HTTP handler, reads; it
// never writes, so that a client that does not read can still complete its
// operations. Another writes the answers and the pings, and each operation writes
// its own results.
type socket struct {
	h      *Handler
	conn   *websocket.Conn
	from   netip.Addr
	ctx    context.Context         // ends with the connection
	end    context.CancelCauseFunc // ends it; a *farewell says how
	work   sync.WaitGroup          // all goroutines but the reading one
	secret string                  // the API key, to be checked again; set before acknowledged

	initialised  bool // for the reading goroutine
	acknowledged atomic.Bool
	viewer       atomic.Pointer[models.Viewer]
	unanswered   atomic.Int32 // pings
	replies      chan []byte

	mu         sync.Mutex
	operations map[string]*operation // by the client's id, until completed by either side
	running    int                   // operations whose goroutine has not ended
	draining   bool
}

// farewell is why a connection ends.
type farewell struct {
	code   websocket.StatusCode // 0: without the closing handshake, because the peer is lost
	reason string
}

func (f *farewell) Error() string { return f.reason }

// serve returns when the connection and all its goroutines have ended.
func (s *socket) serve() {
	closed := make(chan struct{})
	context.AfterFunc(s.ctx, func() {
		defer close(closed)
		s.sayFarewell()
	})
	initTimer := time.AfterFunc(s.h.cfg.InitTimeout, func() { s.close(closeInitTimeout, "Connection initialisation timeout") })
	defer initTimer.Stop()
	s.conn.SetReadLimit(maxStrangerMessage)
	s.work.Go(s.keep)

	// Cancelling a read cuts the connection; the farewell is to end it properly.
	ctx := context.WithoutCancel(s.ctx)
	for {
		kind, text, err := s.conn.Read(ctx)
		if err != nil {
			break
		}
		if s.ctx.Err() != nil {
			continue // closing: what still comes is of no interest
		}
		if kind != websocket.MessageText {
			s.close(closeBadMessage, "Messages must be text")
			continue
		}
		s.handle(text)
		if s.acknowledged.Load() {
			initTimer.Stop()
		}
	}
	s.end(nil)
	s.work.Wait()
	<-closed
}

// sayFarewell ends the connection as the context's cause says. An end that
// came from outside is that of the server.
func (s *socket) sayFarewell() {
	f := &farewell{websocket.StatusServiceRestart, "Shutting down"}
	_ = errors.As(context.Cause(s.ctx), &f)
	if f.code == 0 {
		_ = s.conn.CloseNow()
		return
	}
	_ = s.conn.Close(f.code, clip(f.reason))
}

// close begins the end of the connection; its operations are cancelled at once.
func (s *socket) close(code websocket.StatusCode, reason string) {
	s.end(&farewell{code, reason})
}

// handle deals with a message. It must not wait for the client.
func (s *socket) handle(text []byte) {
	m, err := decodeMessage(text)
	if err != nil {
		s.close(closeBadMessage, "Invalid message")
		return
	}
	switch m.kind {
	case "connection_init":
		s.initialise(m)
	case "ping":
		s.reply(frame("pong", "", m.payload))
	case "pong":
	case "subscribe":
		s.subscribe(m)
	case "complete":
		s.complete(m.id)
	default:
		s.close(closeBadMessage, "Invalid message type")
	}
}

// initialise signs in: by the API key in the payload, or as whom the server has
// taken the upgrade for.
func (s *socket) initialise(m *message) {
	if s.initialised {
		s.close(closeTooManyInit, "Too many initialisation requests")
		return
	}
	s.initialised = true
	secret, err := payloadCredential(m.payload)
	if err != nil {
		s.close(closeBadMessage, "The payload of connection_init must be an object")
		return
	}
	if secret != "" {
		s.secret = secret
		if err := s.authenticate(); err != nil {
			s.reject(err)
			return
		}
	}
	if s.viewer.Load() == nil {
		s.close(closeForbidden, models.CodeMissingAPIKey)
		return
	}
	s.acknowledged.Store(true)
	s.conn.SetReadLimit(s.h.cfg.MaxBody)
	s.reply(frame("connection_ack", "", nil))
}

// authenticate finds out who the client is, and whether its key still counts.
// Without a key the server in front knows the viewer by other means.
func (s *socket) authenticate() error {
	if s.secret == "" {
		return s.renewSession()
	}
	v, err := s.h.gate.authenticate(s.ctx, s.secret, s.from)
	if err != nil {
		return err
	}
	s.viewer.Store(v)
	return nil
}

// renewSession checks the session of the upgrade's cookie again. Without one
// somebody else answers for the viewer.
func (s *socket) renewSession() error {
	renew := models.ClientFrom(s.ctx).Renew
	if renew == nil {
		return nil
	}
	v, err := renew(s.ctx)
	if err != nil {
		return err
	}
	s.viewer.Store(v)
	return nil
}

// reject ends the connection because its key does not count, or could not be
// checked.
func (s *socket) reject(err error) {
	e, known := models.AsError(err)
	if !known || e.Kind == models.KindInternal || e.Kind == models.KindUnavailable {
		zerolog.Ctx(s.ctx).Error().Err(err).Msg("websocket could not sign in")
		s.close(websocket.StatusTryAgainLater, e.Code)
		return
	}
	s.close(closeForbidden, e.Code)
}

// renew ends the connection when its key has been revoked or has expired.
func (s *socket) renew() {
	err := s.authenticate()
	if e, known := models.AsError(err); known && (e.Kind == models.KindUnauthenticated || e.Kind == models.KindForbidden) {
		s.close(closeForbidden, e.Code)
	}
}

// reply queues an answer to a message.
func (s *socket) reply(text []byte) {
	select {
	case s.replies <- text:
	default:
		s.end(&farewell{reason: "too many messages without reading the answers"})
	}
}

// keep writes the replies, pings the client, and ends with the connection.
func (s *socket) keep() {
	tick := time.NewTicker(s.h.cfg.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case text := <-s.replies:
			_ = s.write(text)
		case <-tick.C:
			if s.unanswered.Load() >= maxUnanswered {
				s.end(&farewell{reason: "no answer to pings"})
				return
			}
			s.unanswered.Add(1)
			s.work.Go(s.ping)
		}
	}
}

// ping sends a websocket ping, which clients answer by themselves, and waits
// for the answer.
func (s *socket) ping() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 2*s.h.cfg.PingInterval)
	defer cancel()
	if s.conn.Ping(ctx) == nil {
		s.unanswered.Store(0)
	}
	if s.acknowledged.Load() {
		s.renew()
	}
}

// write sends a frame within the write deadline. A failure ends the connection,
// and so cancels its operations.
func (s *socket) write(text []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.h.cfg.WriteTimeout)
	defer cancel()
	err := s.conn.Write(ctx, websocket.MessageText, text)
	if err != nil {
		s.end(&farewell{reason: "a frame could not be written"})
	}
	return err
}
