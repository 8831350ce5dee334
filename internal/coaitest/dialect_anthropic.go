package coaitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/coaidev/coai/models"
)

// Anthropic is the language of Anthropic's Messages.
// https://platform.claude.com/docs/en/api/messages
func Anthropic() Dialect {
	return Dialect{Name: "anthropic", Type: models.ChannelAnthropic, Say: sayAnthropic, Refuse: RefuseAnthropic}
}

// anthropicMessage is the answer as Anthropic counts and names it, without its blocks.
func anthropicMessage(a Answer) (stop, startUsage, usage string) {
	switch a.Finished() {
	case models.FinishLength:
		stop = "max_tokens"
	case models.FinishContentFilter:
		stop = "refusal"
	case models.FinishToolCalls, models.FinishFunctionCall:
		stop = "tool_use"
	case models.FinishStop:
		stop = "end_turn"
	}
	if a.NoUsage {
		return stop, "", ""
	}
	u := a.Usage
	prompt := fmt.Sprintf(`"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d`, u.Prompt-u.Cached-u.CacheWrite, u.CacheWrite, u.Cached)
	return stop, `,"usage":{` + prompt + `,"cache_creation":{"ephemeral_5m_input_tokens":` + fmt.Sprint(u.CacheWrite) + `,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard","inference_geo":"global"}`,
		fmt.Sprintf(`,"usage":{%s,"output_tokens":%d,"output_tokens_details":{"thinking_tokens":%d}}`, prompt, u.Completion, u.Reasoning)
}

func sayAnthropic(w http.ResponseWriter, c *Call, a Answer) {
	var asked struct {
		Stream    bool
		MaxTokens int `json:"max_tokens"`
	}
	if err := json.Unmarshal(c.Body, &asked); err != nil || asked.MaxTokens < 1 ||
		c.Header.Get("X-Api-Key") != UpstreamKey || c.Header.Get("Anthropic-Version") == "" {
		RefuseAnthropic(w, c, RefuseBadRequest)
		return
	}
	stop, startUsage, usage := anthropicMessage(a)
	if !asked.Stream {
		wholeAnthropic(w, c, a, stop, usage)
		return
	}
	StartEvents(w)
	send := func(kind, members string) {
		_, _ = fmt.Fprintf(w, "event: %s\n", kind)
		Event(w, `{"type":"`+kind+`"`+members+`}`)
	}
	index := 0
	block := func(start string, deltas ...string) {
		at := fmt.Sprintf(`,"index":%d`, index)
		index++
		send("content_block_start", at+`,"content_block":`+start)
		for _, d := range deltas {
			send("content_block_delta", at+`,"delta":`+d)
		}
		if len(deltas) == 0 || !a.Cut && !a.Fail {
			send("content_block_stop", at)
		}
	}
	send("message_start", `,"message":{"id":"msg_01up","type":"message","role":"assistant","model":"gpt-test","content":[],"stop_reason":null,"stop_sequence":null`+startUsage+`}`)
	if len(a.Thinking) > 0 {
		block(`{"type":"thinking","thinking":"","signature":""}`, append(pieces("thinking_delta", "thinking", a.Thinking), `{"type":"signature_delta","signature":"EqQBCgIYAhIM"}`)...)
	}
	send("ping", "")
	if len(a.Text) > 0 {
		block(`{"type":"text","text":""}`, pieces("text_delta", "text", a.Text)...)
	}
	switch {
	case a.Cut:
		CutOff()
	case a.Fail:
		send("error", `,"error":{"type":"overloaded_error","message":"Overloaded `+UpstreamKey+`"}`)
		return
	}
	for i, call := range a.Calls {
		arguments := call.Arguments
		if strings.Join(arguments, "") == "{}" {
			arguments = nil // a tool without arguments has no deltas
		}
		block(fmt.Sprintf(`{"type":"tool_use","id":"toolu_%d","name":%s,"input":{}}`, i, Quote(call.Name)), pieces("input_json_delta", "partial_json", arguments)...)
	}
	send("message_delta", `,"delta":{"stop_reason":"`+stop+`","stop_sequence":null}`+usage)
	send("message_stop", "")
}

// pieces are deltas of one type.
func pieces(kind, member string, texts []string) []string {
	deltas := make([]string, 0, len(texts)+1)
	for _, s := range texts {
		deltas = append(deltas, `{"type":"`+kind+`","`+member+`":`+Quote(s)+`}`)
	}
	return deltas
}

func wholeAnthropic(w http.ResponseWriter, c *Call, a Answer, stop, usage string) {
	var blocks []string
	if len(a.Thinking) > 0 {
		blocks = append(blocks, `{"type":"thinking","thinking":`+Quote(strings.Join(a.Thinking, ""))+`,"signature":"EqQBCgIYAhIM"}`)
	}
	if len(a.Text) > 0 {
		blocks = append(blocks, `{"type":"text","text":`+Quote(strings.Join(a.Text, ""))+`}`)
	}
	for i, call := range a.Calls {
		blocks = append(blocks, fmt.Sprintf(`{"type":"tool_use","id":"toolu_%d","name":%s,"input":%s}`, i, Quote(call.Name), strings.Join(call.Arguments, "")))
	}
	Status(http.StatusOK, "application/json", `{"id":"msg_01up","type":"message","role":"assistant","model":"gpt-test","content":[`+
		strings.Join(blocks, ",")+`],"stop_reason":"`+stop+`","stop_sequence":null`+usage+`}`)(w, c)
}

// RefuseAnthropic refuses in Anthropic's form.
// https://platform.claude.com/docs/en/api/errors
func RefuseAnthropic(w http.ResponseWriter, c *Call, r Refusal) {
	refuse := func(status int, kind, message string, headers ...string) {
		Status(status, "application/json", `{"type":"error","error":{"type":"`+kind+`","message":`+Quote(message+" "+UpstreamKey)+`},"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}`, headers...)(w, c)
	}
	switch r {
	case RefuseBadRequest:
		refuse(http.StatusBadRequest, "invalid_request_error", "That is not possible.")
	case RefuseContext:
		refuse(http.StatusBadRequest, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum")
	case RefuseFilter:
		refuse(http.StatusBadRequest, "invalid_request_error", "Output blocked by content filtering policy")
	case RefuseCredential:
		refuse(http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
	case RefuseModel:
		refuse(http.StatusNotFound, "not_found_error", "model: gpt-test")
	case RefuseRate:
		refuse(http.StatusTooManyRequests, "rate_limit_error", "This request would exceed your organization's rate limit.", "Retry-After", "7")
	case RefuseOverloaded:
		refuse(529, "overloaded_error", "Overloaded")
	case RefuseUnavailable:
		refuse(http.StatusInternalServerError, "api_error", "Internal server error")
	case RefuseHTML:
		RefuseWithHTML(w, c)
	}
}
