package graph

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coaidev/coai/models"
)

func TestWebsocketOperationsAreRateLimited(t *testing.T) {
	w := newWorld(t)
	one := 1
	limits := models.UpdatePlanInput{RequestsPerMinute: &one, RequestsPerHour: &one, RequestsPerDay: &one}
	ctx := models.WithViewer(t.Context(), w.admin)
	if _, err := Outcome(w.resolver.Mutation().UpdatePlan(ctx, models.TierFree, limits)); err != nil {
		t.Fatal(err)
	}
	_, key := w.user("user@example.com")
	c := connect(t, w.serve(w.handler(HandlerConfig{})))
	c.send(`{"type":"connection_init","payload":{"apiKey":"` + key + `"}}`)
	c.expect(`{"type":"connection_ack"}`)
	c.subscribe("1", `{__typename}`)
	c.expect(`{"type":"next","id":"1","payload":{"data":{"__typename":"Query"}}}`)
	c.expect(`{"type":"complete","id":"1"}`)
	c.subscribe("2", `{__typename}`)
	p := c.failure("2")
	if p.Extensions.Code != models.CodeRateLimitExceeded || p.Extensions.Type != "rate_limit_error" || p.Extensions.RetryAfterMS <= 0 || !strings.Contains(p.Message, "day") {
		t.Errorf("got %+v", p)
	}
	c.send(`{"type":"ping"}`) // the connection lives on
	c.expect(`{"type":"pong"}`)
}

func TestWebsocketRunsSoManyOperationsAtATime(t *testing.T) {
	w := newWorld(t)
	silent := &endless{silent: true, stopped: make(chan struct{}, 10)}
	c := signedIn(t, w.serve(w.handler(HandlerConfig{MaxOperations: 3}, stubRoot{Resolver: w.resolver, subscription: silent})))
	for i := range 3 {
		c.subscribe(fmt.Sprint(i), endlessly)
	}
	silent.await(t, 3)
	c.subscribe("3", endlessly)
	if p := c.failure("3"); p.Extensions.Code != models.CodeRateLimitExceeded {
		t.Errorf("got %+v", p)
	}
	c.send(`{"type":"complete","id":"0"}`)
	<-silent.stopped
	eventually(t, "room for another", func() bool {
		c.subscribe("q", `{__typename}`)
		if m := c.next(); m.Type != "next" {
			return false
		}
		return c.next().Type == "complete"
	})
}

func TestCompleteCancelsTheOperationAndFreesItsID(t *testing.T) {
	w := newWorld(t)
	silent := &endless{silent: true, stopped: make(chan struct{}, 10)}
	c := signedIn(t, w.serve(w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, subscription: silent})))
	for range 3 {
		c.subscribe("same", endlessly)
		c.send(`{"type":"complete","id":"same"}`)
	}
	c.subscribe("same", `{__typename}`)
	c.expect(`{"type":"next","id":"same","payload":{"data":{"__typename":"Query"}}}`)
	c.expect(`{"type":"complete","id":"same"}`)
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`) // no complete for what the client has completed
}

func TestWebsocketPanicsAreMasked(t *testing.T) {
	w := newWorld(t)
	c := signedIn(t, w.serve(w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver,
		subscription: streamFunc(func(context.Context, models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error) {
			panic("kaboom")
		})})))
	c.subscribe("1", endlessly)
	if m := c.next(); m.ID != "1" || !strings.Contains(string(m.Payload), models.CodeInternal) || strings.Contains(string(m.Payload), "kaboom") {
		t.Errorf("got %s", m.Payload)
	}
	if !strings.Contains(w.logs.String(), "kaboom") {
		t.Errorf("not in the log: %s", w.logs)
	}
}

// The server's goroutine of an operation panics outside of what gqlgen guards.
func TestPanicInTheGateEndsTheOperationAlone(t *testing.T) {
	w := newWorld(t)
	var calls atomic.Int32
	h := newHandler(executable(w.resolver), HandlerConfig{}, gate{
		authenticate: w.resolver.accounts.Authenticate,
		admit: func(context.Context, *models.Viewer) error {
			if calls.Add(1) == 1 {
				panic("kaboom")
			}
			return nil
		},
	})
	c := signedIn(t, w.serve(h))
	c.subscribe("1", `{__typename}`)
	if p := c.failure("1"); p.Extensions.Code != models.CodeInternal || strings.Contains(p.Message, "kaboom") {
		t.Errorf("got %+v", p)
	}
	c.subscribe("1", `{__typename}`)
	c.expect(`{"type":"next","id":"1","payload":{"data":{"__typename":"Query"}}}`)
}
