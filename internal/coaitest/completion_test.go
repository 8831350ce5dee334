package coaitest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

type object = map[string]any

func ask(model string, more object) object {
	in := object{"model": model, "messages": []object{{"role": "user", "content": "Hello there, world"}}}
	for k, v := range more {
		in[k] = v
	}
	return in
}

type completion struct {
	ID, Object, Model string
	Choices           []struct {
		Message      struct{ Role, Content string }
		FinishReason string `json:"finish_reason"`
	}
	Usage struct {
		PromptTokens     int64 `json:"prompt_tokens"`
		CompletionTokens int64 `json:"completion_tokens"`
		TotalTokens      int64 `json:"total_tokens"`
		Cost             *json.Number
		Details          struct {
			ReasoningTokens int64 `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
	}
}

type chunk struct {
	ID, Model string
	Choices   []struct {
		Delta struct {
			Role, Content string
			ToolCalls     []struct {
				Index    *int
				ID, Type string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		TotalTokens int64 `json:"total_tokens"`
		Cost        *json.Number
	}
	Error *struct{ Code, Message string }
}

func decode[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("decode %q: %v", s, err)
	}
	return v
}

func TestEchoAnswersOverEveryFace(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		key := p.UserKey(nil)
		const query = `($in: ChatCompletionInput!) { chatCompletion(input: $in) { sequence choices { delta { content } finishReason } usage { totalTokens cost { amount } } error { code } } }`
		input := object{"in": object{"model": "echo", "messages": []object{{"role": "USER", "content": object{"text": "Hello there, world"}}}}}
		type event struct {
			Data struct {
				ChatCompletion struct {
					Sequence int
					Choices  []struct{ Delta struct{ Content string } }
					Usage    *struct {
						TotalTokens int
						Cost        struct{ Amount string }
					}
				}
			}
		}
		check := func(t *testing.T, events []string) {
			t.Helper()
			text, usage := "", 0
			for i, e := range events {
				c := decode[event](t, e).Data.ChatCompletion
				if c.Sequence != i {
					t.Errorf("event %d has the sequence number %d", i, c.Sequence)
				}
				for _, ch := range c.Choices {
					text += ch.Delta.Content
				}
				if c.Usage != nil {
					usage++
				}
			}
			if text != "Hello there, world" || usage != 1 || len(events) < 5 {
				t.Errorf("text %q, %d usages in %d events", text, usage, len(events))
			}
		}
		t.Run("REST", func(t *testing.T) {
			res := p.Do("POST", "/v1/chat/completions", key, ask("echo", nil))
			var c completion
			res.JSON(t, &c)
			if res.Status != http.StatusOK || c.Choices[0].Message.Content != "Hello there, world" || c.Choices[0].FinishReason != "stop" {
				t.Errorf("%d %s", res.Status, res.Body)
			}
			if c.Usage.TotalTokens == 0 || c.Usage.TotalTokens != c.Usage.PromptTokens+c.Usage.CompletionTokens || c.Usage.Cost == nil {
				t.Errorf("usage = %+v", c.Usage)
			}
		})
		t.Run("REST stream", func(t *testing.T) {
			events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("echo", object{"stream": true}))).All()
			text := ""
			for _, e := range events[:len(events)-1] {
				if strings.Contains(e, `"usage"`) {
					t.Errorf("usage that nobody asked for: %s", e)
				}
				for _, c := range decode[chunk](t, e).Choices {
					text += c.Delta.Content
				}
			}
			if last := events[len(events)-1]; last != "[DONE]" || text != "Hello there, world" {
				t.Errorf("text %q, last event %q", text, last)
			}
		})
		t.Run("GraphQL mutation", func(t *testing.T) {
			var data struct {
				CreateChatCompletion struct {
					ChatCompletion struct {
						Choices []struct {
							Message      struct{ Content string }
							FinishReason string
						}
						Usage struct{ TotalTokens int }
						Raw   object
					}
				}
			}
			errs := p.GraphQL(key, `mutation($in: ChatCompletionInput!) { createChatCompletion(input: $in) { chatCompletion { choices { message { content } finishReason } usage { totalTokens } raw } userErrors { message } } }`, input, &data)
			c := data.CreateChatCompletion.ChatCompletion
			if len(errs) > 0 || c.Choices[0].Message.Content != "Hello there, world" || c.Choices[0].FinishReason != "STOP" ||
				c.Usage.TotalTokens == 0 || c.Raw["object"] != "chat.completion" {
				t.Errorf("%+v, %+v", errs, data)
			}
		})
		t.Run("GraphQL over SSE", func(t *testing.T) {
			res := p.Open(t.Context(), "POST", "/graphql", key, object{"query": "subscription" + query, "variables": input}, "Accept", "text/event-stream")
			events := coaitest.NewEventStream(t, res).All()
			check(t, events[:len(events)-1]) // the last is graphql-sse's complete, without data
		})
		t.Run("GraphQL over a websocket", func(t *testing.T) {
			s := p.Socket(key)
			s.Subscribe("1", "subscription"+query, input)
			var events []string
			for {
				m, err := s.Receive()
				if err != nil {
					t.Fatal(err)
				}
				if m.Type == "complete" {
					break
				}
				events = append(events, string(m.Payload))
			}
			check(t, events)
		})
		rows := p.Usage(5)
		for _, r := range rows {
			if r.Status != models.UsageSettled || r.ErrorCode != "" || r.Model != "echo" || r.PromptTokens == 0 || r.CompletionTokens == 0 || r.Estimated {
				t.Errorf("usage record = %+v", r)
			}
			if r.CompletionTokens != rows[0].CompletionTokens || r.PromptTokens != rows[0].PromptTokens {
				t.Errorf("the faces count differently: %+v and %+v", rows[0], r)
			}
		}
	})
}

func TestBytesPassThroughToCompatibleUpstreams(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, coaitest.Status(200, "application/json",
		`{"id":"chatcmpl-up","object":"chat.completion","created":1,"model":"gpt-test-2026","x_vendor":{"zeta":1,"alpha":2},"choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1000000,"completion_tokens":1000000,"total_tokens":2000000,"x_extra":5}}`))
	p.Channel(up, object{"model_mapping": object{"gpt-test": "vendor/gpt"}, "settings": object{"headers": object{"X-Team": "blue"}, "organization": "org-1"}})
	p.GraphQL(coaitest.AdminKey, `mutation { saveModel(input: {name: "gpt-test", pricing: {prompt: "0.15", completion: "0.6"}}) { userErrors { message } } }`, nil, nil)
	key := p.UserKey(nil)

	const body = `{"model":"gpt-test","x_unknown":{"zeta":1, "alpha":[1.50,2e3]},"messages":[{"role":"user","content":"é\u00e9"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"zeta":{},"alpha":{}}}}}]}`
	res := p.Do("POST", "/v1/chat/completions", key, body)
	call := up.Calls()[0]
	if want := strings.Replace(body, `"model":"gpt-test"`, `"model":"vendor/gpt"`, 1); string(call.Body) != want {
		t.Errorf("the upstream got\n%s\nwant\n%s", call.Body, want)
	}
	if call.Path != "/v1/chat/completions" || call.Header.Get("Authorization") != "Bearer "+coaitest.UpstreamKey ||
		call.Header.Get("X-Team") != "blue" || call.Header.Get("OpenAI-Organization") != "org-1" || call.Header.Get("Cookie") != "" {
		t.Errorf("path %s, headers %v", call.Path, call.Header)
	}
	got := string(res.Body)
	if !strings.Contains(got, `"x_vendor":{"zeta":1,"alpha":2}`) || !strings.Contains(got, `"x_extra":5`) || !strings.Contains(got, `"model":"gpt-test"`) {
		t.Errorf("the client got %s", got)
	}
	var c completion
	if res.JSON(t, &c); c.Usage.Cost == nil || c.Usage.Cost.String() != "0.75" {
		t.Errorf("cost = %v", c.Usage.Cost)
	}
	if rows := p.Usage(1); rows[0].Cost != 750_000_000 || rows[0].UpstreamModel != "vendor/gpt" || rows[0].Model != "gpt-test" {
		t.Errorf("record = %+v", rows[0])
	}
}

func TestStreamPassesThrough(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	up := coaitest.NewUpstream(t, coaitest.Streamed("one", " two"))
	p.Channel(up, nil)
	key := p.UserKey(nil)
	stream := func(more object) []string {
		more["stream"] = true
		return coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, ask("gpt-test", more))).All()
	}
	plain := stream(object{})
	want := []string{coaitest.FirstChunk, coaitest.Chunk("one"), coaitest.Chunk(" two"), coaitest.FinishChunk, "[DONE]"}
	for i, w := range want {
		if w = strings.Replace(w, `,"usage":null`, "", 1); i >= len(plain) || plain[i] != w {
			t.Fatalf("without usage:\n%s\nwant at %d:\n%s", strings.Join(plain, "\n"), i, w)
		}
	}
	if got := string(up.Calls()[0].Body); !strings.Contains(got, `"include_usage":true`) {
		t.Errorf("the upstream was not asked for usage: %s", got)
	}
	with := stream(object{"stream_options": object{"include_usage": true}})
	for i, w := range want[:4] {
		if with[i] != w {
			t.Errorf("with usage, event %d:\n%s\nwant\n%s", i, with[i], w)
		}
	}
	if last := decode[chunk](t, with[4]); len(with) != 6 || len(last.Choices) != 0 || last.Usage == nil || last.Usage.TotalTokens != 18 || last.ID != "chatcmpl-up" {
		t.Errorf("usage chunk: %v", with[4:])
	}
	for _, r := range p.Usage(2) {
		if r.PromptTokens != 11 || r.CompletionTokens != 7 || r.CachedTokens != 4 || r.Estimated || r.ErrorCode != "" || !r.Stream {
			t.Errorf("record = %+v", r)
		}
	}
}

// Upstreams put usage on the finish chunk, on every chunk, or leave it out.
func TestOddUsageIsBroughtIntoOpenAIsForm(t *testing.T) {
	withUsage := func(c string) string {
		return strings.Replace(c, `"usage":null`, `"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}`, 1)
	}
	without := func(c string) string { return strings.Replace(c, `,"usage":null`, "", 1) }
	for name, s := range map[string]struct {
		events    []string
		estimated bool
	}{
		"on the finish chunk": {[]string{without(coaitest.FirstChunk), without(coaitest.Chunk("hi")), withUsage(coaitest.FinishChunk), "[DONE]"}, false},
		"on every chunk":      {[]string{withUsage(coaitest.FirstChunk), withUsage(coaitest.Chunk("hi")), withUsage(coaitest.FinishChunk), "[DONE]"}, false},
		"absent":              {[]string{without(coaitest.FirstChunk), without(coaitest.Chunk("hi")), without(coaitest.FinishChunk), "[DONE]"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := coaitest.Start(t, coaitest.Backends{})
			p.Channel(coaitest.NewUpstream(t, coaitest.Events(s.events...)), nil)
			key := p.UserKey(nil)
			for _, wants := range []bool{false, true} {
				in := ask("gpt-test", object{"stream": true, "stream_options": object{"include_usage": wants}})
				events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, in)).All()
				if events[len(events)-1] != "[DONE]" {
					t.Fatalf("events: %v", events)
				}
				for i, e := range events[:len(events)-1] {
					c := decode[chunk](t, e)
					last := i == len(events)-2
					switch {
					case !wants && strings.Contains(e, `"usage"`):
						t.Errorf("usage that nobody asked for: %s", e)
					case wants && !last && (c.Usage != nil || !strings.Contains(e, `"usage":null`)):
						t.Errorf("a chunk before the last without a null usage: %s", e)
					case wants && last && (c.Usage == nil || len(c.Choices) != 0 || c.Usage.TotalTokens == 0):
						t.Errorf("the last chunk: %s", e)
					}
				}
			}
			for _, r := range p.Usage(2) {
				if r.Estimated != s.estimated || !s.estimated && (r.PromptTokens != 11 || r.CompletionTokens != 7) || r.PromptTokens == 0 || r.CompletionTokens == 0 {
					t.Errorf("record = %+v", r)
				}
			}
		})
	}
}

