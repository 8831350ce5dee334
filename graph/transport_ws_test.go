package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/coaidev/coai/models"
)

// client is the other end of a websocket.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

func connect(t *testing.T, srv *httptest.Server, headers ...string) *client {
	t.Helper()
	opts := &websocket.DialOptions{Subprotocols: []string{subprotocol}, HTTPClient: srv.Client(), HTTPHeader: http.Header{}}
	for i := 0; i+1 < len(headers); i += 2 {
		opts.HTTPHeader.Set(headers[i], headers[i+1])
	}
	conn, res, err := websocket.Dial(t.Context(), srv.URL, opts)
	if err != nil {
		t.Fatalf("connect: %v (%v)", err, res)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(-1)
	return &client{t, conn}
}

// signedIn is a client past connection_ack.
func signedIn(t *testing.T, srv *httptest.Server) *client {
	t.Helper()
	c := connect(t, srv)
	c.send(`{"type":"connection_init","payload":{"authorization":"Bearer ` + adminKey + `"}}`)
	c.expect(`{"type":"connection_ack"}`)
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) subscribe(id, query string) {
	c.t.Helper()
	c.send(`{"id":` + quote(id) + `,"type":"subscribe","payload":{"query":` + quote(query) + `}}`)
}

func (c *client) receive() (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	return string(b), err
}

// next is the next message, which must come.
func (c *client) next() (m struct {
	ID, Type string
	Payload  json.RawMessage
}) {
	c.t.Helper()
	text, err := c.receive()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) expect(want string) {
	c.t.Helper()
	if got, err := c.receive(); err != nil || got != want {
		c.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// closed reads up to the end and gives its code and reason.
func (c *client) closed() (websocket.StatusCode, string) {
	c.t.Helper()
	for {
		_, err := c.receive()
		if err == nil {
			continue
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) {
			c.t.Fatalf("the connection broke: %v", err)
		}
		return ce.Code, ce.Reason
	}
}

func (c *client) failure(id string) problem {
	c.t.Helper()
	m := c.next()
	var list []problem
	if err := json.Unmarshal(m.Payload, &list); err != nil || m.Type != "error" || m.ID != id || len(list) != 1 {
		c.t.Fatalf("got %+v, %s", m, m.Payload)
	}
	return list[0]
}

// open is the number of open sockets.
func open(h *Handler) int {
	h.sockets.mu.Lock()
	defer h.sockets.mu.Unlock()
	return len(h.sockets.open)
}

func TestWebsocketStreams(t *testing.T) {
	w := newWorld(t)
	c := signedIn(t, w.serve(w.handler(HandlerConfig{})))
	c.subscribe(`a "1"`, streamHello)
	text, tokens := "", 0
	for i := 0; ; i++ {
		m := c.next()
		if m.ID != `a "1"` {
			t.Fatalf("got %+v", m)
		}
		if m.Type == "complete" {
			break
		}
		var e streamed
		if err := json.Unmarshal(m.Payload, &e); err != nil || m.Type != "next" || e.Data.ChatCompletion.Sequence != i {
			t.Fatalf("got %s (%v)", m.Payload, err)
		}
		for _, choice := range e.Data.ChatCompletion.Choices {
			text += choice.Delta.Content
		}
		if u := e.Data.ChatCompletion.Usage; u != nil {
			tokens = u.TotalTokens
		}
	}
	if text != "hello there" || tokens == 0 {
		t.Errorf("text %q, tokens %d", text, tokens)
	}

	c.subscribe("q", `{viewer{role}}`)
	c.expect(`{"type":"next","id":"q","payload":{"data":{"viewer":{"role":"ADMIN"}}}}`)
	c.expect(`{"type":"complete","id":"q"}`)
	c.subscribe("m", `mutation{updateViewer(input:{name:"x"}){viewer{name}}}`)
	c.expect(`{"type":"next","id":"m","payload":{"data":{"updateViewer":{"viewer":{"name":"x"}}}}}`)
	c.expect(`{"type":"complete","id":"m"}`)
	c.send(`{"type":"ping","payload":{"n":1}}`)
	c.expect(`{"type":"pong","payload":{"n":1}}`)
	c.send(`{"type":"pong"}`)
	c.send(`{"type":"complete","id":"nobody"}`)
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
	if !strings.Contains(w.logs.String(), `"kind":"subscription"`) {
		t.Errorf("the operation is not in the log: %s", w.logs)
	}
}

func TestWebsocketErrors(t *testing.T) {
	w := newWorld(t)
	c := signedIn(t, w.serve(w.handler(HandlerConfig{})))
	ids := map[string]bool{}
	for name, q := range map[string]struct{ query, code string }{
		"parse":    {`{`, "GRAPHQL_PARSE_FAILED"},
		"validate": {`{nonesuch}`, "GRAPHQL_VALIDATION_FAILED"},
		"guard":    {nested(20), "GRAPHQL_VALIDATION_FAILED"},
		"skipped":  {`subscription{chatCompletion(input:{model:"echo",messages:[]})@skip(if:true){id}}`, "GRAPHQL_VALIDATION_FAILED"},
		"spread":   {`subscription{...a} fragment a on Subscription{...@include(if:false){chatCompletion(input:{model:"echo",messages:[]}){id}}}`, "GRAPHQL_VALIDATION_FAILED"},
		"fields":   {`subscription{a:chatCompletion(input:{model:"echo",messages:[]}){id} b:chatCompletion(input:{model:"echo",messages:[]}){id}}`, "GRAPHQL_VALIDATION_FAILED"},
	} {
		c.subscribe(name, q.query)
		p := c.failure(name) // and no complete after it: the next message is of the next operation
		if p.Extensions.Code != q.code || ids[p.Extensions.RequestID] || p.Extensions.RequestID == "" {
			t.Errorf("%s: got %+v", name, p)
		}
		ids[p.Extensions.RequestID] = true
	}
	c.subscribe("field", `{model(name:"x"){id}}`)
	if m := c.next(); m.Type != "next" || !strings.Contains(string(m.Payload), `"code":"model_not_found"`) {
		t.Errorf("got %s", m.Payload)
	}
	c.expect(`{"type":"complete","id":"field"}`)
}

func TestWebsocketCloseCodes(t *testing.T) {
	w := newWorld(t)
	_, key := w.user("user@example.com")
	silent := &endless{silent: true, stopped: make(chan struct{}, 10)}
	h := w.handler(HandlerConfig{MaxBody: 100_000}, stubRoot{Resolver: w.resolver, subscription: silent})
	srv := w.serve(h)
	init := `{"type":"connection_init","payload":{"apiKey":"` + key + `"}}`
	sub := `{"id":"1","type":"subscribe","payload":{"query":` + quote(endlessly) + `}}`
	for name, c := range map[string]struct {
		send   []string
		code   websocket.StatusCode
		reason string
	}{
		"not JSON":                      {[]string{`{`}, 4400, "Invalid message"},
		"not an object":                 {[]string{`[]`}, 4400, "Invalid message"},
		"a repeated key":                {[]string{`{"type":"ping","type":"pong"}`}, 4400, "Invalid message"},
		"no type":                       {[]string{`{}`}, 4400, "Invalid message type"},
		"an unknown type":               {[]string{init, `{"type":"start"}`}, 4400, "Invalid message type"},
		"a server's type":               {[]string{init, `{"type":"next","id":"1"}`}, 4400, "Invalid message type"},
		"an init of a string":           {[]string{`{"type":"connection_init","payload":"x"}`}, 4400, "The payload of connection_init must be an object"},
		"an init of an array":           {[]string{`{"type":"connection_init","payload":[]}`}, 4400, "The payload of connection_init must be an object"},
		"an init with a number for key": {[]string{`{"type":"connection_init","payload":{"apiKey":1}}`}, 4400, "The payload of connection_init must be an object"},
		"an init without a key":         {[]string{`{"type":"connection_init"}`}, 4403, "missing_api_key"},
		"an init of null":               {[]string{`{"type":"connection_init","payload":null}`}, 4403, "missing_api_key"},
		"an init with a bad key":        {[]string{`{"type":"connection_init","payload":{"apiKey":"sk-coai-nonesuch"}}`}, 4403, "invalid_api_key"},
		"subscribing first":             {[]string{sub}, 4401, "Unauthorized"},
		"a second init":                 {[]string{init, init}, 4429, "Too many initialisation requests"},
		"an id twice":                   {[]string{init, sub, sub}, 4409, "Subscriber for 1 already exists"},
		"a very long id twice":          {[]string{init, strings.Replace(sub, `"1"`, `"`+strings.Repeat("é", 300)+`"`, 1), strings.Replace(sub, `"1"`, `"`+strings.Repeat("é", 300)+`"`, 1)}, 4409, clip("Subscriber for " + strings.Repeat("é", 300))},
		"no id":                         {[]string{init, `{"type":"subscribe","payload":{"query":"{viewer{id}}"}}`}, 4400, "Invalid message"},
		"an id that is no string":       {[]string{init, `{"id":1,"type":"subscribe","payload":{"query":"{viewer{id}}"}}`}, 4400, "Invalid message"},
		"no payload":                    {[]string{init, `{"id":"1","type":"subscribe"}`}, 4400, "Invalid message"},
		"a payload without a query":     {[]string{init, `{"id":"1","type":"subscribe","payload":{}}`}, 4400, "Invalid message"},
		"variables that are no object":  {[]string{init, `{"id":"1","type":"subscribe","payload":{"query":"{viewer{id}}","variables":1}}`}, 4400, "Invalid message"},
		"too large for a stranger":      {[]string{`{"type":"ping","payload":"` + strings.Repeat("x", maxStrangerMessage) + `"}`}, 1009, ""},
		"too large":                     {[]string{init, `{"type":"ping","payload":"` + strings.Repeat("x", 100_000) + `"}`}, 1009, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := connect(t, srv)
			for i, text := range c.send {
				client.send(text)
				if text == init && i < len(c.send)-1 && c.code != 4429 {
					client.expect(`{"type":"connection_ack"}`)
				}
			}
			code, reason := client.closed()
			if code != c.code || c.reason != "" && reason != c.reason {
				t.Errorf("got %d %q, want %d %q", code, reason, c.code, c.reason)
			}
		})
	}
	t.Run("binary", func(t *testing.T) {
		c := connect(t, srv)
		if err := c.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"ping"}`)); err != nil {
			t.Fatal(err)
		}
		if code, _ := c.closed(); code != 4400 {
			t.Errorf("got %d", code)
		}
	})
	t.Run("another subprotocol", func(t *testing.T) {
		conn, _, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{Subprotocols: []string{"graphql-ws"}, HTTPClient: srv.Client()})
		if err != nil {
			t.Fatal(err)
		}
		if code, reason := (&client{t, conn}).closed(); code != 4406 || reason != "Subprotocol not acceptable" {
			t.Errorf("got %d %q", code, reason)
		}
	})
	eventually(t, "no socket left", func() bool { return open(h) == 0 })
}

func TestWebsocketThatDoesNotSignInIsClosed(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{InitTimeout: 20 * time.Millisecond}))
	if code, _ := connect(t, srv).closed(); code != 4408 {
		t.Errorf("got %d", code)
	}
	c := signedIn(t, w.serve(w.handler(HandlerConfig{InitTimeout: time.Second})))
	select {
	case <-time.After(1100 * time.Millisecond): // past the time-out
	case <-t.Context().Done():
	}
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
}

func TestWebsocketSignIn(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	_, key := w.user("user@example.com")
	for name, c := range map[string]struct {
		payload string
		header  []string
		email   string
	}{
		"authorization":            {`{"authorization":"Bearer ` + key + `"}`, nil, "user@example.com"},
		"without a scheme":         {`{"authorization":"` + key + `"}`, nil, "user@example.com"},
		"Authorization":            {`{"Authorization":"bearer ` + key + `"}`, nil, "user@example.com"},
		"apiKey":                   {`{"apiKey":"` + key + `","more":[1]}`, nil, "user@example.com"},
		"headers":                  {`{"headers":{"Authorization":"Bearer ` + key + `"}}`, nil, "user@example.com"},
		"the upgrade's header":     {`{}`, []string{"Authorization", "Bearer " + key}, "user@example.com"},
		"no payload":               {`null`, []string{"X-Api-Key", key}, "user@example.com"},
		"the payload wins":         {`{"apiKey":"` + adminKey + `"}`, []string{"Authorization", "Bearer " + key}, "admin@localhost"},
		"an empty key is no key":   {`{"apiKey":"","authorization":null}`, []string{"Api-Key", key}, "user@example.com"},
		"headers that are no help": {`{"headers":[]}`, []string{"Api-Key", key}, "user@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, srv, c.header...)
			conn.send(`{"type":"connection_init","payload":` + c.payload + `}`)
			conn.expect(`{"type":"connection_ack"}`)
			conn.subscribe("1", `{viewer{email}}`)
			conn.expect(`{"type":"next","id":"1","payload":{"data":{"viewer":{"email":"` + c.email + `"}}}}`)
		})
	}
	if strings.Contains(w.logs.String(), key) {
		t.Error("the key is in the log")
	}
}

func TestWebsocketOfARevokedKeyIsClosed(t *testing.T) {
	w := newWorld(t)
	v, _ := w.user("user@example.com")
	for name, cfg := range map[string]HandlerConfig{
		"at the next operation": {},
		"at a ping":             {PingInterval: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := w.resolver.accounts.CreateAPIKey(t.Context(), v, models.CreateAPIKeyInput{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			silent := &endless{silent: true, stopped: make(chan struct{}, 1)}
			c := connect(t, w.serve(w.handler(cfg, stubRoot{Resolver: w.resolver, subscription: silent})))
			c.send(`{"type":"connection_init","payload":{"apiKey":"` + *made.Secret + `"}}`)
			c.expect(`{"type":"connection_ack"}`)
			c.subscribe("1", endlessly)
			silent.await(t, 1)
			if _, err := w.resolver.accounts.DeleteAPIKey(t.Context(), v, made.APIKey.ID); err != nil {
				t.Fatal(err)
			}
			if cfg.PingInterval == 0 {
				c.subscribe("2", `{viewer{email}}`)
			}
			if code, reason := c.closed(); code != 4403 || reason != "revoked_api_key" && reason != "invalid_api_key" {
				t.Errorf("got %d %q", code, reason)
			}
			<-silent.stopped // what was running is cancelled too
		})
	}
}

func TestWebsocketWhoseKeyCannotBeCheckedMayComeAgain(t *testing.T) {
	w := newWorld(t)
	h := newHandler(executable(w.resolver), HandlerConfig{}, gate{
		authenticate: func(context.Context, string, netip.Addr) (*models.Viewer, error) { return nil, errSecret },
		admit:        w.resolver.admit,
	})
	c := connect(t, w.serve(h))
	c.send(`{"type":"connection_init","payload":{"apiKey":"x"}}`)
	if code, reason := c.closed(); code != websocket.StatusTryAgainLater || reason != models.CodeInternal {
		t.Errorf("got %d %q", code, reason)
	}
	if !strings.Contains(w.logs.String(), "secret table") {
		t.Errorf("not in the log: %s", w.logs)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte(`{"id":"1","type":"subscribe","payload":{"query":"{a}","variables":{"b":[1,{"c":null}]}}}`))
	f.Add([]byte(`{"type":"connection_init","payload":{"headers":{"Authorization":"Bearer x"}}}`))
	f.Add([]byte(`{"type":"ping","payload":"\ud83d\ude00"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeMessage(text)
		if err != nil {
			return
		}
		if out := frame(m.kind, m.id, m.payload); m.kind == "ping" && !json.Valid(out) {
			t.Errorf("%s became %s", text, out)
		}
		back, err := decodeMessage(frame("next", m.id, m.payload))
		if err != nil || back.id != m.id || !bytes.Equal(back.payload, m.payload) {
			t.Errorf("%+v became %+v (%v)", m, back, err)
		}
		_, _ = payloadCredential(m.payload)
		_, _ = decodeRequest(m.payload)
	})
}
