package coaitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/coaidev/coai/models"
)

// Dialect is a language that upstreams speak, as a scripted server speaks it:
// in the true wire format, byte for byte what the real server would send. To
// add one, write a dialect_NAME.go with a function that gives it, and put that
// into [Dialects]: TestConformance then runs every scenario on it.
type Dialect struct {
	Name       string
	Type       models.ChannelType
	Path       string         // of the channel's base_url, below the server's
	Credential string         // default: [UpstreamKey]
	Settings   map[string]any // the channel's settings
	// Say writes an answer, streamed if the call asks for it.
	Say func(w http.ResponseWriter, c *Call, a Answer)
	// Refuse writes a failure in the upstream's own form.
	Refuse func(w http.ResponseWriter, c *Call, r Refusal)
	// Lacks are the names of scenarios that the language has no words for, each with the reason.
	Lacks map[string]string
}

// Answer is what a scripted upstream says.
type Answer struct {
	Thinking []string // pieces, before the text
	Text     []string // pieces, in a stream one event each
	Calls    []ToolCall
	Finish   models.FinishReason // default: stop, or tool_calls when there are calls
	Usage    Tokens
	NoUsage  bool // the upstream tells no numbers
	// Cut breaks the connection after the pieces of Text, and Fail sends the
	// language's own error event there; both in streams only.
	Cut, Fail bool
}

// ToolCall is a call in an answer. Arguments come in pieces.
type ToolCall struct {
	Name      string
	Arguments []string
}

// Tokens are an answer's counts as OpenAI counts them: Cached and CacheWrite
// are part of Prompt, Reasoning is part of Completion.
type Tokens struct{ Prompt, Cached, CacheWrite, Completion, Reasoning int64 }

// Refusal is why an upstream does not answer.
type Refusal string

// The refusals. Each text that an upstream adds must quote [UpstreamKey], which
// no client may ever see.
const (
	RefuseBadRequest  Refusal = "bad request"    // the request is at fault
	RefuseContext     Refusal = "context"        // the prompt is too long
	RefuseCredential  Refusal = "credential"     // the key is not valid
	RefuseModel       Refusal = "model"          // the model is not known
	RefuseRate        Refusal = "rate"           // too many requests; come back in 7 seconds, if the language can say it
	RefuseOverloaded  Refusal = "overloaded"     // 529, 503 or what the upstream says for it
	RefuseUnavailable Refusal = "unavailable"    // 500
	RefuseHTML        Refusal = "html"           // a proxy's page with status 502
	RefuseFilter      Refusal = "content filter" // the prompt is not allowed
)

// Dialects are all languages there are.
func Dialects() []Dialect { return []Dialect{OpenAI(), Azure(), Anthropic(), Gemini(), Ollama()} }

// Finished is the finish reason of the answer.
func (a *Answer) Finished() models.FinishReason {
	switch {
	case a.Finish != "":
		return a.Finish
	case len(a.Calls) > 0:
		return models.FinishToolCalls
	}
	return models.FinishStop
}

// Quote writes a value as JSON.
func Quote(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a test's own value
	}
	return string(b)
}

// RefuseWithHTML is the page that a proxy in front of an upstream sends.
func RefuseWithHTML(w http.ResponseWriter, c *Call) {
	Status(http.StatusBadGateway, "text/html", "<html><body><h1>502 Bad Gateway</h1>"+UpstreamKey+"</body></html>")(w, c)
}

// CutOff breaks the connection as a crashed upstream does.
func CutOff() { panic(http.ErrAbortHandler) }

// OpenAI is the language of OpenAI's chat completions.
// https://platform.openai.com/docs/api-reference/chat
func OpenAI() Dialect {
	return Dialect{Name: "openai", Type: models.ChannelOpenAI, Path: "/v1", Say: sayOpenAI, Refuse: RefuseOpenAI}
}

