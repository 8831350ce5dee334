package coaitest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

func message(model string, more object) object {
	in := object{"model": model, "max_tokens": 100, "messages": []object{{"role": "user", "content": "Hello there, world"}}}
	for k, v := range more {
		in[k] = v
	}
	return in
}

type anthropicMessage struct {
	ID, Type, Role, Model string
	Content               []struct {
		Type, Text, ID, Name, Thinking string
		Input                          object
	}
	StopReason *string `json:"stop_reason"`
	Usage      anthropicUsage
}

type anthropicUsage struct {
	Input  int64 `json:"input_tokens"`
	Read   int64 `json:"cache_read_input_tokens"`
	Write  int64 `json:"cache_creation_input_tokens"`
	Output int64 `json:"output_tokens"`
}

type anthropicEvent struct {
	Type    string
	Index   *int
	Message *anthropicMessage
	Block   *struct {
		Type, ID, Name string
	} `json:"content_block"`
	Delta *struct {
		Type, Text, Thinking string
		Partial              string  `json:"partial_json"`
		StopReason           *string `json:"stop_reason"`
	}
	Usage     *anthropicUsage
	Error     *struct{ Type, Message string }
	RequestID string `json:"request_id"`
}

// anthropicEvents reads a stream of events and holds them to the protocol: one
// block at a time, under growing indexes, each started and stopped.
func anthropicEvents(t *testing.T, s *coaitest.EventStream) (text, arguments string, all []anthropicEvent) {
	t.Helper()
	open, next := -1, 0
	for _, raw := range s.All() {
		e := decode[anthropicEvent](t, raw)
		all = append(all, e)
		switch e.Type {
		case "content_block_start":
			if open >= 0 || *e.Index != next {
				t.Errorf("block %d starts while %d is open and %d is next", *e.Index, open, next)
			}
			open, next = *e.Index, next+1
		case "content_block_delta":
			if *e.Index != open {
				t.Errorf("delta for block %d while %d is open", *e.Index, open)
			}
			text += e.Delta.Text
			arguments += e.Delta.Partial
		case "content_block_stop":
			if *e.Index != open {
				t.Errorf("block %d stops while %d is open", *e.Index, open)
			}
			open = -1
		case "message_delta":
			if open >= 0 {
				t.Errorf("block %d was never stopped", open)
			}
		}
	}
	if len(all) == 0 || all[0].Type != "message_start" {
		t.Fatalf("the first event is not message_start: %+v", all)
	}
	return text, arguments, all
}

