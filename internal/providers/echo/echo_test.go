package echo_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/echo"
	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// request reads a request as a client would write it, and checks it.
func request(t testing.TB, body string) providers.Request {
	t.Helper()
	in := new(models.ChatCompletionInput)
	if err := json.Unmarshal([]byte(body), in); err != nil {
		t.Fatal(err)
	}
	if in.Model == "" {
		in.Model = "echo"
	}
	if err := in.Validate(); err != nil {
		t.Fatal(err)
	}
	return providers.Request{Input: in, Model: "echo-1"}
}

func complete(t testing.TB, body string) *models.ChatCompletionBody {
	t.Helper()
	answer, err := echo.New().Complete(t.Context(), request(t, body))
	if err != nil {
		t.Fatal(err)
	}
	b, err := answer.Body()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func stream(t testing.TB, body string) []*models.ChunkBody {
	t.Helper()
	st, err := echo.New().Stream(t.Context(), request(t, body))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var chunks []*models.ChunkBody
	for {
		chunk, err := st.Next()
		if errors.Is(err, io.EOF) {
			return chunks
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := chunk.Body()
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, b)
	}
}

// joined puts a stream together again, as a client does.
func joined(t testing.TB, chunks []*models.ChunkBody) *models.ChatCompletionBody {
	t.Helper()
	whole := &models.ChatCompletionBody{}
	for _, chunk := range chunks {
		if whole.ID == "" {
			whole.ID, whole.Created, whole.Model = chunk.ID, chunk.Created, chunk.Model
		}
		if chunk.ID != whole.ID || chunk.Created != whole.Created || chunk.Model != whole.Model || chunk.Object != "chat.completion.chunk" {
			t.Errorf("a chunk of another completion: %+v", chunk)
		}
		if chunk.Usage != nil {
			if len(chunk.Choices) != 0 || chunk.Choices == nil {
				t.Errorf("usage beside choices %v", chunk.Choices)
			}
			whole.Usage = chunk.Usage
		}
		for _, c := range chunk.Choices {
			for len(whole.Choices) <= c.Index {
				whole.Choices = append(whole.Choices, models.Choice{Index: len(whole.Choices)})
			}
			add(t, &whole.Choices[c.Index], c)
		}
	}
	return whole
}

func add(t testing.TB, to *models.Choice, c models.ChunkChoice) {
	t.Helper()
	if to.FinishReason != "" {
		t.Errorf("choice %d goes on after its end", c.Index)
	}
	if c.FinishReason != nil {
		to.FinishReason = *c.FinishReason
		if b, _ := json.Marshal(c.Delta); string(b) != "{}" {
			t.Errorf("the finish chunk says %s", b)
		}
	}
	m, d := &to.Message, c.Delta
	if d.Role != nil {
		m.Role = *d.Role
	} else if m.Role == "" {
		t.Errorf("choice %d begins without a role", c.Index)
	}
	if d.Content != nil {
		m.Content = new(orEmpty(m.Content) + *d.Content)
	}
	if f := d.FunctionCall; f != nil {
		if m.FunctionCall == nil {
			m.FunctionCall = &models.FunctionCall{Name: f.Name, Arguments: new("")}
		}
		*m.FunctionCall.Arguments += *f.Arguments
	}
	for _, call := range d.ToolCalls {
		if *call.Index == len(m.ToolCalls) {
			if call.ID == nil || call.Type == nil || call.Function.Name == nil || *call.Function.Arguments != "" {
				t.Errorf("call %d begins with %+v", *call.Index, call)
			}
			m.ToolCalls = append(m.ToolCalls, models.ToolCall{ID: call.ID, Type: call.Type, Function: &models.FunctionCall{Name: call.Function.Name, Arguments: new("")}})
			continue
		}
		if call.ID != nil || call.Type != nil || call.Function.Name != nil {
			t.Errorf("a later piece of call %d names it again: %+v", *call.Index, call)
		}
		*m.ToolCalls[*call.Index].Function.Arguments += *call.Function.Arguments
	}
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// What is said must be the same whole and streamed.
func TestAnswers(t *testing.T) {
	const weather = `"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object",
		"properties":{"unit":{"type":"string","enum":["C","F"]},"city":{"type":"string"},"days":{"type":"integer","minimum":1}},"required":["city","days"]}}},
		{"type":"function","function":{"name":"get_time"}}]`
	long := strings.Repeat("word ", 200)
	tests := map[string]struct {
		body   string
		text   string
		calls  []string
		finish models.FinishReason
		n      int
	}{
		"text":            {`"messages":[{"role":"system","content":"Be nice."},{"role":"user","content":"Hello,  big\nworld "}]`, "Hello,  big\nworld ", nil, "stop", 1},
		"last of several": {`"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]`, "c", nil, "stop", 1},
		"no user message": {`"messages":[{"role":"system","content":"only this"}]`, "only this", nil, "stop", 1},
		"empty":           {`"messages":[{"role":"user","content":""}]`, "", nil, "stop", 1},
		"parts": {
			`"messages":[{"role":"user","content":[{"type":"text","text":"See "},{"type":"image_url","image_url":{"url":"https://x.test/"}},
			{"type":"input_audio","input_audio":{"data":"","format":"wav"}},{"type":"file","file":{"file_id":"1"}}]}]`,
			"See [image_url][input_audio][file]", nil, "stop", 1,
		},
		"n":               {`"n":3,"messages":[{"role":"user","content":"a b"}]`, "a b", nil, "stop", 3},
		"stop":            {`"stop":["four","three","zz"],"messages":[{"role":"user","content":"one two three four"}]`, "one two ", nil, "stop", 1},
		"max_tokens":      {`"max_tokens":3,"messages":[{"role":"user","content":"one two three four"}]`, "one two three", nil, "length", 1},
		"both limits":     {`"max_tokens":100,"max_completion_tokens":2,"messages":[{"role":"user","content":"one two three four"}]`, "one two", nil, "length", 1},
		"limit not met":   {`"max_tokens":4,"messages":[{"role":"user","content":"one two three four"}]`, "one two three four", nil, "stop", 1},
		"stop, then max":  {`"max_tokens":2,"stop":"four","messages":[{"role":"user","content":"one two three four"}]`, "one two", nil, "length", 1},
		"long":            {`"messages":[{"role":"user","content":"` + long + `"}]`, long, nil, "stop", 1},
		"not our control": {`"metadata":{"trace":"1"},"messages":[{"role":"user","content":"a"}]`, "a", nil, "stop", 1},

		"json_object": {`"response_format":{"type":"json_object"},"messages":[{"role":"user","content":"say \"x\" as JSON"}]`, `{"echo":"say \"x\" as JSON"}`, nil, "stop", 1},
		"json_schema": {
			`"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object","properties":{
			"z":{"type":"string"},"a":{"type":"array","items":{"$ref":"#/$defs/p"},"minItems":2},"k":{"enum":["u","v"]},"c":{"const":7},
			"n":{"type":["integer","null"],"minimum":3},"b":{"type":"boolean"},"o":{"anyOf":[{"type":"null"},{"type":"string"}]}},
			"$defs":{"p":{"type":"object","properties":{"x":{"type":"number"}}}}}}},"messages":[{"role":"user","content":"hi"}]`,
			`{"z":"hi","a":[{"x":0},{"x":0}],"k":"u","c":7,"n":3,"b":false,"o":null}`, nil, "stop", 1,
		},
		"schema without properties": {`"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}},"messages":[{"role":"user","content":"hi"}]`, `{"echo":"hi"}`, nil, "stop", 1},

		"tools not asked for":  {weather + `,"messages":[{"role":"user","content":"get_weather_report please"}]`, "get_weather_report please", nil, "stop", 1},
		"tool named":           {weather + `,"messages":[{"role":"user","content":"Use get_weather!"}]`, "", []string{`get_weather{"city":"Use get_weather!","days":1}`}, "tool_calls", 1},
		"both named":           {weather + `,"n":2,"messages":[{"role":"user","content":"get_time, get_weather"}]`, "", []string{`get_weather{"city":"get_time, get_weather","days":1}`, `get_time{"input":"get_time, get_weather"}`}, "tool_calls", 2},
		"not in parallel":      {weather + `,"parallel_tool_calls":false,"messages":[{"role":"user","content":"get_time get_weather"}]`, "", []string{`get_weather{"city":"get_time get_weather","days":1}`}, "tool_calls", 1},
		"none":                 {weather + `,"tool_choice":"none","messages":[{"role":"user","content":"get_time"}]`, "get_time", nil, "stop", 1},
		"required":             {weather + `,"tool_choice":"required","messages":[{"role":"user","content":"žluť"}]`, "", []string{`get_weather{"city":"žluť","days":1}`}, "tool_calls", 1},
		"choice names one":     {weather + `,"tool_choice":{"type":"function","function":{"name":"get_time"}},"messages":[{"role":"user","content":"x"}]`, "", []string{`get_time{"input":"x"}`}, "tool_calls", 1},
		"three by metadata":    {weather + `,"metadata":{"echo_tool_calls":"3"},"messages":[{"role":"user","content":"x"}]`, "", []string{`get_weather{"city":"x","days":1}`, `get_time{"input":"x"}`, `get_weather{"city":"x","days":1}`}, "tool_calls", 1},
		"none by metadata":     {weather + `,"metadata":{"echo_tool_calls":"0"},"messages":[{"role":"user","content":"get_time"}]`, "get_time", nil, "stop", 1},
		"legacy function":      {`"functions":[{"name":"f"}],"function_call":"auto","messages":[{"role":"user","content":"f it"}]`, "", []string{`f{"input":"f it"}`}, "function_call", 1},
		"legacy function name": {`"functions":[{"name":"f"},{"name":"g"}],"function_call":{"name":"g"},"messages":[{"role":"user","content":"x"}]`, "", []string{`g{"input":"x"}`}, "function_call", 1},
		"after a tool": {
			weather + `,"tool_choice":"required","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"get_time","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"1","content":"12:00"},{"role":"tool","tool_call_id":"2","content":"sunny"}]`,
			"12:00\nsunny", nil, "stop", 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for how, got := range map[string]*models.ChatCompletionBody{
				"whole":    complete(t, "{"+test.body+"}"),
				"streamed": joined(t, stream(t, "{"+test.body+"}")),
			} {
				if len(got.Choices) != test.n || !strings.HasPrefix(got.ID, "chatcmpl-") || got.Model != "echo-1" {
					t.Fatalf("%s: %+v", how, got)
				}
				var said int64
				for i, c := range got.Choices {
					text, calls := orEmpty(c.Message.Content), []string(nil)
					said += tokens.Count(text)
					if f := c.Message.FunctionCall; f != nil {
						c.Message.ToolCalls = []models.ToolCall{{Function: f}}
					}
					for _, call := range c.Message.ToolCalls {
						calls = append(calls, *call.Function.Name+*call.Function.Arguments)
						said += tokens.Count(*call.Function.Name) + tokens.Count(*call.Function.Arguments)
					}
					if c.Index != i || text != test.text || strings.Join(calls, ";") != strings.Join(test.calls, ";") || c.FinishReason != test.finish || c.Message.Role != "assistant" {
						t.Errorf("%s: choice %d says %q, calls %q, ends with %s; want %q, %q, %s", how, i, text, calls, c.FinishReason, test.text, test.calls, test.finish)
					}
				}
				prompt := tokens.CountPrompt(request(t, "{"+test.body+"}").Input)
				if u := got.Usage; u == nil || u.PromptTokens != prompt || u.CompletionTokens != said || u.TotalTokens != prompt+said {
					t.Errorf("%s: usage %+v, want %d and %d", how, u, prompt, said)
				}
			}
		})
	}
}

func TestStreamShape(t *testing.T) {
	var got []string
	for _, chunk := range stream(t, `{"messages":[{"role":"user","content":"Hello big  world"}]}`) {
		b, err := json.Marshal(chunk.Choices)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	want := []string{
		`[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`,
		`[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}]`,
		`[{"index":0,"delta":{"content":" big"},"logprobs":null,"finish_reason":null}]`,
		`[{"index":0,"delta":{"content":"  world"},"logprobs":null,"finish_reason":null}]`,
		`[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]`,
		`[]`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefusals(t *testing.T) {
	const hello = `"messages":[{"role":"user","content":"hello"}]`
	tests := map[string]struct{ body, param string }{
		"delay is no number": {`"metadata":{"echo_delay_ms":"soon"}`, "metadata.echo_delay_ms"},
		"delay too long":     {`"metadata":{"echo_delay_ms":"60001"}`, "metadata.echo_delay_ms"},
		"delay negative":     {`"metadata":{"echo_first_delay_ms":"-1"}`, "metadata.echo_first_delay_ms"},
		"too many calls":     {`"metadata":{"echo_tool_calls":"129"}`, "metadata.echo_tool_calls"},
		"calls, no tools":    {`"metadata":{"echo_tool_calls":"1"}`, "metadata.echo_tool_calls"},
		"unknown failure":    {`"metadata":{"echo_fail":"badly"}`, "metadata.echo_fail"},
		"unknown control":    {`"metadata":{"echo_dealy_ms":"1"}`, "metadata.echo_dealy_ms"},
		"told to":            {`"metadata":{"echo_fail":"invalid"}`, "metadata.echo_fail"},
		"unknown tool":       {`"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}}`, "tool_choice"},
		"required, no tools": {`"tool_choice":"required"`, "tool_choice"},
		"too much output":    {`"n":128,"messages":[{"role":"user","content":"` + strings.Repeat("x", 300_000) + `"}]`, "n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			body := "{" + hello + "," + test.body + "}"
			_, errWhole := echo.New().Complete(t.Context(), request(t, body))
			_, errStream := echo.New().Stream(t.Context(), request(t, body))
			for _, err := range []error{errWhole, errStream} {
				var e *providers.Error
				if !errors.As(err, &e) || e.Class != providers.Rejected || e.Code != models.CodeInvalidValue || e.Param != test.param || e.Message == "" {
					t.Errorf("%#v", err)
				}
			}
		})
	}
}

func TestFailures(t *testing.T) {
	for fail, want := range map[string]providers.Error{
		"before":     {Class: providers.Unavailable, Status: 503},
		"rate_limit": {Class: providers.RateLimited, Status: 429, Retry: time.Second},
	} {
		req := request(t, `{"metadata":{"echo_fail":"`+fail+`"},"messages":[{"role":"user","content":"hello"}]}`)
		_, errWhole := echo.New().Complete(t.Context(), req)
		_, errStream := echo.New().Stream(t.Context(), req)
		for _, err := range []error{errWhole, errStream} {
			var e *providers.Error
			if !errors.As(err, &e) || e.Class != want.Class || e.Status != want.Status || e.Retry != want.Retry {
				t.Errorf("%s: %#v", fail, err)
			}
		}
	}
}

func TestBreakOff(t *testing.T) {
	for text, want := range map[string]string{"one": "one", "one two three four five six": "one two three four", "": ""} {
		req := request(t, `{"n":2,"metadata":{"echo_fail":"mid"},"messages":[{"role":"user","content":"`+text+`"}]}`)
		if _, err := echo.New().Complete(t.Context(), req); providers.AsError(err).Class != providers.Unavailable {
			t.Errorf("Complete: %v", err)
		}
		st, err := echo.New().Stream(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		var said [2]string
		for {
			var chunk *models.ChatCompletionChunk
			if chunk, err = st.Next(); err != nil {
				break
			}
			choices, _ := chunk.Choices()
			for _, c := range choices {
				said[c.Index] += orEmpty(c.Delta.Content)
			}
		}
		if e := providers.AsError(err); e.Class != providers.Unavailable || errors.Is(err, io.EOF) {
			t.Errorf("ended with %v", err)
		}
		if said[0] != want || said[1] != want {
			t.Errorf("said %q before it broke off, want %q", said, want)
		}
	}
}

func TestDelays(t *testing.T) {
	const body = `{"metadata":{"echo_first_delay_ms":"2000","echo_delay_ms":"100"},"messages":[{"role":"user","content":"a b c"}]}`
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		complete(t, body)
		if got := time.Since(begin); got != 2100*time.Millisecond {
			t.Errorf("a whole answer took %v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		st, err := echo.New().Stream(t.Context(), request(t, body))
		if err != nil || time.Since(begin) != 0 {
			t.Fatalf("Stream: %v after %v", err, time.Since(begin))
		}
		for i := range 6 { // role, three words, finish, usage
			if _, err := st.Next(); err != nil {
				t.Fatal(err)
			}
			if got, want := time.Since(begin), 2*time.Second+time.Duration(i+1)*100*time.Millisecond; got != want {
				t.Errorf("chunk %d came after %v, want %v", i, got, want)
			}
		}
	})
}

// Whatever it waits for, the end of the context ends it at once.
func TestContext(t *testing.T) {
	for name, metadata := range map[string]string{
		"first delay": `{"echo_first_delay_ms":"60000"}`,
		"delay":       `{"echo_delay_ms":"60000"}`,
		"timeout":     `{"echo_fail":"timeout"}`,
		"failure":     `{"echo_fail":"before","echo_first_delay_ms":"60000"}`,
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, `{"metadata":`+metadata+`,"messages":[{"role":"user","content":"a"}]}`)
			whole := func(ctx context.Context) error {
				_, err := echo.New().Complete(ctx, req)
				return err
			}
			streamed := func(ctx context.Context) error {
				st, err := echo.New().Stream(ctx, req)
				if err == nil {
					_, err = st.Next()
				}
				return err
			}
			for _, ask := range []func(context.Context) error{whole, streamed} {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(3*time.Second, cancel)
					begin := time.Now()
					if err := ask(ctx); providers.AsError(err).Class != providers.Canceled || time.Since(begin) != 3*time.Second {
						t.Errorf("cancelled: %v after %v", err, time.Since(begin))
					}
					ctx, cancel = context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if err := ask(ctx); providers.AsError(err).Class != providers.Timeout {
						t.Errorf("deadline: %v", err)
					}
				})
			}
		})
	}
}

