package coaitest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// conformance are the scenarios that every provider must get right, over every
// wire format, whole and streamed: what the upstream says and what clients and
// the ledger see.
var conformance = []struct { //nolint:gochecknoglobals // a table
	name     string
	answer   coaitest.Answer
	thinking bool // the answer's thinking must arrive
}{
	{name: "text", answer: coaitest.Answer{
		Text: []string{"Hel", "lo, ", "wörld ", "\"quoted\"\n", "日本", "語 🙂"}, Usage: coaitest.Tokens{Prompt: 11, Completion: 7},
	}},
	{name: "one tool", answer: coaitest.Answer{
		Calls: []coaitest.ToolCall{{Name: "get_weather", Arguments: []string{`{"city"`, `:"Par`, `is","days":3}`}}}, Usage: coaitest.Tokens{Prompt: 20, Completion: 9},
	}},
	{name: "text and parallel tools", answer: coaitest.Answer{
		Text: []string{"Let me ", "look."}, Usage: coaitest.Tokens{Prompt: 20, Completion: 19},
		Calls: []coaitest.ToolCall{
			{Name: "get_weather", Arguments: []string{`{"city":"Paris"}`}},
			{Name: "get_weather", Arguments: []string{`{"city":`, `"Rome"}`}},
			{Name: "get_time", Arguments: []string{`{"zone":"UTC"}`}},
		},
	}},
	{name: "a tool without arguments", answer: coaitest.Answer{
		Calls: []coaitest.ToolCall{{Name: "get_time", Arguments: []string{`{}`}}}, Usage: coaitest.Tokens{Prompt: 20, Completion: 4},
	}},
	{name: "length", answer: coaitest.Answer{Text: []string{"cut"}, Finish: models.FinishLength, Usage: coaitest.Tokens{Prompt: 3, Completion: 1}}},
	{name: "content filter", answer: coaitest.Answer{Text: []string{"I "}, Finish: models.FinishContentFilter, Usage: coaitest.Tokens{Prompt: 3, Completion: 1}}},
	{name: "cached prompt", answer: coaitest.Answer{Text: []string{"ok"}, Usage: coaitest.Tokens{Prompt: 100, Cached: 60, Completion: 2}}},
	{name: "cache write", answer: coaitest.Answer{Text: []string{"ok"}, Usage: coaitest.Tokens{Prompt: 100, Cached: 10, CacheWrite: 50, Completion: 2}}},
	{name: "thinking", thinking: true, answer: coaitest.Answer{
		Thinking: []string{"First ", "this."}, Text: []string{"Then that."}, Usage: coaitest.Tokens{Prompt: 5, Completion: 12, Reasoning: 8},
	}},
	{name: "no usage", answer: coaitest.Answer{Text: []string{"four words are here"}, NoUsage: true}},
}

// refusals are what clients see of each refusal.
var refusals = map[coaitest.Refusal]struct { //nolint:gochecknoglobals // a table
	status int
	code   string
}{
	coaitest.RefuseBadRequest:  {http.StatusBadRequest, models.CodeInvalidValue},
	coaitest.RefuseContext:     {http.StatusBadRequest, models.CodeContextLength},
	coaitest.RefuseFilter:      {http.StatusBadRequest, models.CodeContentFilter},
	coaitest.RefuseCredential:  {http.StatusServiceUnavailable, models.CodeUpstreamError},
	coaitest.RefuseModel:       {http.StatusServiceUnavailable, models.CodeUpstreamError},
	coaitest.RefuseRate:        {http.StatusServiceUnavailable, models.CodeOverloaded},
	coaitest.RefuseOverloaded:  {http.StatusServiceUnavailable, ""},
	coaitest.RefuseUnavailable: {http.StatusServiceUnavailable, models.CodeUpstreamError},
	coaitest.RefuseHTML:        {http.StatusServiceUnavailable, models.CodeUpstreamError},
}

