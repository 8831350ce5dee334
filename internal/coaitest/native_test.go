package coaitest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// nativeMessage is a request with what no chat completion has a word for. Its
// values keep their spaces.
func nativeMessage(model string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":100,"system":[{ "type":"text","text":"Be kind.","cache_control":{"type":"ephemeral", "ttl":"1h"}}],`+
		`"messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":[{"type":"thinking","thinking":"Hm.","signature":"EqQBCgIYAhIM"},{"type":"redacted_thinking","data":"AAA="},{"type":"text","text":"Hi"}]},{"role":"user","content":"More"}],`+
		`"tools":[{"type":"web_search_20250305","name":"web_search"}],"thinking":{"type":"enabled","budget_tokens":1024},"context_management":{"edits":[ ]},"stream":%t}`, model, stream)
}

func anthropicChannel(p *coaitest.Product, u *coaitest.Upstream, more object) string {
	in := object{"name": "anthropic", "type": "anthropic", "base_url": u.URL}
	for k, v := range more {
		in[k] = v
	}
	return p.Channel(u, in)
}

func answers(d coaitest.Dialect, a coaitest.Answer) coaitest.Reply {
	return func(w http.ResponseWriter, c *coaitest.Call) { d.Say(w, c, a) }
}

func setPricing(t *testing.T, p *coaitest.Product, pricing string) {
	t.Helper()
	save := `mutation { saveModel(input: {name: "gpt-test", pricing: {` + pricing + `}}) { userErrors { message } } }`
	if errs := p.GraphQL(coaitest.AdminKey, save, nil, nil); len(errs) > 0 {
		t.Fatal(errs)
	}
}

// Channels that speak Anthropic's language get the client's own bytes, and their
// answers pass as they are.
func TestNativeMessages(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, answers(coaitest.Anthropic(), coaitest.Answer{
			Thinking: []string{"Well."}, Text: []string{"Hel", "lo"},
			Usage: coaitest.Tokens{Prompt: 111, Cached: 40, CacheWrite: 60, Completion: 7, Reasoning: 2},
		}))
		channel := anthropicChannel(p, up, object{"model_mapping": object{"gpt-test": "claude-up"}, "settings": object{"headers": object{"anthropic-beta": "ours"}}})
		setPricing(t, p, `prompt: "1", completion: "2", cachedRead: "0.1", cacheWrite: "1.25"`)
		cost := models.Nanos(11*1000 + 40*100 + 60*1250 + 7*2000)
		t.Run("whole", func(t *testing.T) {
			res := p.Do("POST", "/v1/messages", coaitest.AdminKey, nativeMessage("gpt-test", false), "Anthropic-Beta", "theirs-1, theirs-2")
			var m struct {
				anthropicMessage
				Usage struct{ Cost *float64 }
			}
			if res.JSON(t, &m); res.Status != http.StatusOK || m.ID != "msg_01up" || m.Model != "gpt-test" || m.Usage.Cost == nil || *m.StopReason != "end_turn" {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			if !strings.Contains(string(res.Body), `"signature":"EqQBCgIYAhIM"`) || res.Header.Get("X-Coai-Channel") != channel {
				t.Errorf("%v %s", res.Header, res.Body)
			}
			call := up.Calls()[0]
			if got, want := string(call.Body), nativeMessage("claude-up", false); got != want {
				t.Errorf("the upstream got\n%s, want\n%s", got, want)
			}
			if call.Path != "/v1/messages" || call.Header.Get("Anthropic-Beta") != "ours,theirs-1, theirs-2" {
				t.Errorf("%s %v", call.Path, call.Header)
			}
		})
		t.Run("stream", func(t *testing.T) {
			res := p.Open(t.Context(), "POST", "/v1/messages", coaitest.AdminKey, nativeMessage("gpt-test", true))
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") || res.Header.Get("X-Coai-Channel") != channel {
				t.Errorf("%d %v", res.StatusCode, res.Header)
			}
			text, _, all := anthropicEvents(t, coaitest.NewEventStream(t, res))
			if text != "Hello" || all[0].Message.Model != "gpt-test" || all[0].Message.ID != "msg_01up" || all[len(all)-1].Type != "message_stop" {
				t.Errorf("%q %+v", text, all)
			}
			if got, want := string(up.Calls()[1].Body), nativeMessage("claude-up", true); got != want {
				t.Errorf("the upstream got\n%s, want\n%s", got, want)
			}
		})
		rows := p.Usage(2)
		for _, rec := range rows {
			if rec.Operation != models.OperationMessages || rec.PromptTokens != 111 || rec.CachedTokens != 40 || rec.CompletionTokens != 7 ||
				rec.ReasoningTokens != 2 || rec.Cost != cost || rec.Estimated || rec.ErrorCode != "" || rec.UpstreamModel != "claude-up" {
				t.Errorf("%+v", rec)
			}
		}
		if len(rows) != 2 || !rows[1].Stream {
			t.Errorf("%d records", len(rows))
		}
	})
}