func TestMessagesWorkOnAnyChannel(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		key := p.UserKey(nil)
		tool := object{"name": "look_up", "description": "Looks a word up.", "input_schema": object{"type": "object", "properties": object{"word": object{"type": "string"}}, "required": []string{"word"}}}
		t.Run("whole", func(t *testing.T) {
			res := p.Do("POST", "/v1/messages", "", message("echo", nil), "X-Api-Key", key, "Anthropic-Version", "2023-06-01")
			var m anthropicMessage
			res.JSON(t, &m)
			if res.Status != http.StatusOK || m.Type != "message" || m.Role != "assistant" || m.Model != "echo" || !strings.HasPrefix(m.ID, "msg_") ||
				len(m.Content) != 1 || m.Content[0].Text != "Hello there, world" || *m.StopReason != "end_turn" || m.Usage.Input == 0 || m.Usage.Output == 0 {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
		t.Run("stream", func(t *testing.T) {
			res := p.Open(t.Context(), "POST", "/v1/messages", key, message("echo", object{"stream": true, "system": "Be kind."}))
			text, _, all := anthropicEvents(t, coaitest.NewEventStream(t, res))
			end := all[len(all)-2]
			if text != "Hello there, world" || end.Type != "message_delta" || *end.Delta.StopReason != "end_turn" || end.Usage.Input == 0 || end.Usage.Output == 0 ||
				all[len(all)-1].Type != "message_stop" {
				t.Errorf("%q, %+v", text, end)
			}
		})
		t.Run("tools", func(t *testing.T) {
			in := message("echo", object{"tools": []object{tool}, "tool_choice": object{"type": "any"}})
			res := p.Do("POST", "/v1/messages", key, in)
			var m anthropicMessage
			res.JSON(t, &m)
			last := m.Content[len(m.Content)-1]
			if *m.StopReason != "tool_use" || last.Type != "tool_use" || last.Name != "look_up" || last.ID == "" || last.Input["word"] == nil {
				t.Fatalf("%s", res.Body)
			}
			in["stream"] = true
			_, arguments, all := anthropicEvents(t, coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/messages", key, in)))
			if args := decode[object](t, arguments); args["word"] == nil || *all[len(all)-2].Delta.StopReason != "tool_use" {
				t.Errorf("%s", arguments)
			}
			res = p.Do("POST", "/v1/messages", key, message("echo", object{"tools": []object{tool}, "messages": []object{
				{"role": "user", "content": "Look up 'word'."},
				{"role": "assistant", "content": []object{{"type": "tool_use", "id": last.ID, "name": "look_up", "input": object{"word": "x"}}}},
				{"role": "user", "content": []object{{"type": "tool_result", "tool_use_id": last.ID, "content": "A unit of language."}}},
			}}))
			if res.JSON(t, &m); res.Status != http.StatusOK || len(m.Content) == 0 || m.Content[0].Type != "text" {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
		t.Run("count", func(t *testing.T) {
			in := message("echo", object{"tools": []object{tool}})
			delete(in, "max_tokens")
			res := p.Do("POST", "/v1/messages/count_tokens", key, in)
			var n anthropicUsage
			if res.JSON(t, &n); res.Status != http.StatusOK || n.Input < 20 {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
		t.Run("GraphQL", func(t *testing.T) {
			var data struct {
				CreateMessage struct {
					Message struct {
						StopReason string
						Content    []struct{ Text string }
						Usage      struct{ TotalTokens int }
					}
				}
			}
			in := object{"in": object{"model": "echo", "maxTokens": 50, "messages": []object{{"role": "user", "content": "Hi"}}}}
			errs := p.GraphQL(key, `mutation($in: CreateMessageInput!) { createMessage(input: $in) { message { stopReason content usage { totalTokens } raw } userErrors { message } } }`, in, &data)
			if m := data.CreateMessage.Message; len(errs) > 0 || m.StopReason != "end_turn" || m.Content[0].Text != "Hi" || m.Usage.TotalTokens == 0 {
				t.Errorf("%+v %+v", errs, data)
			}
		})
	})
}

func TestMessagesReachOpenAIUpstreams(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		up := coaitest.NewUpstream(t, coaitest.Whole("Hi"))
		p.Channel(up, nil)
		res := p.Do("POST", "/v1/messages", p.UserKey(nil), message("gpt-test", object{
			"system": []object{{"type": "text", "text": "Be kind.", "cache_control": object{"type": "ephemeral"}}},
			"messages": []object{
				{"role": "user", "content": []object{{"type": "text", "text": "What is this?"}, {"type": "image", "source": object{"type": "base64", "media_type": "image/png", "data": "AAAA"}}}},
				{"role": "assistant", "content": []object{{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "tool_use", "id": "t1", "name": "a", "input": object{"x": 1}}, {"type": "tool_use", "id": "t2", "name": "b", "input": object{}}}},
				{"role": "user", "content": []object{{"type": "tool_result", "tool_use_id": "t1", "content": "one"}, {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": []object{{"type": "text", "text": "bad"}}}, {"type": "text", "text": "Go on."}}},
			},
			"tools":       []object{{"name": "a", "input_schema": object{"type": "object"}}, {"name": "b", "input_schema": object{"type": "object"}}},
			"tool_choice": object{"type": "auto", "disable_parallel_tool_use": true}, "stop_sequences": []string{"END"}, "top_k": 5,
			"metadata": object{"user_id": "u1"}, "thinking": object{"type": "enabled", "budget_tokens": 2000},
		}))
		var m anthropicMessage
		res.JSON(t, &m)
		if res.Status != http.StatusOK || m.Usage != (anthropicUsage{Input: 7, Read: 4, Output: 7}) {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		sent := decode[struct {
			Messages []struct {
				Role       string
				ToolCallID string   `json:"tool_call_id"`
				ToolCalls  []object `json:"tool_calls"`
			}
			MaxTokens int    `json:"max_completion_tokens"`
			Effort    string `json:"reasoning_effort"`
			Parallel  *bool  `json:"parallel_tool_calls"`
			TopK      int    `json:"top_k"`
			User      string
		}](t, string(up.Calls()[0].Body))
		roles := ""
		for _, m := range sent.Messages {
			roles += m.Role + " "
		}
		if roles != "system user assistant tool tool user " || len(sent.Messages[2].ToolCalls) != 2 || sent.MaxTokens != 100 || sent.Effort != "low" ||
			sent.Parallel == nil || *sent.Parallel || sent.TopK != 5 || sent.User != "u1" {
			t.Errorf("%s: %+v", roles, sent)
		}
		rec := p.Usage(1)[0]
		if rec.PromptTokens != 11 || rec.CompletionTokens != 7 || rec.CachedTokens != 4 || rec.Operation != models.OperationChat || rec.ErrorCode != "" {
			t.Errorf("%+v", rec)
		}
	})
}

// Two calls side by side, as OpenAI streams them.
func TestMessagesStreamParallelTools(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	delta := func(d string) string {
		return `{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-test","choices":[{"index":0,"delta":` + d + `,"finish_reason":null}]}`
	}
	up := coaitest.NewUpstream(t, coaitest.Events(
		coaitest.FirstChunk, delta(`{"reasoning_content":"Hm."}`), coaitest.Chunk("I look."),
		delta(`{"tool_calls":[{"index":0,"id":"c0","type":"function","function":{"name":"a","arguments":""}}]}`),
		delta(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}`),
		delta(`{"tool_calls":[{"index":1,"id":"c1","type":"function","function":{"name":"b","arguments":"{}"}}]}`),
		`{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-test","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
		coaitest.UsageChunk, coaitest.Done))
	p.Channel(up, nil)
	res := p.Open(t.Context(), "POST", "/v1/messages", p.UserKey(nil), message("gpt-test", object{"stream": true, "tools": []object{
		{"name": "a", "input_schema": object{"type": "object"}}, {"name": "b", "input_schema": object{"type": "object"}},
	}}))
	text, arguments, all := anthropicEvents(t, coaitest.NewEventStream(t, res))
	var blocks []string
	for _, e := range all {
		if e.Block != nil {
			blocks = append(blocks, e.Block.Type+":"+e.Block.ID+":"+e.Block.Name)
		}
	}
	if got := strings.Join(blocks, " "); got != "thinking:: text:: tool_use:c0:a tool_use:c1:b" || text != "I look." || arguments != `{"x":1}{}` {
		t.Errorf("%s, %q, %s", got, text, arguments)
	}
	if end := all[len(all)-2]; *end.Delta.StopReason != "tool_use" || *end.Usage != (anthropicUsage{Input: 7, Read: 4, Output: 7}) {
		t.Errorf("%+v", end)
	}
}

func TestMessagesErrorsAreAnthropics(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	up := coaitest.NewUpstream(t, coaitest.Status(503, "application/json", `{"error":{"message":"no"}}`))
	p.Channel(up, nil)
	for name, c := range map[string]struct {
		path, key string
		body      any
		status    int
		kind      string
		says      string
	}{
		"no key":           {"", "", message("echo", nil), 401, "authentication_error", "API key"},
		"a bad key":        {"", "sk-none", message("echo", nil), 401, "authentication_error", ""},
		"no scope":         {"", p.UserKey(object{"scopes": []string{"models:read"}}), message("echo", nil), 403, "permission_error", "chat"},
		"no JSON":          {"", key, "{", 400, "invalid_request_error", "JSON"},
		"no max_tokens":    {"", key, object{"model": "echo", "messages": []object{{"role": "user", "content": "x"}}}, 400, "invalid_request_error", "'max_tokens'"},
		"no model":         {"", key, message("", nil), 400, "invalid_request_error", "'model'"},
		"unknown model":    {"", key, message("nothing", nil), 404, "not_found_error", "nothing"},
		"a server tool":    {"", key, message("echo", object{"tools": []object{{"type": "web_search_20250305", "name": "web_search"}}}), 400, "invalid_request_error", "web_search_20250305"},
		"a block's path":   {"", key, message("echo", object{"messages": []object{{"role": "user", "content": []object{{"type": "text", "text": 1}}}}}), 400, "invalid_request_error", "'messages[0].content[0].text'"},
		"unknown endpoint": {"/nothing", key, nil, 404, "not_found_error", ""},
		"upstream down":    {"", key, message("gpt-test", nil), 500, "api_error", ""},
		"stream, down":     {"", key, message("gpt-test", object{"stream": true}), 500, "api_error", ""},
	} {
		t.Run(name, func(t *testing.T) {
			res := p.Do("POST", "/v1/messages"+c.path, c.key, c.body)
			var e struct {
				Type      string
				Error     struct{ Type, Message string }
				RequestID string `json:"request_id"`
			}
			res.JSON(t, &e)
			if res.Status != c.status || e.Type != "error" || e.Error.Type != c.kind || !strings.Contains(e.Error.Message, c.says) || e.RequestID != res.Header.Get("X-Request-Id") {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		})
	}
}

func TestMessagesStreamsThatBreak(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	up := coaitest.NewUpstream(t, coaitest.Events(coaitest.FirstChunk, coaitest.Chunk("Hello")))
	p.Channel(up, nil)
	_, _, all := anthropicEvents(t, coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/messages", key, message("gpt-test", object{"stream": true}))))
	if last := all[len(all)-1]; last.Type != "error" || last.Error.Type != "api_error" || last.Error.Message == "" || last.RequestID == "" {
		t.Errorf("%+v", last)
	}
	if rec := p.Usage(1)[0]; rec.ErrorCode != models.CodeUpstreamError || rec.CompletionTokens == 0 {
		t.Errorf("%+v", rec)
	}
	t.Run("the client leaves", func(t *testing.T) {
		gone := make(chan struct{})
		up.Then(func(w http.ResponseWriter, c *coaitest.Call) {
			coaitest.StartEvents(w)
			coaitest.Event(w, coaitest.FirstChunk)
			coaitest.Event(w, coaitest.Chunk("Hello"))
			<-c.Gone
			close(gone)
		})
		res := p.Open(t.Context(), "POST", "/v1/messages", key, message("gpt-test", object{"stream": true}))
		s := coaitest.NewEventStream(t, res)
		s.Next()
		_ = res.Body.Close()
		<-gone
		if rec := p.Usage(2)[1]; rec.ErrorCode != "client_closed_request" || rec.PromptTokens == 0 {
			t.Errorf("%+v", rec)
		}
	})
}
