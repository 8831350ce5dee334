package coaitest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

func TestClientThatLeavesIsAccounted(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		gone := make(chan time.Time, 1)
		wait := func(c *coaitest.Call) {
			<-c.Gone
			gone <- time.Now()
		}
		up := coaitest.NewUpstream(t)
		p.Channel(up, nil)
		key := p.UserKey(nil)
		within := func(t *testing.T, left time.Time) {
			t.Helper()
			if took := (<-gone).Sub(left); took > 100*time.Millisecond {
				t.Errorf("the upstream heard of it after %s", took)
			}
		}
		t.Run("REST stream", func(t *testing.T) {
			up.Then(func(w http.ResponseWriter, c *coaitest.Call) {
				coaitest.StartEvents(w)
				coaitest.Event(w, coaitest.FirstChunk)
				coaitest.Event(w, coaitest.Chunk("some words that were produced"))
				wait(c)
			})
			ctx, leave := context.WithCancel(t.Context())
			s := coaitest.NewEventStream(t, p.Open(ctx, "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true})))
			s.Next()
			s.Next()
			left := time.Now()
			leave()
			within(t, left)
			r := p.Usage(1)[0]
			if r.ErrorCode != "client_closed_request" || !r.Estimated || r.PromptTokens == 0 || r.CompletionTokens < 4 || r.CompletionTokens > 6 {
				t.Errorf("record = %+v", r)
			}
		})
		t.Run("REST", func(t *testing.T) {
			asked := make(chan struct{})
			up.Then(func(_ http.ResponseWriter, c *coaitest.Call) { close(asked); wait(c) })
			ctx, leave := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/v1/chat/completions", strings.NewReader(`{"model":"gpt-test","messages":[{"role":"user","content":"hi"}]}`))
			req.Header.Set("Authorization", "Bearer "+key)
			req.Header.Set("Content-Type", "application/json")
			failed := make(chan error, 1)
			go func() {
				res, err := p.Client.Do(req)
				if err == nil {
					_ = res.Body.Close()
				}
				failed <- err
			}()
			<-asked
			left := time.Now()
			leave()
			within(t, left)
			if err := <-failed; err == nil {
				t.Error("an answer for a client that left")
			}
			if r := p.Usage(2)[1]; r.ErrorCode != "client_closed_request" || r.PromptTokens == 0 || r.CompletionTokens != 0 {
				t.Errorf("record = %+v", r)
			}
		})
		t.Run("websocket", func(t *testing.T) {
			up.Then(func(w http.ResponseWriter, c *coaitest.Call) {
				coaitest.StartEvents(w)
				coaitest.Event(w, coaitest.FirstChunk)
				coaitest.Event(w, coaitest.Chunk("produced"))
				wait(c)
			})
			s := p.Socket(key)
			s.Subscribe("1", `subscription { chatCompletion(input: {model: "gpt-test", messages: [{role: USER, content: {text: "hi"}}]}) { sequence } }`, nil)
			for range 2 {
				if m, err := s.Receive(); err != nil || m.Type != "next" {
					t.Fatalf("%+v, %v", m, err)
				}
			}
			left := time.Now()
			s.Send(coaitest.SocketMessage{ID: "1", Type: "complete"})
			within(t, left)
			if r := p.Usage(3)[2]; r.ErrorCode != "client_closed_request" || r.CompletionTokens == 0 {
				t.Errorf("record = %+v", r)
			}
		})
	})
}