func TestClose(t *testing.T) {
	st, err := echo.New().Stream(t.Context(), request(t, `{"messages":[{"role":"user","content":"a b"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := st.Next(); err == nil {
		t.Error("a closed stream goes on")
	}
}

func FuzzSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#"},"b":{"type":"array","minItems":3,"items":{"$ref":"#/properties/a"}}},"required":["a","b"]}`), "text")
	f.Add([]byte(`{"properties":{"a":{"anyOf":[{"$ref":"#/$defs/~1x~0"}]}},"$defs":{"/x~":{"enum":[1]}}}`), "\xff")
	f.Fuzz(func(t *testing.T, schema []byte, text string) {
		if !json.Valid(schema) || len(schema) == 0 || schema[0] != '{' {
			t.Skip()
		}
		in := &models.ChatCompletionInput{
			Messages:       []models.ChatMessage{{Role: models.RoleMessageUser, Content: &models.MessageContent{Text: &text}}},
			ResponseFormat: &models.ResponseFormat{Type: "json_schema", JSONSchema: &models.JSONSchema{Name: "x", Schema: schema}},
		}
		answer, err := echo.New().Complete(t.Context(), providers.Request{Input: in, Model: "echo"})
		if err != nil {
			t.Fatal(err)
		}
		choices, err := answer.Choices()
		if err != nil {
			t.Fatal(err)
		}
		if got := *choices[0].Message.Content; !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %s", got)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	req := request(b, `{"messages":[{"role":"user","content":"`+strings.Repeat("word ", 100)+`"}]}`)
	b.ReportAllocs()
	for b.Loop() {
		st, err := echo.New().Stream(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		for {
			chunk, err := st.Next()
			if err != nil {
				break
			}
			if _, err := chunk.JSON(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