func TestConformance(t *testing.T) {
	for _, d := range coaitest.Dialects() {
		t.Run(d.Name, func(t *testing.T) {
			p := coaitest.Start(t, coaitest.Backends{}, "COAI_UPSTREAM_RETRIES=0")
			up := coaitest.NewUpstream(t)
			more := object{"type": d.Type, "base_url": up.URL + d.Path, "settings": d.Settings}
			if d.Credential != "" {
				more["credential"] = d.Credential
			}
			id := p.Channel(up, more)
			c := conformer{p: p, up: up, d: d, key: p.UserKey(nil), channel: id}
			for _, s := range conformance {
				if why := d.Lacks[s.name]; why != "" {
					t.Logf("%s: %s", s.name, why)
					continue
				}
				t.Run(s.name, func(t *testing.T) { c.whole(t, s.answer, s.thinking) })
				t.Run(s.name+", streamed", func(t *testing.T) { c.streamed(t, s.answer, s.thinking) })
			}
			for r, want := range refusals {
				if why := d.Lacks[string(r)]; why != "" {
					t.Logf("%s: %s", r, why)
					continue
				}
				t.Run("refuses: "+string(r), func(t *testing.T) { c.refused(t, r, want.status, want.code) })
			}
			t.Run("cut in mid-stream", func(t *testing.T) { c.broken(t, coaitest.Answer{Text: []string{"half an ", "answer"}, Cut: true}) })
			if d.Lacks["fails in mid-stream"] == "" {
				t.Run("fails in mid-stream", func(t *testing.T) { c.broken(t, coaitest.Answer{Text: []string{"half an ", "answer"}, Fail: true}) })
			}
		})
	}
}

type conformer struct {
	p            *coaitest.Product
	up           *coaitest.Upstream
	d            coaitest.Dialect
	key, channel string
	records      int
}

var conformanceTools = []object{ //nolint:gochecknoglobals // a constant
	{"type": "function", "function": object{"name": "get_weather", "description": "Looks.", "parameters": object{"type": "object", "properties": object{"city": object{"type": "string"}, "days": object{"type": "integer"}}, "required": []string{"city"}}}},
	{"type": "function", "function": object{"name": "get_time", "parameters": object{"type": "object", "properties": object{"zone": object{"type": "string"}}}}},
}

func (c *conformer) ask(more object) object {
	in := object{"tools": conformanceTools, "max_tokens": 4096}
	for k, v := range more {
		in[k] = v
	}
	return ask("gpt-test", in)
}

func (c *conformer) says(a coaitest.Answer) {
	c.up.Then(func(w http.ResponseWriter, call *coaitest.Call) { c.d.Say(w, call, a) })
}

// record waits for the next usage record.
func (c *conformer) record() models.UsageRecord {
	c.records++
	return c.p.Usage(c.records)[c.records-1]
}

