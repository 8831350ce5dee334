package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/coaidev/coai/models"
)

func TestWebsocketIsCutWhenNobodyReads(t *testing.T) {
	w := newWorld(t)
	e := &endless{pressing: strings.Repeat("x", 10_000), stopped: make(chan struct{}, 2)}
	h := w.handler(HandlerConfig{WriteTimeout: 100 * time.Millisecond}, stubRoot{Resolver: w.resolver, subscription: e})
	c := signedIn(t, w.serve(h))
	c.subscribe("1", endlessly)
	c.subscribe("2", endlessly)
	<-e.stopped
	<-e.stopped
	sent := e.sent.Load()
	eventually(t, "no socket left", func() bool { return open(h) == 0 })
	if again := e.sent.Load(); again != sent || sent == 0 {
		t.Errorf("%d chunks were made, and %d after the end", sent, again-sent)
	}
}

// While a frame is stuck, what the client says still counts.
func TestStuckWriteDoesNotHoldUpInput(t *testing.T) {
	w := newWorld(t)
	e := &endless{pressing: strings.Repeat("x", 10_000), stopped: make(chan struct{}, 1)}
	h := w.handler(HandlerConfig{WriteTimeout: time.Hour}, stubRoot{Resolver: w.resolver, subscription: e})
	c := signedIn(t, w.serve(h))
	c.subscribe("1", endlessly)
	stuck := int64(-1)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for now := e.sent.Load(); now != stuck || now == 0; now = e.sent.Load() {
		stuck = now
		<-tick.C
	}
	c.send(`{"type":"ping"}`)
	c.send(`{"type":"complete","id":"1"}`)
	select {
	case <-e.stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("the operation goes on")
	}
}

func TestFloodOfPingsWithoutReading(t *testing.T) {
	w := newWorld(t)
	h := w.handler(HandlerConfig{WriteTimeout: time.Hour})
	c := signedIn(t, w.serve(h))
	payload := `{"type":"ping","payload":"` + strings.Repeat("x", 50_000) + `"}`
	for range 2000 {
		if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(payload)); err != nil {
			break // cut off
		}
	}
	eventually(t, "no socket left", func() bool { return open(h) == 0 })
}

func TestWebsocketWithoutPongsIsGivenUp(t *testing.T) {
	w := newWorld(t)
	h := w.handler(HandlerConfig{PingInterval: 10 * time.Millisecond})
	srv := w.serve(h)
	silent := connect(t, srv) // answers pings only while it reads
	alive := signedIn(t, srv)
	_ = silent
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := alive.receive(); err != nil {
				return
			}
		}
	}()
	eventually(t, "one socket left", func() bool { return open(h) == 1 })
	select {
	case <-done:
		t.Error("the one that answers was closed too")
	default:
	}
	_ = alive.conn.CloseNow()
	<-done
}

func TestShutdownLetsOperationsFinish(t *testing.T) {
	w := newWorld(t)
	finish := make(chan struct{})
	root := stubRoot{Resolver: w.resolver, subscription: streamFunc(func(ctx context.Context, _ models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error) {
		out := make(chan *models.ChatCompletionChunk)
		go func() {
			defer close(out)
			out <- models.NewChunk(&models.ChunkBody{ID: "first"})
			<-finish
			out <- models.NewChunk(&models.ChunkBody{ID: "last"})
		}()
		return out, nil
	})}
	h := w.handler(HandlerConfig{}, root)
	srv := w.serve(h)
	idle, busy := signedIn(t, srv), signedIn(t, srv)
	busy.subscribe("1", `subscription{chatCompletion(input:{model:"echo",messages:[]}){id}}`)
	busy.next()
	ended := make(chan error, 1)
	go func() { ended <- h.Shutdown(t.Context()) }()
	if code, _ := idle.closed(); code != websocket.StatusServiceRestart {
		t.Errorf("got %d", code)
	}
	busy.subscribe("2", `{__typename}`)
	if p := busy.failure("2"); p.Extensions.Code != models.CodeShuttingDown {
		t.Errorf("got %+v", p)
	}
	_, res, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{Subprotocols: []string{subprotocol}, HTTPClient: srv.Client()})
	if err == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" {
		t.Errorf("a new socket got %v, %v", res, err)
	}
	close(finish)
	if m := busy.next(); m.Type != "next" || !bytes.Contains(m.Payload, []byte("last")) {
		t.Errorf("got %+v", m)
	}
	busy.expect(`{"type":"complete","id":"1"}`)
	if code, _ := busy.closed(); code != websocket.StatusServiceRestart {
		t.Errorf("got %d", code)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("a second shutdown: %v", err)
	}
}