// What is refused before an upstream is asked, and who is translated all the same.
func TestNativeMessagesAreTranslated(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	plain := message("gpt-test", object{"system": []object{{"type": "text", "text": "Be kind.", "cache_control": object{"type": "ephemeral"}}}})
	native := coaitest.NewUpstream(t, answers(coaitest.Anthropic(), coaitest.Answer{Text: []string{"Hi"}, Usage: coaitest.Tokens{Prompt: 3, Completion: 1}}))
	anthropicChannel(p, native, object{"priority": 10})
	marked := func() bool {
		calls := native.Calls()
		return strings.Contains(string(calls[len(calls)-1].Body), "cache_control")
	}
	if res := p.Do("POST", "/v1/messages", key, plain); res.Status != http.StatusOK || !marked() {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	for name, in := range map[string]object{
		"no max_tokens": {"model": "gpt-test", "messages": []object{}},
		"bad":           {"model": "gpt-test", "messages": []object{}, "max_tokens": 0},
		"no messages":   {"model": "gpt-test", "max_tokens": 1},
	} {
		if res := p.Do("POST", "/v1/messages", key, in); res.Status != http.StatusBadRequest || !strings.Contains(string(res.Body), `"invalid_request_error"`) || len(native.Calls()) != 1 {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	if res := p.Do("POST", "/v1/messages", key, plain, "Anthropic-Beta", strings.Repeat("x", 5000)); res.Status != http.StatusBadRequest {
		t.Errorf("a huge header: %d %s", res.Status, res.Body)
	}
	for name, more := range map[string]object{"drains": {"on_disconnect": "drain"}, "keeps": {"cache_ttl_seconds": 60}} {
		if res := p.Do("POST", "/v1/messages", p.UserKey(more), plain); res.Status != http.StatusOK || marked() {
			t.Errorf("a key that %s: %d %s", name, res.Status, res.Body)
		}
	}
	other := coaitest.NewUpstream(t, coaitest.Whole("Hi"))
	p.Channel(other, object{"name": "other", "tags": []string{"other"}})
	if res := p.Do("POST", "/v1/messages", key, plain); res.Status != http.StatusOK || marked() {
		t.Errorf("a mixed route: %d %s", res.Status, res.Body)
	}
	native.Then(coaitest.Status(500, "application/json", `{}`))
	res := p.Do("POST", "/v1/messages", key, plain)
	if res.Status != http.StatusOK || len(other.Calls()) != 1 || other.Calls()[0].Path != "/v1/chat/completions" {
		t.Errorf("failover: %d %s", res.Status, res.Body)
	}
	rows := p.Usage(6)
	if rows[0].Operation != models.OperationMessages || rows[len(rows)-1].Operation != models.OperationChat {
		t.Errorf("%+v", rows)
	}
}

// Failures keep Anthropic's envelope, and never show what an upstream adds.
func TestNativeMessagesFail(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_UPSTREAM_RETRIES=0")
	key := p.UserKey(nil)
	d := coaitest.Anthropic()
	up := coaitest.NewUpstream(t)
	channel := anthropicChannel(p, up, nil)
	reset := func() { p.Do("POST", "/v1/channels/"+channel+"/reset", coaitest.AdminKey, nil) }
	records := 0
	for _, stream := range []bool{false, true} {
		for _, want := range []struct {
			refusal coaitest.Refusal
			status  int
			kind    string
		}{
			{coaitest.RefuseBadRequest, 400, "invalid_request_error"},
			{coaitest.RefuseContext, 400, "invalid_request_error"},
			{coaitest.RefuseRate, 529, "overloaded_error"},
			{coaitest.RefuseUnavailable, 500, "api_error"},
			{coaitest.RefuseHTML, 500, "api_error"},
		} {
			up.Then(func(w http.ResponseWriter, c *coaitest.Call) { d.Refuse(w, c, want.refusal) })
			reset()
			res := p.Do("POST", "/v1/messages", key, nativeMessage("gpt-test", stream))
			var e struct {
				Type  string
				Error struct{ Type, Message string }
			}
			res.JSON(t, &e)
			if res.Status != want.status || e.Type != "error" || e.Error.Type != want.kind || strings.Contains(string(res.Body), coaitest.UpstreamKey) {
				t.Errorf("%s, %t: %d %s", want.refusal, stream, res.Status, res.Body)
			}
			records++
		}
	}
	for name, a := range map[string]coaitest.Answer{
		"cut":  {Text: []string{"Hello there, ", "world of many words"}, Cut: true, Usage: coaitest.Tokens{Prompt: 30, Completion: 20}},
		"fail": {Text: []string{"Hello there, ", "world of many words"}, Fail: true, Usage: coaitest.Tokens{Prompt: 30, Completion: 20}},
	} {
		up.Then(answers(d, a))
		reset()
		_, _, all := anthropicEvents(t, coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/messages", key, nativeMessage("gpt-test", true))))
		if last := all[len(all)-1]; last.Type != "error" || last.Error.Type != "api_error" || last.RequestID == "" || strings.Contains(last.Error.Message, coaitest.UpstreamKey) {
			t.Errorf("%s: %+v", name, last)
		}
		records++
		rec := p.Usage(records)[records-1]
		if rec.ErrorCode != models.CodeUpstreamError || rec.PromptTokens != 30 || rec.CompletionTokens < 5 || !rec.Estimated {
			t.Errorf("%s: %+v", name, rec)
		}
	}
	t.Run("the client leaves", func(t *testing.T) {
		gone := make(chan struct{})
		up.Then(func(w http.ResponseWriter, c *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"gpt-test","content":[],"stop_reason":null,"usage":{"input_tokens":30,"output_tokens":1}}}`)
			coaitest.Event(w, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
			coaitest.Event(w, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello there, world of many words"}}`)
			<-c.Gone
			close(gone)
		})
		reset()
		res := p.Open(t.Context(), "POST", "/v1/messages", key, nativeMessage("gpt-test", true))
		s := coaitest.NewEventStream(t, res)
		for range 3 {
			s.Next()
		}
		_ = res.Body.Close()
		<-gone
		rec := p.Usage(records + 1)[records]
		if rec.ErrorCode != "client_closed_request" || rec.PromptTokens != 30 || rec.CompletionTokens < 5 || rec.Operation != models.OperationMessages {
			t.Errorf("%+v", rec)
		}
	})
}

// Responses that need no storage pass to channels that have the endpoint.
func TestNativeResponses(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b, "COAI_UPSTREAM_RETRIES=0")
		up := coaitest.NewUpstream(t)
		channel := p.Channel(up, object{"model_mapping": object{"gpt-test": "up"}, "settings": object{"quirks": []string{"responses"}}})
		setPricing(t, p, `prompt: "1", completion: "2", cachedRead: "0.1"`)
		ask := func(model, more string) string {
			return fmt.Sprintf(`{"model":%q,"input":[{"type":"reasoning","summary":[ ],"encrypted_content":"AAA="},{"role":"user","content":"Hi"}],"tools":[{"type":"web_search"}]%s}`, model, more)
		}
		done := `{"id":"resp_up","object":"response","created_at":1,"status":"completed","error":null,"model":"up","output":[{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"Hello"}]}],"store":false,"usage":{"input_tokens":50,"input_tokens_details":{"cached_tokens":40},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":57}}`
		up.Then(coaitest.Status(200, "application/json", done))
		res := p.Do("POST", "/v1/responses", coaitest.AdminKey, ask("gpt-test", `,"store":false`))
		var r struct {
			ID, Model string
			Usage     struct{ Cost *float64 }
		}
		if res.JSON(t, &r); res.Status != http.StatusOK || r.ID != "resp_up" || r.Model != "gpt-test" || r.Usage.Cost == nil || res.Header.Get("X-Coai-Channel") != channel {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		up.Then(coaitest.Events(
			`{"type":"response.created","sequence_number":0,"response":{"id":"resp_up","status":"in_progress","model":"up","output":[],"error":null}}`,
			`{"type":"response.output_text.delta","sequence_number":1,"delta":"Hello"}`,
			`{"type":"response.completed","sequence_number":2,"response":`+done+`}`))
		s := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/responses", coaitest.AdminKey, ask("gpt-test", `,"store":false,"stream":true`)))
		all := s.All()
		if len(all) != 3 || !strings.Contains(all[0], `"model":"gpt-test"`) || !strings.Contains(all[2], `"response.completed"`) || strings.Contains(all[2], `"model":"up"`) {
			t.Errorf("%q", all)
		}
		calls := up.Calls()
		if got, want := string(calls[0].Body), ask("up", `,"store":false`); got != want || calls[0].Path != "/v1/responses" {
			t.Errorf("the upstream got %s %s, want %s", calls[0].Path, got, want)
		}
		for _, rec := range p.Usage(2) {
			if rec.Operation != models.OperationResponses || rec.PromptTokens != 50 || rec.CachedTokens != 40 || rec.CompletionTokens != 7 || rec.ReasoningTokens != 2 ||
				rec.Cost != 10*1000+40*100+7*2000 || rec.Estimated || rec.ErrorCode != "" {
				t.Errorf("%+v", rec)
			}
		}

		// What has to be stored, or refers to what is, is translated.
		for _, more := range []string{"", `,"store":true`, `,"store":false,"background":true`, `,"store":false,"conversation":"conv_1"`, `,"store":false,"previous_response_id":"resp_1"`} {
			if res := p.Do("POST", "/v1/responses", coaitest.AdminKey, ask("gpt-test", more)); res.Status/100 != 4 || len(up.Calls()) != 2 {
				t.Errorf("%s: %d %s", more, res.Status, res.Body)
			}
		}

		// Failures, in band and out of it.
		failed := `{"id":"resp_up","object":"response","status":"failed","error":{"code":"server_error","message":"` + coaitest.UpstreamKey + `"},"model":"up","output":[]}`
		for name, reply := range map[string]coaitest.Reply{
			"failed":      coaitest.Status(200, "application/json", failed),
			"unavailable": func(w http.ResponseWriter, c *coaitest.Call) { coaitest.RefuseOpenAI(w, c, coaitest.RefuseUnavailable) },
			"no response": coaitest.Status(200, "application/json", `{"id":"x"}`),
		} {
			up.Then(reply)
			res := p.Do("POST", "/v1/responses", coaitest.AdminKey, ask("gpt-test", `,"store":false`))
			if e := res.Error(t); res.Status != 503 || e.Code != models.CodeUpstreamError || strings.Contains(string(res.Body), coaitest.UpstreamKey) {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
			p.Do("POST", "/v1/channels/"+channel+"/reset", coaitest.AdminKey, nil)
		}
		up.Then(coaitest.Events(
			`{"type":"response.created","sequence_number":0,"response":{"id":"resp_up","status":"in_progress","model":"up","output":[],"error":null}}`,
			`{"type":"response.failed","sequence_number":1,"response":`+failed+`}`))
		all = coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/responses", coaitest.AdminKey, ask("gpt-test", `,"store":false,"stream":true`))).All()
		if last := decode[object](t, all[len(all)-1]); last["type"] != "error" || last["code"] != models.CodeUpstreamError || strings.Contains(all[len(all)-1], coaitest.UpstreamKey) {
			t.Errorf("%q", all)
		}
	})
}

