package messages

import (
	"encoding/json"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

// message is the answer on the wire.
type message struct {
	ID           string  `json:"id"`
	Type         string  `json:"type"`
	Role         string  `json:"role"`
	Model        string  `json:"model"`
	Content      []block `json:"content"`
	StopReason   *string `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
	Usage        usage   `json:"usage"`
}

// block is a piece of the answer: the fields of its type are set.
type block struct {
	Type      string      `json:"type"`
	Text      *string     `json:"text,omitzero"`
	Thinking  *string     `json:"thinking,omitzero"`
	Signature *string     `json:"signature,omitzero"`
	ID        string      `json:"id,omitzero"`
	Name      string      `json:"name,omitzero"`
	Input     models.JSON `json:"input,omitzero"`
}

// usage is Anthropic's: the tokens that came out of the cache or went into it
// are not part of the input's. The cost is the product's own.
type usage struct {
	InputTokens         int64         `json:"input_tokens"`
	CacheCreationTokens int64         `json:"cache_creation_input_tokens"`
	CacheReadTokens     int64         `json:"cache_read_input_tokens"`
	OutputTokens        int64         `json:"output_tokens"`
	Cost                *models.Nanos `json:"cost,omitzero"`
}

func usageOf(u *models.Usage) usage {
	if u == nil {
		return usage{}
	}
	out := usage{InputTokens: u.PromptTokens, CacheReadTokens: u.CachedTokens(), OutputTokens: u.CompletionTokens, Cost: u.Cost}
	if d := u.PromptTokensDetails; d != nil {
		out.CacheCreationTokens = d.CacheWriteTokens
	}
	out.InputTokens = max(0, out.InputTokens-out.CacheReadTokens-out.CacheCreationTokens)
	return out
}

// Answer turns a completion into a message. asked is the client's name of the
// model, for upstreams that give none.
func Answer(c *models.ChatCompletionBody, asked string, u *models.Usage) (*models.AnthropicMessage, error) {
	m := message{
		ID: models.NewID(models.MessagePrefix), Type: "message", Role: "assistant", Model: c.Model,
		Content: []block{}, Usage: usageOf(u),
	}
	if m.Model == "" {
		m.Model = asked
	}
	reason := ""
	if len(c.Choices) > 0 {
		said := &c.Choices[0].Message
		m.Content = blocks(said)
		reason = stopReason(c.Choices[0].FinishReason, len(said.ToolCalls) > 0)
	} else {
		reason = stopReason(models.FinishStop, false)
	}
	m.StopReason = &reason
	content, err := dialect.Encode(m.Content)
	if err != nil {
		return nil, err
	}
	raw, err := dialect.Encode(m)
	if err != nil {
		return nil, err
	}
	return &models.AnthropicMessage{ID: m.ID, Model: m.Model, StopReason: reason, Content: content, Usage: u, Raw: raw}, nil
}

func blocks(m *models.ResponseMessage) []block {
	list := []block{}
	if s := m.ReasoningContent; s != nil && *s != "" {
		none := ""
		list = append(list, block{Type: "thinking", Thinking: s, Signature: &none})
	}
	for _, s := range []*string{m.Content, m.Refusal} {
		if s != nil && *s != "" {
			list = append(list, block{Type: "text", Text: s})
		}
	}
	for i := range m.ToolCalls {
		call := &m.ToolCalls[i]
		b := block{Type: "tool_use", ID: callID(call.ID), Input: models.JSON("{}")}
		if f := call.Function; f != nil {
			if f.Name != nil {
				b.Name = *f.Name
			}
			if f.Arguments != nil {
				b.Input = input(*f.Arguments)
			}
		}
		list = append(list, b)
	}
	return list
}

// callID is the upstream's id of a call, or one that we make.
func callID(id *string) string {
	if id != nil && *id != "" {
		return *id
	}
	return models.NewID("toolu_")
}

// input is a call's arguments as an object. Arguments that are none, such as
// those that a token limit cut off, come as Anthropic advises for them.
// https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming
func input(arguments string) models.JSON {
	if arguments == "" {
		return models.JSON("{}")
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(arguments), &object) == nil && object != nil {
		return models.JSON(arguments)
	}
	wrapped, err := dialect.Encode(map[string]string{"INVALID_JSON": arguments})
	if err != nil {
		return models.JSON("{}")
	}
	return wrapped
}

// stopReason is why the answer ended, in Anthropic's words.
func stopReason(r models.FinishReason, calls bool) string {
	switch r {
	case models.FinishLength:
		return "max_tokens"
	case models.FinishContentFilter:
		return "refusal"
	case models.FinishToolCalls, models.FinishFunctionCall:
		return "tool_use"
	case models.FinishStop:
	}
	if calls {
		return "tool_use"
	}
	return "end_turn"
}
