package anthropic

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// thinkingBlocks is the member of assistant messages and deltas that carries
// Anthropic's thinking blocks, as they are, so that clients can send them back.
// Its name is LiteLLM's.
const thinkingBlocks = "thinking_blocks"

// turn is what one side says until the other speaks.
type turn struct {
	Role    models.MessageRole `json:"role"`
	Content []block            `json:"content"`
}

// messages translates the conversation.
func (t *translation) messages() error {
	for i := range t.in.Messages {
		m, at := &t.in.Messages[i], indexed("messages", i)
		var blocks []block
		var err error
		role := models.RoleMessageUser
		switch m.Role {
		case models.RoleMessageSystem, models.RoleMessageDeveloper:
			if blocks, err = t.textOnly(at, i, m); err == nil {
				t.out.System = append(t.out.System, blocks...)
			}
			blocks = nil
		case models.RoleMessageUser:
			blocks, err = t.content(at, i, m)
		case models.RoleMessageAssistant:
			role = models.RoleMessageAssistant
			blocks, err = t.assistant(at, i, m)
		case models.RoleMessageTool:
			blocks, err = t.result(at, i, m, toolID(*m.ToolCallID))
		case models.RoleMessageFunction:
			blocks, err = t.result(at, i, m, t.functionID)
		}
		if err != nil {
			return err
		}
		t.say(role, blocks)
	}
	return t.finishTurns()
}

// say adds to the conversation. Turns alternate: what the same side said before
// is part of the same turn. A message that says nothing is none.
func (t *translation) say(role models.MessageRole, blocks []block) {
	if len(blocks) == 0 {
		return
	}
	if n := len(t.out.Messages); n > 0 && t.out.Messages[n-1].Role == role {
		t.out.Messages[n-1].Content = append(t.out.Messages[n-1].Content, blocks...)
		return
	}
	t.out.Messages = append(t.out.Messages, turn{Role: role, Content: blocks})
}

// finishTurns brings the turns into the order that Anthropic insists on.
func (t *translation) finishTurns() error {
	turns := t.out.Messages
	if len(turns) == 0 {
		// There must be somebody to answer: the last of the instructions is that.
		if len(t.out.System) == 0 {
			return invalid("messages", "must say something: they are all empty.")
		}
		last := len(t.out.System) - 1
		t.say(models.RoleMessageUser, t.out.System[last:])
		t.out.System = t.out.System[:last]
		return nil
	}
	for i := range turns {
		// The results of calls come first in their turn.
		slices.SortStableFunc(turns[i].Content, func(a, b block) int { return a.rank() - b.rank() })
	}
	last := &turns[len(turns)-1]
	if last.Role == models.RoleMessageAssistant { // the answer will go on from here
		if b := &last.Content[len(last.Content)-1]; b.Text != "" {
			b.Text = strings.TrimRight(b.Text, " \t\r\n")
		}
	}
	t.unthought = unthought(turns)
	return nil
}

// unthought says whether the conversation ends in calls and their results that
// did not begin with thinking: then it cannot be turned on.
func unthought(turns []turn) bool {
	first := -1
	for i := len(turns) - 1; i > 0 && turns[i].Content[0].Type == blockResult; i -= 2 {
		first = i - 1
	}
	return first >= 0 && !turns[first].Content[0].thinks()
}

// assistant translates what the model said before: its thinking, its text, its
// calls.
func (t *translation) assistant(at string, i int, m *models.ChatMessage) ([]block, error) {
	blocks, err := t.thoughts(at, i)
	if err != nil {
		return nil, err
	}
	said, err := t.textOnly(at, i, m)
	if err != nil {
		return nil, err
	}
	blocks = append(blocks, said...)
	if m.Refusal != nil && strings.TrimSpace(*m.Refusal) != "" {
		blocks = append(blocks, block{Type: blockText, Text: *m.Refusal})
	}
	for j := range m.ToolCalls {
		c, at := &m.ToolCalls[j], indexed(at+".tool_calls", j)
		if c.Function == nil {
			return nil, invalid(at+".type", "must be function for this model.")
		}
		b, err := called(at+".function", toolID(*c.ID), c.Function)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	if f := m.FunctionCall; f != nil && f.Name != nil && len(m.ToolCalls) == 0 {
		t.functionID = "call_" + strconv.Itoa(i)
		b, err := called(at+".function_call", t.functionID, f)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	t.mark(blocks, t.rawMessage(i))
	return blocks, nil
}

// thoughts takes back the thinking blocks of an assistant message.
func (t *translation) thoughts(at string, i int) ([]block, error) {
	var blocks []block
	var err error
	t.rawMessage(i).Get(thinkingBlocks).ForEach(func(_, b gjson.Result) bool {
		at := indexed(at+"."+thinkingBlocks, len(blocks))
		switch kind := b.Get("type").Str; kind {
		case blockThinking:
			signature := b.Get("signature")
			if signature.Type != gjson.String || signature.Str == "" {
				err = invalid(at+".signature", "is required: send thinking blocks back as they came.")
			}
			blocks = append(blocks, block{Type: kind, Thinking: stringOf(b.Get("thinking")), Signature: stringOf(signature)})
		case blockRedacted:
			blocks = append(blocks, block{Type: kind, Data: stringOf(b.Get("data"))})
		default:
			err = invalid(at+".type", "must be thinking or redacted_thinking.")
		}
		return err == nil
	})
	return blocks, err
}

// stringOf gives a string's bytes as they came, or those of an empty one.
func stringOf(r gjson.Result) json.RawMessage {
	if r.Type != gjson.String {
		return json.RawMessage(`""`)
	}
	return json.RawMessage(r.Raw)
}

// called is a call that the model made before. Its arguments are a text for
// OpenAI and an object for Anthropic.
func called(at, id string, f *models.FunctionCall) (block, error) {
	input := json.RawMessage("{}")
	if f.Arguments != nil {
		if text := strings.TrimSpace(*f.Arguments); text != "" {
			input = json.RawMessage(text)
		}
	}
	if input[0] != '{' || !json.Valid(input) {
		return block{}, invalid(at+".arguments", "must be the text of a JSON object.")
	}
	return block{Type: blockUse, ID: id, Name: *f.Name, Input: input}, nil
}

// result is what a call gave.
func (t *translation) result(at string, i int, m *models.ChatMessage, id string) ([]block, error) {
	if id == "" {
		return nil, invalid(at+".role", "must not be function without a 'function_call' of an assistant before it.")
	}
	said, err := t.content(at, i, m)
	if err != nil {
		return nil, err
	}
	b := block{Type: blockResult, ToolUseID: id, Content: said}
	for k := range said { // Anthropic's cache breakpoints are on the result, not inside it
		if said[k].CacheControl != nil {
			b.CacheControl, said[k].CacheControl = said[k].CacheControl, nil
		}
	}
	if c := rawOf(t.rawMessage(i).Get("cache_control")); c != nil {
		b.CacheControl = c
	}
	return []block{b}, nil
}

// toolID makes an id fit for Anthropic, which allows letters, digits, _ and -
// only. The same id becomes the same again.
func toolID(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, id)
}