// What the endpoints beside chat can produce is held while they do.
func TestHoldsOfEndpoints(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		arrived, release := make(chan struct{}), make(chan struct{})
		slowly := func(contentType, body string) coaitest.Reply {
			return func(w http.ResponseWriter, c *coaitest.Call) {
				arrived <- struct{}{}
				<-release
				coaitest.Status(200, contentType, body)(w, c)
			}
		}
		up := coaitest.NewUpstream(t)
		p.Channel(up, nil)
		for name, c := range map[string]struct {
			pricing string
			budget  int // dollars, for two
			path    string
			body    object
			reply   coaitest.Reply
			spent   models.Nanos
		}{
			"images": {
				`prompt: "0", completion: "0", image: "10"`, 40, "/v1/images/generations", object{"prompt": "A dot", "n": 2},
				slowly("application/json", `{"created":1,"data":[{"b64_json":"AA=="},{"b64_json":"AA=="}]}`), 40 * models.Dollar,
			},
			"speech": {
				`prompt: "0", completion: "0", perCharacter: "2"`, 20, "/v1/audio/speech", object{"input": "Hello", "voice": "alloy"},
				slowly("audio/mpeg", "sound"), 20 * models.Dollar,
			},
			"requests": {
				`prompt: "0", completion: "1000000", perRequest: "3"`, 6, "/v1/embeddings", object{"input": "Hello"},
				slowly("application/json", `{"object":"list","data":[{"embedding":[1]}],"usage":{"prompt_tokens":1,"total_tokens":1}}`), 6 * models.Dollar,
			},
		} {
			setPricing(t, p, c.pricing)
			up.Then(c.reply)
			key := p.UserKey(object{"name": name, "budgets": object{"total": c.budget}})
			in := object{"model": "gpt-test"}
			for k, v := range c.body {
				in[k] = v
			}
			done := make(chan int, 2)
			for range 2 {
				go func() { done <- p.Do("POST", c.path, key, in).Status }()
				<-arrived
			}
			if res := p.Do("POST", c.path, key, in); res.Status != http.StatusTooManyRequests || res.Error(t).Code != "budget_exceeded" {
				t.Errorf("%s: the third gets %d %s", name, res.Status, res.Body)
			}
			release <- struct{}{}
			release <- struct{}{}
			for range 2 {
				if status := <-done; status != http.StatusOK {
					t.Errorf("%s: %d", name, status)
				}
			}
			coaitest.Eventually(t, name+" are settled", func() bool {
				b := keyBudgets(t, p, name)[0]
				return b.Held.Amount == 0 && b.Spent.Amount == c.spent
			})
		}
	})
}
