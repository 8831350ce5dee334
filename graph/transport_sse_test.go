package graph

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/coaidev/coai/models"
)

// events opens an event stream.
func events(ctx context.Context, t *testing.T, srv *httptest.Server, query string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, strings.NewReader(`{"query":`+quote(query)+`}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {mediaEvents}, "Authorization": {"Bearer " + adminKey}}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// lines reads the stream line by line, empty lines left out.
func lines(t *testing.T, res *http.Response) []string {
	t.Helper()
	var all []string
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		if s.Text() != "" {
			all = append(all, s.Text())
		}
	}
	return all
}

const streamHello = `subscription{chatCompletion(input:{model:"echo",messages:[{role:USER,content:{text:"hello there"}}]}){
	sequence id choices{index delta{role content} finishReason} usage{totalTokens} error{code type message retryable}}}`

type streamed struct {
	Data struct {
		ChatCompletion struct {
			Sequence int
			ID       string
			Choices  []struct {
				Delta        struct{ Role, Content string }
				FinishReason *string
			}
			Usage *struct{ TotalTokens int }
			Error *struct {
				Code, Type, Message string
				Retryable           bool
			}
		}
	}
	Errors []problem
}

func TestEventStream(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	res := events(t.Context(), t, srv, streamHello)
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	got := lines(t, res)
	if n := len(got); res.StatusCode != 200 || n < 6 || got[n-2] != "event: complete" || got[n-1] != "data:" {
		t.Fatalf("got %d %q", res.StatusCode, got)
	}
	text, finish, tokens := "", "", 0
	for i := 0; i < len(got)-2; i += 2 {
		data, ok := strings.CutPrefix(got[i+1], "data: ")
		if got[i] != "event: next" || !ok {
			t.Fatalf("got %q, %q", got[i], got[i+1])
		}
		var e streamed
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		c := e.Data.ChatCompletion
		if c.Sequence != i/2 || c.ID == "" || c.Error != nil {
			t.Errorf("got %s", data)
		}
		for _, choice := range c.Choices {
			text += choice.Delta.Content
			if choice.FinishReason != nil {
				finish = *choice.FinishReason
			}
		}
		if c.Usage != nil {
			tokens = c.Usage.TotalTokens
		}
	}
	if text != "hello there" || finish != "STOP" || tokens == 0 {
		t.Errorf("text %q, finish %q, tokens %d", text, finish, tokens)
	}
}

func TestEventStreamOfOtherOperations(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	for name, c := range map[string]struct{ query, data string }{
		"a query":             {`{viewer{role}}`, `{"data":{"viewer":{"role":"ADMIN"}}}`},
		"a mutation":          {`mutation{updateViewer(input:{name:"x"}){viewer{name}}}`, `{"data":{"updateViewer":{"viewer":{"name":"x"}}}}`},
		"a map, on one line":  {`{channels(first:1){nodes{modelMapping}}}`, `{"data":{"channels":{"nodes":[{"modelMapping":{}}]}}}`},
		"a mistake in it":     {`{viewer{nonesuch}}`, `"code":"GRAPHQL_VALIDATION_FAILED"`},
		"a refused beginning": {`subscription{chatCompletion(input:{model:"nonesuch",messages:[{role:USER,content:{text:"x"}}]}){id}}`, `"code":"model_not_found"`},
	} {
		t.Run(name, func(t *testing.T) {
			res := events(t.Context(), t, srv, c.query)
			got := lines(t, res)
			if res.StatusCode != 200 || len(got) != 4 || got[0] != "event: next" || !strings.Contains(got[1], c.data) || got[2] != "event: complete" {
				t.Errorf("got %d %q", res.StatusCode, got)
			}
			if strings.Contains(got[1], `"errors"`) && strings.Contains(got[1], `"data"`) {
				t.Errorf("data beside a request error: %s", got[1])
			}
		})
	}
}

func TestStreamThatFailsEndsInBand(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	query := strings.Replace(streamHello, `model:"echo"`, `model:"echo",metadata:{echo_fail:"mid"}`, 1)
	got := lines(t, events(t.Context(), t, srv, query))
	var last streamed
	if err := json.Unmarshal([]byte(strings.TrimPrefix(got[len(got)-3], "data: ")), &last); err != nil {
		t.Fatal(err)
	}
	e := last.Data.ChatCompletion.Error
	if e == nil || e.Code != models.CodeUpstreamError || e.Type != "service_unavailable_error" || e.Retryable || len(last.Errors) > 0 {
		t.Errorf("got %q", got)
	}
	if got[len(got)-2] != "event: complete" {
		t.Errorf("got %q", got)
	}
}

func TestMalformedRequestForEventsIsAnsweredWithJSON(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	r := do(t, srv, "POST", "/", `{`, "Content-Type", "application/json", "Accept", mediaEvents)
	if r.Status != 400 || r.Header.Get("Content-Type") != toJSON || r.code() != models.CodeInvalidJSON {
		t.Errorf("got %d %s", r.Status, r.Body)
	}
}

// endless is a stream that says something whenever it is let, until its context ends.
type endless struct {
	streamFunc // the other subscriptions

	started  atomic.Int64
	sent     atomic.Int64
	stopped  chan struct{} // receives one for each stream that has ended
	silent   bool
	pressing string // content of each chunk
}

func (e *endless) ChatCompletion(ctx context.Context, _ models.ChatCompletionInput) (<-chan *models.ChatCompletionChunk, error) {
	e.started.Add(1)
	next := func() (*models.ChatCompletionChunk, error) {
		if e.silent {
			<-ctx.Done()
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e.sent.Add(1)
		return models.NewChunk(&models.ChunkBody{ID: "c", Choices: []models.ChunkChoice{{Delta: models.Delta{Content: &e.pressing}}}}), nil
	}
	return pumped(ctx, scripted{next, func() error { e.stopped <- struct{}{}; return nil }})
}

// await waits until so many streams have begun.
func (e *endless) await(t *testing.T, n int64) {
	t.Helper()
	eventually(t, "streams that have begun", func() bool { return e.started.Load() >= n })
}

const endlessly = `subscription{chatCompletion(input:{model:"echo",messages:[]}){id choices{delta{content}}}}`

func TestLeavingAnEventStreamCancelsIt(t *testing.T) {
	w := newWorld(t)
	e := &endless{silent: true, stopped: make(chan struct{}, 1)}
	srv := w.serve(w.handler(HandlerConfig{}, stubRoot{Resolver: w.resolver, subscription: e}))
	ctx, leave := context.WithCancel(t.Context())
	res := events(ctx, t, srv, endlessly)
	if res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	leave()
	select {
	case <-e.stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("the stream goes on")
	}
}

func TestSilentEventStreamIsKeptAlive(t *testing.T) {
	w := newWorld(t)
	e := &endless{silent: true, stopped: make(chan struct{}, 1)}
	srv := w.serve(w.handler(HandlerConfig{KeepAlive: 5 * time.Millisecond}, stubRoot{Resolver: w.resolver, subscription: e}))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	s := bufio.NewScanner(events(ctx, t, srv, endlessly).Body)
	for range 3 {
		if !s.Scan() || s.Text() != ": keep-alive" || !s.Scan() || s.Text() != "" {
			t.Fatalf("got %q", s.Text())
		}
	}
	leave()
	<-e.stopped
}

// A client that does not read is cut off by the deadline of one write; what its
// stream still makes after that is at most what the buffers hold.
func TestEventStreamIsCutWhenNobodyReads(t *testing.T) {
	w := newWorld(t)
	e := &endless{pressing: strings.Repeat("x", 10_000), stopped: make(chan struct{}, 1)}
	h := w.handler(HandlerConfig{WriteTimeout: 100 * time.Millisecond}, stubRoot{Resolver: w.resolver, subscription: e})
	handlerReturned := make(chan struct{})
	srv := w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer close(handlerReturned)
		h.ServeHTTP(rw, r)
	}))
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	body := `{"query":` + quote(endlessly) + `}`
	req := httptest.NewRequest("POST", srv.URL, strings.NewReader(body))
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {mediaEvents}, "Authorization": {"Bearer " + adminKey}}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.stopped:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream goes on")
	}
	<-handlerReturned
	if n := e.sent.Load(); n == 0 {
		t.Error("nothing was sent")
	}
}

func TestEventStreamsLeaveNoGoroutines(t *testing.T) {
	w := newWorld(t)
	e := &endless{pressing: "x", stopped: make(chan struct{}, 200)}
	srv := w.serve(w.handler(HandlerConfig{KeepAlive: time.Millisecond}, stubRoot{Resolver: w.resolver, subscription: e}))
	before := goleak.IgnoreCurrent()
	for range 200 {
		ctx, leave := context.WithCancel(t.Context())
		res := events(ctx, t, srv, endlessly)
		_, _ = bufio.NewReader(res.Body).ReadString('\n')
		leave()
		<-e.stopped
		_ = res.Body.Close()
	}
	srv.Client().CloseIdleConnections()
	srv.CloseClientConnections()
	goleak.VerifyNone(t, before)
}
