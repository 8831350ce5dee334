package coaitest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// claude starts a product with one channel to an upstream that speaks
// Anthropic's language, and a price for its model.
func claude(t *testing.T, b coaitest.Backends, settings object, script ...coaitest.Reply) (p *coaitest.Product, up *coaitest.Upstream, key string) {
	t.Helper()
	p = coaitest.Start(t, b)
	up = coaitest.NewUpstream(t, script...)
	p.Channel(up, object{"type": "anthropic", "base_url": up.URL, "models": []string{"claude"}, "model_mapping": object{"claude": "claude-sonnet-4-5"}, "settings": settings})
	if errs := p.GraphQL(coaitest.AdminKey, `mutation { saveModel(input: {name: "claude", maxOutputTokens: 64000, pricing: {prompt: "3", completion: "15", cachedRead: "0.3"}}) { userErrors { message } } }`, nil, nil); len(errs) > 0 {
		t.Fatal(errs)
	}
	return p, up, p.UserKey(nil)
}

const claudeAnswer = `{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"Hello!"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":9000,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":200,"service_tier":"standard","inference_geo":"global"}}`

// claudeEvents are the bytes of Anthropic's documentation of tool use in streams.
// https://platform.claude.com/docs/en/build-with-claude/streaming#streaming-request-with-tool-use
const claudeEvents = `event: message_start
data: {"type":"message_start","message":{"id":"msg_014p7gG3wDgGV9EUtLvnow3U","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","stop_sequence":null,"usage":{"input_tokens":472,"cache_read_input_tokens":1000,"output_tokens":2},"content":[],"stop_reason":null}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Okay"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":", let's check:"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_01T1x1fJ34qAmk2tNTrN7Up6","name":"get_weather","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"location\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":" \"San Francisco, CA\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}

event: message_stop
data: {"type":"message_stop"}

`

func TestClaudeAnswersAndItsCachedTokensArePriced(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p, up, key := claude(t, b, nil, coaitest.Status(http.StatusOK, "application/json", claudeAnswer))
		res := p.Do("POST", "/v1/chat/completions", key, ask("claude", object{"temperature": 0.5}))
		var c completion
		if res.JSON(t, &c); res.Status != http.StatusOK || c.Choices[0].Message.Content != "Hello!" || c.Choices[0].FinishReason != "stop" || c.Model != "claude" || c.Object != "chat.completion" {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		// 1000 tokens at 3 dollars for a million, 9000 at 0.3, 200 at 15.
		if c.Usage.PromptTokens != 10000 || c.Usage.TotalTokens != 10200 || c.Usage.Cost == nil || c.Usage.Cost.String() != "0.0087" {
			t.Errorf("usage = %+v", c.Usage)
		}
		call := up.Calls()[0]
		want := `{"model":"claude-sonnet-4-5","max_tokens":64000,"messages":[{"role":"user","content":[{"type":"text","text":"Hello there, world"}]}],"temperature":0.5}`
		if string(call.Body) != want || call.Path != "/v1/messages" || call.Header.Get("X-Api-Key") != coaitest.UpstreamKey || call.Header.Get("Authorization") != "" {
			t.Errorf("the upstream got %s %s %v", call.Path, call.Body, call.Header)
		}
		r := p.Usage(1)[0]
		if r.PromptTokens != 10000 || r.CachedTokens != 9000 || r.CompletionTokens != 200 || r.Cost != 8_700_000 || r.Estimated || r.Model != "claude" || r.UpstreamModel != "claude-sonnet-4-5" {
			t.Errorf("record = %+v", r)
		}
	})
}

// An agent's round: the model calls a tool in a stream, the client sends the
// result back, the model answers.
func TestClaudeCallsTools(t *testing.T) {
	p, up, key := claude(t, coaitest.Backends{}, nil,
		coaitest.Status(http.StatusOK, "text/event-stream; charset=utf-8", claudeEvents),
		coaitest.Status(http.StatusOK, "application/json", claudeAnswer))
	tools := []object{{"type": "function", "function": object{"name": "get_weather", "parameters": object{"type": "object", "properties": object{"location": object{"type": "string"}}}}}}
	in := ask("claude", object{"stream": true, "stream_options": object{"include_usage": true}, "tools": tools, "tool_choice": "auto", "parallel_tool_calls": false})
	events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, in)).All()
	if events[len(events)-1] != "[DONE]" {
		t.Fatalf("events %q", events)
	}
	text, id, name, arguments, finish := "", "", "", "", ""
	for _, e := range events[:len(events)-1] {
		c := decode[chunk](t, e)
		if c.Model != "claude" {
			t.Errorf("the chunk tells another model: %s", e)
		}
		for _, ch := range c.Choices {
			text += ch.Delta.Content
			for _, call := range ch.Delta.ToolCalls {
				if call.Index == nil || *call.Index != 0 {
					t.Errorf("the index of the only call: %s", e)
				}
				id, name, arguments = id+call.ID, name+call.Function.Name, arguments+call.Function.Arguments
			}
			if ch.FinishReason != nil {
				finish = *ch.FinishReason
			}
		}
	}
	if text != "Okay, let's check:" || id != "toolu_01T1x1fJ34qAmk2tNTrN7Up6" || name != "get_weather" || arguments != `{"location": "San Francisco, CA"}` || finish != "tool_calls" {
		t.Errorf("text %q, call %q %q %q, finish %q", text, id, name, arguments, finish)
	}
	if u := decode[chunk](t, events[len(events)-2]).Usage; u == nil || u.TotalTokens != 1561 {
		t.Errorf("usage %+v", u)
	}
	again := object{"model": "claude", "tools": tools, "messages": []object{
		{"role": "user", "content": "Hello there, world"},
		{"role": "assistant", "content": text, "tool_calls": []object{{"id": id, "type": "function", "function": object{"name": name, "arguments": arguments}}}},
		{"role": "tool", "tool_call_id": id, "content": "15 degrees"},
	}}
	if res := p.Do("POST", "/v1/chat/completions", key, again); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var sent struct{ Messages json.RawMessage }
	if err := json.Unmarshal(up.Calls()[1].Body, &sent); err != nil {
		t.Fatal(err)
	}
	want := `[{"role":"user","content":[{"type":"text","text":"Hello there, world"}]},{"role":"assistant","content":[{"type":"text","text":"Okay, let's check:"},{"type":"tool_use","id":"toolu_01T1x1fJ34qAmk2tNTrN7Up6","name":"get_weather","input":{"location":"San Francisco, CA"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01T1x1fJ34qAmk2tNTrN7Up6","content":[{"type":"text","text":"15 degrees"}]}]}]`
	if string(sent.Messages) != want {
		t.Errorf("the upstream got\n%s\nwant\n%s", sent.Messages, want)
	}
	for i, r := range p.Usage(2) {
		if i == 0 && (r.PromptTokens != 1472 || r.CachedTokens != 1000 || r.CompletionTokens != 89) || r.Estimated || r.ErrorCode != "" {
			t.Errorf("record %d = %+v", i, r)
		}
	}
}