func sayOpenAI(w http.ResponseWriter, c *Call, a Answer) {
	var asked struct{ Stream bool }
	if err := json.Unmarshal(c.Body, &asked); err != nil {
		RefuseOpenAI(w, c, RefuseBadRequest)
		return
	}
	usage := "null"
	if !a.NoUsage {
		u := a.Usage
		usage = fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0,"cache_write_tokens":%d},"completion_tokens_details":{"reasoning_tokens":%d,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`,
			u.Prompt, u.Completion, u.Prompt+u.Completion, u.Cached, u.CacheWrite, u.Reasoning)
	}
	if !asked.Stream {
		wholeOpenAI(w, c, a, usage)
		return
	}
	StartEvents(w)
	send := func(delta, finish string) {
		Event(w, `{"id":"chatcmpl-up","object":"chat.completion.chunk","created":1700000000,"model":"gpt-test","choices":[{"index":0,"delta":`+delta+`,"logprobs":null,"finish_reason":`+finish+`}],"usage":null}`)
	}
	send(`{"role":"assistant","content":""}`, "null")
	for _, s := range a.Thinking {
		send(`{"reasoning_content":`+Quote(s)+`}`, "null")
	}
	for _, s := range a.Text {
		send(`{"content":`+Quote(s)+`}`, "null")
	}
	switch {
	case a.Cut:
		CutOff()
	case a.Fail:
		Event(w, `{"error":{"message":"The server had an error. `+UpstreamKey+`","type":"server_error","param":null,"code":null}}`)
		return
	}
	for i, call := range a.Calls {
		send(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":"call_%d","type":"function","function":{"name":%s,"arguments":""}}]}`, i, i, Quote(call.Name)), "null")
		for _, s := range call.Arguments {
			send(fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}`, i, Quote(s)), "null")
		}
	}
	send(`{}`, Quote(a.Finished()))
	if !a.NoUsage {
		Event(w, `{"id":"chatcmpl-up","object":"chat.completion.chunk","created":1700000000,"model":"gpt-test","choices":[],"usage":`+usage+`}`)
	}
	Event(w, Done)
}

func wholeOpenAI(w http.ResponseWriter, c *Call, a Answer, usage string) {
	message := map[string]any{"role": "assistant", "content": nil, "refusal": nil}
	if len(a.Text) > 0 {
		message["content"] = strings.Join(a.Text, "")
	}
	if len(a.Thinking) > 0 {
		message["reasoning_content"] = strings.Join(a.Thinking, "")
	}
	var calls []map[string]any
	for i, call := range a.Calls {
		calls = append(calls, map[string]any{
			"id": fmt.Sprintf("call_%d", i), "type": "function",
			"function": map[string]any{"name": call.Name, "arguments": strings.Join(call.Arguments, "")},
		})
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	Status(http.StatusOK, "application/json", `{"id":"chatcmpl-up","object":"chat.completion","created":1700000000,"model":"gpt-test","choices":[{"index":0,"message":`+
		Quote(message)+`,"logprobs":null,"finish_reason":`+Quote(a.Finished())+`}],"usage":`+usage+`}`)(w, c)
}

// RefuseOpenAI refuses in OpenAI's form.
// https://platform.openai.com/docs/guides/error-codes
func RefuseOpenAI(w http.ResponseWriter, c *Call, r Refusal) {
	refuse := func(status int, kind, code, message string, headers ...string) {
		Status(status, "application/json", `{"error":{"message":`+Quote(message+" "+UpstreamKey)+`,"type":"`+kind+`","param":null,"code":`+Quote(code)+`}}`, headers...)(w, c)
	}
	switch r {
	case RefuseBadRequest:
		refuse(http.StatusBadRequest, "invalid_request_error", "invalid_value", "That is not possible.")
	case RefuseContext:
		refuse(http.StatusBadRequest, "invalid_request_error", "context_length_exceeded", "This model's maximum context length is 8192 tokens.")
	case RefuseFilter:
		refuse(http.StatusBadRequest, "invalid_request_error", "content_filter", "The prompt was filtered.")
	case RefuseCredential:
		refuse(http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "Incorrect API key provided:")
	case RefuseModel:
		refuse(http.StatusNotFound, "invalid_request_error", "model_not_found", "The model does not exist.")
	case RefuseRate:
		refuse(http.StatusTooManyRequests, "requests", "rate_limit_exceeded", "Rate limit reached.", "Retry-After", "7")
	case RefuseOverloaded:
		refuse(http.StatusServiceUnavailable, "server_error", "overloaded", "The engine is overloaded.")
	case RefuseUnavailable:
		refuse(http.StatusInternalServerError, "server_error", "", "The server had an error.")
	case RefuseHTML:
		RefuseWithHTML(w, c)
	}
}