func TestToolCallsStream(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	in := ask("echo", object{"stream": true, "tool_choice": "required", "metadata": object{"echo_tool_calls": "2"}, "tools": []object{
		{"type": "function", "function": object{"name": "look_up", "parameters": object{"type": "object", "properties": object{"word": object{"type": "string"}}, "required": []string{"word"}}}},
	}})
	names, arguments, finish := map[int]string{}, map[int]string{}, ""
	for _, e := range coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/chat/completions", key, in)).All() {
		if e == "[DONE]" {
			break
		}
		for _, c := range decode[chunk](t, e).Choices {
			for _, call := range c.Delta.ToolCalls {
				if call.Index == nil {
					t.Fatalf("a tool call without an index: %s", e)
				}
				if call.Function.Name != "" {
					if names[*call.Index] != "" || call.ID == "" || call.Type != "function" {
						t.Errorf("bad first fragment: %s", e)
					}
					names[*call.Index] = call.Function.Name
				}
				arguments[*call.Index] += call.Function.Arguments
			}
			if c.FinishReason != nil {
				finish = *c.FinishReason
			}
		}
	}
	if len(names) != 2 || names[0] != "look_up" || names[1] != "look_up" || finish != "tool_calls" {
		t.Errorf("names %v, finish %q", names, finish)
	}
	for i, a := range arguments {
		if args := decode[map[string]string](t, a); args["word"] == "" {
			t.Errorf("arguments of call %d: %s", i, a)
		}
	}
}

func TestOnlyAdminsSeeTheChannel(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	for _, stream := range []bool{false, true} {
		in := ask("echo", object{"stream": stream})
		if got := p.Do("POST", "/v1/chat/completions", coaitest.AdminKey, in).Header.Get("X-Coai-Channel"); !strings.HasPrefix(got, models.ChannelPrefix) {
			t.Errorf("stream %v: the admin sees the channel %q", stream, got)
		}
		if got := p.Do("POST", "/v1/chat/completions", key, in).Header.Get("X-Coai-Channel"); got != "" {
			t.Errorf("stream %v: a user sees the channel %q", stream, got)
		}
	}
}