// Thinking goes to the client with its signature, and comes back to the
// upstream as it was.
func TestClaudeThinksAcrossTools(t *testing.T) {
	const thought = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"thinking","thinking":"Look <it> up.","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="},{"type":"tool_use","id":"toolu_1","name":"get_time","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":10,"output_tokens":20}}`
	p, up, key := claude(t, coaitest.Backends{}, nil, coaitest.Status(http.StatusOK, "application/json", thought))
	in := ask("claude", object{"reasoning_effort": "low", "tools": []object{{"type": "function", "function": object{"name": "get_time"}}}})
	res := p.Do("POST", "/v1/chat/completions", key, in)
	var got struct{ Choices []struct{ Message object } }
	if res.JSON(t, &got); res.Status != http.StatusOK || got.Choices[0].Message["reasoning_content"] != "Look <it> up." {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	in["messages"] = append(in["messages"].([]object), got.Choices[0].Message, object{"role": "tool", "tool_call_id": "toolu_1", "content": "12:00"})
	if res = p.Do("POST", "/v1/chat/completions", key, in); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	want := `{"role":"assistant","content":[{"type":"thinking","thinking":"Look <it> up.","signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk="},{"type":"tool_use","id":"toolu_1","name":"get_time","input":{}}]}`
	// The client wrote the text anew, which may change how it is escaped.
	body := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(up.Calls()[1].Body))
	if !strings.Contains(body, want) || !strings.Contains(body, `"thinking":{"type":"enabled","budget_tokens":12800}`) {
		t.Errorf("the upstream got %s", body)
	}
}

func TestClaudeRefusesWhatItHasNoWordFor(t *testing.T) {
	for _, drop := range []bool{false, true} {
		p, up, key := claude(t, coaitest.Backends{}, object{"drop_unsupported": drop}, coaitest.Status(http.StatusOK, "application/json", claudeAnswer))
		res := p.Do("POST", "/v1/chat/completions", key, ask("claude", object{"seed": 7, "logit_bias": object{"1": 2}}))
		if drop {
			if res.Status != http.StatusOK || strings.Contains(string(up.Calls()[0].Body), "seed") {
				t.Errorf("%d %s", res.Status, res.Body)
			}
			continue
		}
		e := res.Error(t)
		if res.Status != http.StatusBadRequest || e.Code != models.CodeUnsupportedParameter || e.Param == nil || *e.Param != "seed" || len(up.Calls()) != 0 {
			t.Errorf("%d %s, %d calls", res.Status, res.Body, len(up.Calls()))
		}
		if r := p.Usage(1)[0]; r.Cost != 0 || r.PromptTokens != 0 {
			t.Errorf("a request that no upstream saw is charged: %+v", r)
		}
	}
}

func TestAnthropicsKeyMakesAChannel(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{}, "ANTHROPIC_API_KEY="+coaitest.UpstreamKey)
	var list struct {
		Data []struct {
			ID, Type string
			BaseURL  string `json:"base_url"`
			Models   []string
		}
	}
	p.Do("GET", "/v1/channels", coaitest.AdminKey, nil).JSON(t, &list)
	if len(list.Data) != 2 {
		t.Fatalf("channels %+v", list)
	}
	for _, c := range list.Data {
		if c.Type == "anthropic" && (c.BaseURL != "https://api.anthropic.com" || len(c.Models) < 5) {
			t.Errorf("channel %+v", c)
		}
	}
	res := p.Do("GET", "/v1/models/claude-sonnet-5-5", p.UserKey(nil), nil)
	if res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"owned_by":"anthropic"`) || !strings.Contains(string(res.Body), `"pricing":{`) {
		t.Errorf("%d %s", res.Status, res.Body)
	}
}