func TestShutdownCutsOffWhatDoesNotFinish(t *testing.T) {
	w := newWorld(t)
	silent := &endless{silent: true, stopped: make(chan struct{}, 1)}
	h := w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, subscription: silent})
	c := signedIn(t, w.serve(h))
	c.subscribe("1", endlessly)
	silent.await(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.Shutdown(ctx) }()
	if code, _ := c.closed(); code != websocket.StatusServiceRestart {
		t.Errorf("got %d", code)
	}
	<-silent.stopped
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWebsocketOrigins(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{Origins: []string{"https://app.example.com", "*.internal"}}))
	anywhere := w.serve(w.handler(HandlerConfig{Origins: []string{"*"}}))
	for name, c := range map[string]struct {
		srv     *httptest.Server
		origin  string
		allowed bool
	}{
		"the same":       {srv, srv.URL, true},
		"configured":     {srv, "https://app.example.com", true},
		"another scheme": {srv, "http://app.example.com", false},
		"a pattern":      {srv, "http://console.internal", true},
		"another":        {srv, "https://evil.example", false},
		"no browser":     {srv, "", true},
		"any":            {anywhere, "https://evil.example", true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := &websocket.DialOptions{Subprotocols: []string{subprotocol}, HTTPClient: c.srv.Client(), HTTPHeader: http.Header{}}
			if c.origin != "" {
				opts.HTTPHeader.Set("Origin", c.origin)
			}
			conn, res, err := websocket.Dial(t.Context(), c.srv.URL, opts)
			if err == nil {
				_ = conn.CloseNow()
			}
			if (err == nil) != c.allowed || err != nil && res.StatusCode != http.StatusForbidden {
				t.Errorf("got %v, %v", res, err)
			}
		})
	}
}

func TestSubscriptionsLeaveNoGoroutines(t *testing.T) {
	w := newWorld(t)
	silent := &endless{silent: true, stopped: make(chan struct{}, 1000)}
	h := w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, subscription: silent})
	h.gate.admit = func(context.Context, *models.Viewer) error { return nil }
	srv := w.serve(h)
	before := goleak.IgnoreCurrent()
	c := signedIn(t, srv)
	const n = 1000
	for i := range n {
		id := fmt.Sprint(i)
		c.subscribe(id, endlessly)
		c.send(`{"type":"complete","id":"` + id + `"}`)
		if i%40 == 39 { // stay below the number of operations at a time
			c.subscribe("q", `{__typename}`)
			c.next()
			c.next()
			eventually(t, "the others have ended", func() bool {
				h.sockets.mu.Lock()
				defer h.sockets.mu.Unlock()
				for s := range h.sockets.open {
					s.mu.Lock()
					running := s.running
					s.mu.Unlock()
					return running == 0
				}
				return false
			})
		}
	}
	_ = c.conn.Close(websocket.StatusNormalClosure, "")
	eventually(t, "no socket left", func() bool { return open(h) == 0 })
	srv.Client().CloseIdleConnections()
	srv.CloseClientConnections()
	goleak.VerifyNone(t, before)
}

func TestDroppedWebsocketCancelsItsOperations(t *testing.T) {
	w := newWorld(t)
	silent := &endless{silent: true, stopped: make(chan struct{}, 1)}
	c := signedIn(t, w.serve(w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, subscription: silent})))
	c.subscribe("1", endlessly)
	silent.await(t, 1)
	_ = c.conn.CloseNow()
	select {
	case <-silent.stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("the operation goes on")
	}
}