func TestFailoverBeforeTheFirstByte(t *testing.T) {
	for name, broken := range map[string]coaitest.Reply{
		"500":           coaitest.Status(500, "application/json", `{"error":{"message":"oops","type":"server_error","param":null,"code":null}}`),
		"429":           coaitest.Status(429, "application/json", `{"error":{"message":"slow down","type":"rate_limit","param":null,"code":"rate_limit_exceeded"}}`, "Retry-After", "1"),
		"401":           coaitest.Status(401, "application/json", `{"error":{"message":"bad key `+coaitest.UpstreamKey+`","type":"x","param":null,"code":"invalid_api_key"}}`),
		"HTML":          coaitest.Status(200, "text/html", "<html>hello</html>"),
		"closes":        func(w http.ResponseWriter, _ *coaitest.Call) { panic(http.ErrAbortHandler) },
		"empty":         coaitest.Status(200, "text/event-stream", ""),
		"error event":   coaitest.Events(`{"error":{"message":"overloaded","type":"server_error","param":null,"code":null}}`),
		"unknown model": coaitest.Status(404, "application/json", `{"error":{"message":"The model gpt-test does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			p := coaitest.Start(t, coaitest.Backends{})
			bad, good := coaitest.NewUpstream(t, broken), coaitest.NewUpstream(t)
			p.Channel(bad, object{"priority": 1})
			p.Channel(good, nil)
			key := p.UserKey(nil)
			good.Then(coaitest.Streamed("fine"))
			events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))).All()
			if got := strings.Join(events, ""); !strings.Contains(got, "fine") || !strings.HasSuffix(got, "[DONE]") || strings.Contains(got, "error") {
				t.Errorf("stream: %s", got)
			}
			rows := p.Usage(2)
			if rows[0].ErrorCode == "" || rows[0].CompletionTokens != 0 || rows[0].Cost != 0 || rows[1].ErrorCode != "" || rows[0].RequestID != rows[1].RequestID {
				t.Errorf("records: %+v", rows)
			}
		})
	}
}

func TestNoSecondUpstreamAfterTheFirstByte(t *testing.T) {
	second := coaitest.NewUpstream(t, coaitest.Streamed("again"))
	for name, cut := range map[string]coaitest.Reply{
		"closes": func(w http.ResponseWriter, _ *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			coaitest.Event(w, coaitest.Chunk("half"))
			panic(http.ErrAbortHandler)
		},
		"ends without [DONE]": coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("half")),
		"error event":         coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("half"), `{"error":{"message":"overloaded","type":"server_error","param":null,"code":null}}`),
		"malformed":           coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("half"), `{"choices":[`),
		"stalls": func(w http.ResponseWriter, c *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			coaitest.Event(w, coaitest.Chunk("half"))
			<-c.Gone
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := coaitest.Start(t, coaitest.Backends{})
			p.Channel(second, nil)
			p.Channel(coaitest.NewUpstream(t, cut), object{"priority": 1, "settings": object{"idle_timeout_ms": 300}})
			key := p.UserKey(nil)
			events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true}))).All()
			if events[len(events)-1] == "[DONE]" {
				t.Fatalf("the stream claims to be whole: %v", events)
			}
			last := decode[chunk](t, events[len(events)-1])
			if len(events) != 3 || last.Error == nil || last.Error.Code == "" || strings.Contains(strings.Join(events, ""), "again") {
				t.Errorf("events: %v", events)
			}
			if n := len(second.Calls()); n != 0 {
				t.Errorf("a second upstream was asked %d times", n)
			}
			if r := p.Usage(1)[0]; r.ErrorCode != last.Error.Code || r.CompletionTokens == 0 || !r.Estimated {
				t.Errorf("record = %+v", r)
			}
		})
	}
}

func TestUpstreamFaultsReachClientsAsTheTableSays(t *testing.T) {
	t.Parallel()
	type want struct {
		status      int
		code, param string
	}
	apiError := func(code, param string) string {
		return `{"error":{"message":"said by ` + coaitest.UpstreamKey + ` at https://internal.example/v1","type":"invalid_request_error","param":` + param + `,"code":` + code + `}}`
	}
	for name, c := range map[string]struct {
		reply coaitest.Reply
		want  want
	}{
		"400":            {coaitest.Status(400, "application/json", apiError("null", `"temperature"`)), want{400, "invalid_value", "temperature"}},
		"context length": {coaitest.Status(400, "application/json", apiError(`"context_length_exceeded"`, `"messages"`)), want{400, "context_length_exceeded", "messages"}},
		"content filter": {coaitest.Status(400, "application/json", apiError(`"content_filter"`, "null")), want{400, "content_filter", ""}},
		"401":            {coaitest.Status(401, "application/json", apiError(`"invalid_api_key"`, "null")), want{503, "upstream_error", ""}},
		"429":            {coaitest.Status(429, "application/json", apiError(`"rate_limit_exceeded"`, "null"), "Retry-After", "7"), want{503, "overloaded", ""}},
		"500":            {coaitest.Status(500, "application/json", apiError("null", "null")), want{503, "upstream_error", ""}},
		"HTML 502":       {coaitest.Status(502, "text/html", "<html>Bad gateway "+coaitest.UpstreamKey+"</html>"), want{503, "upstream_error", ""}},
		"HTML 200":       {coaitest.Status(200, "text/html", "<html>Sign in</html>"), want{503, "upstream_error", ""}},
		"not JSON":       {coaitest.Status(200, "application/json", `{"choices":[`), want{503, "upstream_error", ""}},
		"redirect":       {coaitest.Status(302, "text/plain", "", "Location", "http://127.0.0.1:1/"), want{503, "upstream_error", ""}},
		"closes":         {func(http.ResponseWriter, *coaitest.Call) { panic(http.ErrAbortHandler) }, want{503, "upstream_error", ""}},
		"stalls":         {func(_ http.ResponseWriter, c *coaitest.Call) { <-c.Gone }, want{503, "upstream_timeout", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stream := range []bool{false, true} {
				p := coaitest.Start(t, coaitest.Backends{}, "COAI_UPSTREAM_RETRIES=0")
				p.Channel(coaitest.NewUpstream(t, c.reply), object{"settings": object{"first_byte_timeout_ms": 300}})
				key := p.UserKey(nil)
				res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": stream}))
				e := res.Error(t)
				param := ""
				if e.Param != nil {
					param = *e.Param
				}
				if got := (want{res.Status, e.Code, param}); got != c.want {
					t.Errorf("stream %v: got %+v, want %+v", stream, got, c.want)
				}
				for _, secret := range []string{coaitest.UpstreamKey, "internal.example", "127.0.0.1"} {
					if strings.Contains(string(res.Body), secret) {
						t.Errorf("the client sees %s: %s", secret, res.Body)
					}
				}
				if r := p.Usage(1)[0]; r.ErrorCode != c.want.code || r.Cost != 0 || r.CompletionTokens != 0 {
					t.Errorf("record = %+v", r)
				}
				if name != "429" {
					continue
				}
				again := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)) // is not sent while the channel cools down
				if first := res.Header.Get("Retry-After"); first != "7" || again.Error(t).Code != "overloaded" || again.Header.Get("Retry-After") == "" || len(p.Usage(1)) != 1 {
					t.Errorf("Retry-After %q, then %d %s", first, again.Status, again.Body)
				}
			}
		})
	}
}

func TestTenMegabyteLineArrivesWhole(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	big := strings.Repeat("a", 10<<20)
	p.Channel(coaitest.NewUpstream(t, coaitest.Events(coaitest.FirstChunk, coaitest.Chunk(big), coaitest.FinishChunk, coaitest.UsageChunk, coaitest.Done)), nil)
	events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", object{"stream": true}))).All()
	if len(events) != 4 || !strings.Contains(events[1], big) || events[3] != "[DONE]" {
		t.Errorf("%d events", len(events))
	}
}

// The chunks that end an answer go out after the record is committed: whoever
// reads the finish reason finds the record settled.
func TestRecordIsSettledBeforeTheEndGoesOut(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		p.Channel(coaitest.NewUpstream(t, coaitest.Streamed("a", "b")), nil)
		key := p.UserKey(nil)
		for i := range 20 {
			s := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", object{"stream": true})))
			for e, ok := s.Next(); ok; e, ok = s.Next() {
				if strings.Contains(e, `"finish_reason":"stop"`) {
					n, err := p.DB.Read().NewSelect().Model((*models.UsageRecord)(nil)).Where("status = ?", models.UsageSettled).Count(t.Context())
					if err != nil || int(n) != i+1 {
						t.Fatalf("settled records at the finish chunk of stream %d: %d, %v", i, n, err)
					}
				}
			}
		}
	})
}

func TestChannelThatFailsRestsAndOthersServe(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	bad := coaitest.NewUpstream(t, coaitest.Status(500, "text/plain", "no"))
	id := p.Channel(bad, object{"priority": 1})
	p.Channel(coaitest.NewUpstream(t, coaitest.Whole("ok")), nil)
	key := p.UserKey(nil)
	for range 12 {
		if res := p.Do("POST", "/v1/chat/completions", key, ask("gpt-test", nil)); res.Status != 200 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
	}
	if n := len(bad.Calls()); n != 5 {
		t.Errorf("the failing channel was asked %d times", n)
	}
	var c struct {
		Status string
		Health struct {
			State               string
			ConsecutiveFailures int     `json:"consecutive_failures"`
			LastError           *string `json:"last_error"`
		}
	}
	if p.Do("GET", "/v1/channels/"+id, coaitest.AdminKey, nil).JSON(t, &c); c.Status != "unhealthy" || c.Health.State != "unhealthy" || c.Health.ConsecutiveFailures != 5 || c.Health.LastError == nil {
		t.Errorf("channel = %+v", c)
	}
}

func TestDrainFinishesStreamsAndRefusesNewRequests(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	release := make(chan struct{})
	p.Channel(coaitest.NewUpstream(t, func(w http.ResponseWriter, _ *coaitest.Call) {
		coaitest.StartEvents(w)
		coaitest.Event(w, coaitest.FirstChunk)
		<-release
		coaitest.Event(w, coaitest.FinishChunk)
		coaitest.Event(w, coaitest.UsageChunk)
		coaitest.Event(w, coaitest.Done)
	}), nil)
	s := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", p.UserKey(nil), ask("gpt-test", object{"stream": true})))
	s.Next()
	stopped := make(chan struct{})
	go func() { p.Stop(); close(stopped) }()
	coaitest.Eventually(t, "new requests are refused", func() bool {
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(p.URL + "/v1/models")
		if err != nil {
			return true // the listener is closed
		}
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == http.StatusServiceUnavailable
	})
	close(release)
	rest := s.All()
	if len(rest) != 2 || rest[1] != "[DONE]" {
		t.Errorf("the stream ended with %v", rest)
	}
	<-stopped
}