// heard is an answer as a client holds it in the end.
type heard struct {
	Content          string
	ReasoningContent string `json:"reasoning_content"`
	ToolCalls        []struct {
		ID, Type string
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

func (c *conformer) whole(t *testing.T, a coaitest.Answer, thinking bool) {
	c.says(a)
	res := c.p.Do("POST", "/v1/chat/completions", c.key, c.ask(nil))
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var got struct {
		ID, Object, Model string
		Created           int64
		Choices           []struct {
			Message      heard
			FinishReason models.FinishReason `json:"finish_reason"`
		}
		Usage models.Usage
	}
	res.JSON(t, &got)
	if got.ID == "" || got.Object != "chat.completion" || got.Created == 0 || len(got.Choices) != 1 {
		t.Fatalf("%s", res.Body)
	}
	sameAnswer(t, a, got.Choices[0].Message, got.Choices[0].FinishReason, thinking)
	c.counted(t, a, &got.Usage)
}

func sameAnswer(t *testing.T, a coaitest.Answer, m heard, finish models.FinishReason, thinking bool) {
	t.Helper()
	if want := strings.Join(a.Text, ""); m.Content != want {
		t.Errorf("content %q, want %q", m.Content, want)
	}
	if want := strings.Join(a.Thinking, ""); thinking && m.ReasoningContent != want {
		t.Errorf("reasoning %q, want %q", m.ReasoningContent, want)
	}
	if finish != a.Finished() {
		t.Errorf("finish_reason %q, want %q", finish, a.Finished())
	}
	if len(m.ToolCalls) != len(a.Calls) {
		t.Fatalf("%d tool calls, want %d: %+v", len(m.ToolCalls), len(a.Calls), m.ToolCalls)
	}
	var ids []string
	for i, call := range m.ToolCalls {
		want := a.Calls[i]
		if call.Type != "function" || call.Function.Name != want.Name || !sameJSON(call.Function.Arguments, strings.Join(want.Arguments, "")) {
			t.Errorf("call %d: %+v, want %+v", i, call, want)
		}
		if call.ID == "" || slices.Contains(ids, call.ID) {
			t.Errorf("call %d: the id %q is empty or not its own", i, call.ID)
		}
		ids = append(ids, call.ID)
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// counted compares the usage that the client saw, that of the ledger, and what
// the upstream said.
func (c *conformer) counted(t *testing.T, a coaitest.Answer, u *models.Usage) {
	t.Helper()
	r := c.record()
	if r.Status != models.UsageSettled || r.ErrorCode != "" || r.ChannelID != c.channel {
		t.Errorf("record %+v", r)
	}
	if u != nil && (u.PromptTokens != r.PromptTokens || u.CompletionTokens != r.CompletionTokens || u.TotalTokens != r.PromptTokens+r.CompletionTokens) {
		t.Errorf("the client saw %+v, the ledger holds %+v", u, r)
	}
	if a.NoUsage {
		if !r.Estimated || r.PromptTokens == 0 || r.CompletionTokens == 0 {
			t.Errorf("without numbers from the upstream the record is %+v", r)
		}
		return
	}
	want := a.Usage
	if r.Estimated || r.PromptTokens != want.Prompt || r.CompletionTokens != want.Completion || r.CachedTokens != want.Cached || r.ReasoningTokens != want.Reasoning && c.d.Lacks["reasoning tokens"] == "" {
		t.Errorf("record %+v, want %+v", r, want)
	}
}

func (c *conformer) streamed(t *testing.T, a coaitest.Answer, thinking bool) {
	c.says(a)
	wantsUsage := c.records%2 == 0
	more := object{"stream": true}
	if wantsUsage {
		more["stream_options"] = object{"include_usage": true}
	}
	events := coaitest.NewEventStream(t, c.p.Open(t.Context(), "POST", "/v1/chat/completions", c.key, c.ask(more))).All()
	if len(events) < 3 || events[len(events)-1] != "[DONE]" {
		t.Fatalf("events %q", events)
	}
	var sum accumulated
	for i, e := range events[:len(events)-1] {
		sum.add(t, i, e, wantsUsage)
	}
	sameAnswer(t, a, sum.heard, sum.finish, thinking)
	if (sum.usage != nil) != wantsUsage {
		t.Errorf("usage %+v, and it was asked for: %t", sum.usage, wantsUsage)
	}
	c.counted(t, a, sum.usage)
}

// accumulated puts a stream together as SDKs do.
type accumulated struct {
	heard
	id, model string
	created   int64
	finish    models.FinishReason
	usage     *models.Usage
}

func (s *accumulated) add(t *testing.T, i int, event string, wantsUsage bool) {
	t.Helper()
	c := decode[struct {
		ID, Object, Model string
		Created           int64
		Usage             *models.Usage
		Choices           []struct {
			Index int
			Delta struct {
				Role             *string
				Content          *string
				ReasoningContent *string `json:"reasoning_content"`
				ToolCalls        []struct {
					Index    *int
					ID, Type *string
					Function struct{ Name, Arguments *string }
				} `json:"tool_calls"`
			}
			FinishReason *models.FinishReason `json:"finish_reason"`
		}
	}](t, event)
	if i == 0 {
		s.id, s.model, s.created = c.ID, c.Model, c.Created
	}
	if c.ID == "" || c.ID != s.id || c.Model != s.model || c.Created != s.created || c.Object != "chat.completion.chunk" {
		t.Errorf("chunk %d is not of the same answer: %s", i, event)
	}
	if wantsUsage && !strings.Contains(event, `"usage"`) || !wantsUsage && strings.Contains(event, `"usage"`) {
		t.Errorf("chunk %d: usage asked for: %t; %s", i, wantsUsage, event)
	}
	if len(c.Choices) == 0 {
		if s.usage != nil || c.Usage == nil || s.finish == "" {
			t.Errorf("chunk %d has no choices, and is not the one last usage: %s", i, event)
		}
		s.usage = c.Usage
		return
	}
	if c.Usage != nil {
		t.Errorf("chunk %d has choices and a usage: %s", i, event)
	}
	ch := c.Choices[0]
	if i == 0 && (ch.Delta.Role == nil || *ch.Delta.Role != "assistant") {
		t.Errorf("the first chunk names no role: %s", event)
	}
	if s.finish != "" {
		t.Errorf("chunk %d comes after the finish reason: %s", i, event)
	}
	if ch.Delta.Content != nil {
		s.Content += *ch.Delta.Content
	}
	if ch.Delta.ReasoningContent != nil {
		s.ReasoningContent += *ch.Delta.ReasoningContent
	}
	for _, d := range ch.Delta.ToolCalls {
		if d.Index == nil || *d.Index > len(s.ToolCalls) {
			t.Fatalf("chunk %d: the index of a tool call skips one: %s", i, event)
		}
		if *d.Index == len(s.ToolCalls) {
			if d.ID == nil || d.Type == nil || d.Function.Name == nil {
				t.Fatalf("chunk %d: the first delta of a call lacks its id, type or name: %s", i, event)
			}
			s.ToolCalls = slices.Grow(s.ToolCalls, 1)[:len(s.ToolCalls)+1]
			call := &s.ToolCalls[*d.Index]
			call.ID, call.Type, call.Function.Name = *d.ID, *d.Type, *d.Function.Name
		}
		if d.Function.Arguments != nil {
			s.ToolCalls[*d.Index].Function.Arguments += *d.Function.Arguments
		}
	}
	if ch.FinishReason != nil {
		s.finish = *ch.FinishReason
	}
}

func (c *conformer) refused(t *testing.T, r coaitest.Refusal, status int, code string) {
	// A channel of its own: refusals put one to rest.
	up := coaitest.NewUpstream(t, func(w http.ResponseWriter, call *coaitest.Call) { c.d.Refuse(w, call, r) })
	model := "refuses-" + strings.ReplaceAll(string(r), " ", "-")
	more := object{"type": c.d.Type, "base_url": up.URL + c.d.Path, "settings": c.d.Settings, "models": []string{model}}
	if c.d.Credential != "" {
		more["credential"] = c.d.Credential
	}
	c.p.Channel(up, more)
	for _, stream := range []bool{false, true} {
		in := c.ask(object{"stream": stream})
		in["model"] = model
		res := c.p.Do("POST", "/v1/chat/completions", c.key, in)
		e := res.Error(t)
		if res.Status != status || code != "" && e.Code != code {
			t.Errorf("stream %t: %d %+v, want %d %s", stream, res.Status, e, status, code)
		}
		if strings.Contains(string(res.Body), coaitest.UpstreamKey) || strings.Contains(string(res.Body), up.URL) {
			t.Errorf("the answer tells a secret: %s", res.Body)
		}
	}
	// However often the upstream was asked, nothing was used.
	asked := len(up.Calls())
	for _, rec := range c.p.Usage(c.records + asked)[c.records:] {
		if rec.PromptTokens != 0 || rec.CompletionTokens != 0 || rec.Cost != 0 || rec.ErrorCode == "" {
			t.Errorf("record %+v", rec)
		}
	}
	c.records += asked
}

func (c *conformer) broken(t *testing.T, a coaitest.Answer) {
	c.says(a)
	events := coaitest.NewEventStream(t, c.p.Open(t.Context(), "POST", "/v1/chat/completions", c.key, c.ask(object{"stream": true}))).All()
	text := ""
	for _, e := range events[:len(events)-1] {
		for _, ch := range decode[chunk](t, e).Choices {
			text += ch.Delta.Content
		}
	}
	last := decode[chunk](t, events[len(events)-1])
	if last.Error == nil || text != strings.Join(a.Text, "") || strings.Contains(events[len(events)-1], coaitest.UpstreamKey) {
		t.Errorf("text %q, last event %s", text, events[len(events)-1])
	}
	r := c.record()
	if r.ErrorCode == "" || r.CompletionTokens == 0 || r.PromptTokens == 0 {
		t.Errorf("record %+v", r)
	}
}
