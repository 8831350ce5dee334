package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// wireCompletion is a completion with the members that models does not know.
type wireCompletion struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []wireChoice  `json:"choices"`
	Usage   *models.Usage `json:"usage,omitempty"`
}

type wireChoice struct {
	Index        int                 `json:"index"`
	Message      wireMessage         `json:"message"`
	Logprobs     json.RawMessage     `json:"logprobs"`
	FinishReason models.FinishReason `json:"finish_reason"`
}

type wireMessage struct {
	models.ResponseMessage

	ThinkingBlocks []json.RawMessage `json:"thinking_blocks,omitempty"`
}

// completion translates a whole answer.
func (p *Provider) completion(req providers.Request, raw []byte) (*models.ChatCompletion, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' || !gjson.ValidBytes(raw) {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer is not a JSON object, or cut short.", nil)
	}
	if !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	root := gjson.ParseBytes(raw)
	if root.Get("type").Str == "error" {
		return nil, p.toldError(root, names{upstream: req.Model, asked: req.Input.Model})
	}
	content := root.Get("content")
	if !content.IsArray() {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer is not a message.", nil)
	}
	old := legacy(req.Input)
	m := readMessage(content, old)
	if why := root.Get("stop_details.explanation"); root.Get("stop_reason").Str == "refusal" && why.Str != "" {
		m.Refusal = &why.Str
	}
	var c counts
	usage := root.Get("usage")
	c.take(usage)
	c.final = usage.Get("output_tokens").Exists()
	calls := len(m.ToolCalls) > 0 || m.FunctionCall != nil
	body := wireCompletion{
		ID: completionID(root.Get("id").Str), Object: "chat.completion", Created: time.Now().Unix(), Model: answeredBy(root, req),
		Choices: []wireChoice{{Message: m, FinishReason: finishReason(root.Get("stop_reason").Str, calls, old)}},
		Usage:   c.usage(),
	}
	out, err := encode(&body)
	if err != nil {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer cannot be translated.", err)
	}
	return models.RawChatCompletion(out), nil
}

// readMessage puts the blocks of an answer together. Those of tools that run at
// Anthropic's are left out: no client of ours can ask for such.
func readMessage(content gjson.Result, legacy bool) wireMessage {
	m := wireMessage{ResponseMessage: models.ResponseMessage{Role: models.RoleMessageAssistant}}
	var text, thinking strings.Builder
	said, thought := false, false
	content.ForEach(func(_, b gjson.Result) bool {
		switch b.Get("type").Str {
		case blockText:
			said = true
			text.WriteString(b.Get("text").Str)
		case blockThinking:
			if s := b.Get("thinking").Str; s != "" {
				thought = true
				thinking.WriteString(s)
			}
			m.ThinkingBlocks = append(m.ThinkingBlocks, thinkingBlock(len(m.ThinkingBlocks), stringOf(b.Get("thinking")), stringOf(b.Get("signature"))))
		case blockRedacted:
			m.ThinkingBlocks = append(m.ThinkingBlocks, redactedBlock(len(m.ThinkingBlocks), stringOf(b.Get("data"))))
		case blockUse:
			m.call(b, legacy)
		}
		return true
	})
	if said {
		s := text.String()
		m.Content = &s
	}
	if thought {
		s := thinking.String()
		m.ReasoningContent = &s
	}
	return m
}

// call adds a tool call. The legacy form has room for one.
func (m *wireMessage) call(b gjson.Result, legacy bool) {
	id, kind, name, arguments := b.Get("id").Str, "function", b.Get("name").Str, argumentsOf(b.Get("input"))
	if id == "" {
		id = models.NewID("call_")
	}
	f := &models.FunctionCall{Name: &name, Arguments: &arguments}
	switch {
	case !legacy:
		m.ToolCalls = append(m.ToolCalls, models.ToolCall{ID: &id, Type: &kind, Function: f})
	case m.FunctionCall == nil:
		m.FunctionCall = f
	}
}

// argumentsOf writes a call's input as OpenAI does: the text of an object.
func argumentsOf(input gjson.Result) string {
	if !input.IsObject() {
		return "{}"
	}
	var text bytes.Buffer
	if json.Compact(&text, []byte(input.Raw)) != nil {
		return input.Raw
	}
	return text.String()
}

// thinkingBlock is a block as clients get it, and send it back. The index is
// for SDKs, which put lists in deltas together by it.
func thinkingBlock(index int, thinking, signature []byte) json.RawMessage {
	return fmt.Appendf(nil, `{"index":%d,"type":"thinking","thinking":%s,"signature":%s}`, index, thinking, signature)
}

func redactedBlock(index int, data []byte) json.RawMessage {
	return fmt.Appendf(nil, `{"index":%d,"type":"redacted_thinking","data":%s}`, index, data)
}

// answeredBy is the model that answered.
func answeredBy(message gjson.Result, req providers.Request) string {
	if m := message.Get("model").Str; m != "" {
		return m
	}
	return req.Model
}

// encode writes JSON on one line, without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
