package coaitest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/coaidev/coai/internal/providers/sse"
)

// EventStream reads server-sent events from an answer.
type EventStream struct {
	Response *http.Response
	t        testing.TB
	reader   *sse.Reader
}

// NewEventStream reads the answer's events.
func NewEventStream(t testing.TB, res *http.Response) *EventStream {
	t.Helper()
	if ct := res.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("status %d, content type %q, body %q", res.StatusCode, ct, clip(b))
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &EventStream{Response: res, t: t, reader: sse.NewReader(res.Body, 64<<20)}
}

// Next is the data of the next event; ok is false at the end.
func (s *EventStream) Next() (data string, ok bool) {
	s.t.Helper()
	e, err := s.reader.Next()
	if errors.Is(err, io.EOF) {
		return "", false
	}
	if err != nil {
		s.t.Fatalf("read events: %v", err)
	}
	return string(e.Data), true
}

// All are the data of the events to the end.
func (s *EventStream) All() []string {
	s.t.Helper()
	var all []string
	for d, ok := s.Next(); ok; d, ok = s.Next() {
		all = append(all, d)
	}
	return all
}

// Socket is a graphql-transport-ws client.
type Socket struct {
	t    testing.TB
	conn *websocket.Conn
	ctx  context.Context
	late chan SocketMessage // of a wait that was given up
}

// SocketMessage is a message of graphql-transport-ws.
// https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverWebSocket.md
type SocketMessage struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Socket connects and signs in with the key.
func (p *Product) Socket(key string) *Socket {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(p.URL, "http")+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}}) //nolint:bodyclose // Dial documents that it needs none
	if err != nil {
		cancel()
		p.t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	p.t.Cleanup(func() { _ = conn.CloseNow(); cancel() })
	s := &Socket{t: p.t, conn: conn, ctx: ctx}
	payload, _ := json.Marshal(map[string]string{"authorization": "Bearer " + key})
	s.Send(SocketMessage{Type: "connection_init", Payload: payload})
	if m, err := s.Receive(); err != nil || m.Type != "connection_ack" {
		p.t.Fatalf("connection_init: %+v, %v", m, err)
	}
	return s
}

// Send sends a message.
func (s *Socket) Send(m SocketMessage) {
	s.t.Helper()
	if err := wsjson.Write(s.ctx, s.conn, m); err != nil {
		s.t.Fatalf("send %s: %v", m.Type, err)
	}
}

// Receive waits for the next message, answering pings by the way.
func (s *Socket) Receive() (m SocketMessage, err error) {
	for {
		m = SocketMessage{}
		if err := wsjson.Read(s.ctx, s.conn, &m); err != nil {
			return m, err
		}
		if m.Type != "ping" {
			return m, nil
		}
		s.Send(SocketMessage{Type: "pong"})
	}
}

// Subscribe begins an operation.
func (s *Socket) Subscribe(id, query string, variables any) {
	s.t.Helper()
	payload, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Send(SocketMessage{ID: id, Type: "subscribe", Payload: payload})
}

// ReceiveWithin waits that long for the next message. One that comes later is the
// next that is received.
func (s *Socket) ReceiveWithin(wait time.Duration) (m SocketMessage, ok bool) {
	s.t.Helper()
	if s.late == nil {
		s.late = make(chan SocketMessage, 1)
		go func() {
			if m, err := s.Receive(); err == nil {
				s.late <- m
			}
		}()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case m = <-s.late:
		s.late = nil
		return m, true
	case <-timer.C:
		return m, false
	}
}
