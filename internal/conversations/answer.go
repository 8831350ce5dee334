package conversations

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// answer is what a model has said so far: of the first choice, put together from
// the deltas of chunks or taken from a whole message. It is for one goroutine.
type answer struct {
	content, refusal, thought strings.Builder
	said                      bool // the content is there, if only as an empty text
	calls                     []*call
	function                  *call // legacy
	finish                    string
	size                      int
}

// call is a tool call that is being put together.
type call struct {
	index      int
	id, kind   string
	name, args strings.Builder
	custom     string // of custom tools, as it came
}

// read takes a chunk or a whole completion.
func (a *answer) read(raw []byte) {
	choice := gjson.GetBytes(raw, "choices.0")
	if choice.Get("index").Int() != 0 {
		return
	}
	message := choice.Get("delta")
	if !message.Exists() {
		message = choice.Get("message")
	}
	a.add(message)
	if reason := choice.Get("finish_reason"); reason.Type == gjson.String {
		a.finish = reason.Str
	}
}

func (a *answer) add(message gjson.Result) {
	message.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "content":
			if value.Type == gjson.String {
				a.said = true
				a.write(&a.content, value.Str)
			}
		case "refusal":
			a.write(&a.refusal, value.Str)
		case "reasoning_content", "reasoning":
			a.write(&a.thought, value.Str)
		case "tool_calls":
			n := 0
			value.ForEach(func(_, v gjson.Result) bool {
				index := n
				if at := v.Get("index"); at.Exists() {
					index = int(at.Int())
				}
				n++
				a.fill(a.at(index), v)
				return true
			})
		case "function_call":
			if value.IsObject() {
				if a.function == nil {
					a.function = new(call)
				}
				a.write(&a.function.name, value.Get("name").Str)
				a.write(&a.function.args, value.Get("arguments").Str)
			}
		}
		return true
	})
}

// write appends what there is room for: what a client was sent beyond the limit of
// a message is not kept.
func (a *answer) write(to *strings.Builder, text string) {
	if a.size+len(text) > models.MaxMessageBytes/2 { // JSON may escape what is left
		return
	}
	a.size += len(text)
	to.WriteString(text)
}

func (a *answer) at(index int) *call {
	for _, c := range a.calls {
		if c.index == index {
			return c
		}
	}
	c := &call{index: index}
	if len(a.calls) < models.MaxTools {
		a.calls = append(a.calls, c)
	}
	return c
}

func (a *answer) fill(c *call, v gjson.Result) {
	if id := v.Get("id").Str; id != "" {
		c.id = id
	}
	if kind := v.Get("type").Str; kind != "" {
		c.kind = kind
	}
	if custom := v.Get("custom"); custom.IsObject() && c.custom == "" {
		c.custom = strings.Clone(custom.Raw)
	}
	a.write(&c.name, v.Get("function.name").Str)
	a.write(&c.args, v.Get("function.arguments").Str)
}

// stored is the message as it is stored.
type stored struct {
	Role             models.MessageRole   `json:"role"`
	Content          *string              `json:"content"`
	Refusal          *string              `json:"refusal,omitempty"`
	ReasoningContent string               `json:"reasoning_content,omitempty"`
	ToolCalls        []models.ToolCall    `json:"tool_calls,omitempty"`
	FunctionCall     *models.FunctionCall `json:"function_call,omitempty"`
}

// body is the message in the shape of chat completions. Without anything said its
// content is null.
func (a *answer) body() models.JSON {
	m := stored{Role: models.RoleMessageAssistant, ReasoningContent: a.thought.String()}
	if text := a.content.String(); text != "" || a.said && len(a.calls) == 0 && a.function == nil {
		m.Content = &text
	}
	if text := a.refusal.String(); text != "" {
		m.Refusal = &text
	}
	for _, c := range a.calls {
		kind := c.kind
		if kind == "" {
			kind = "function"
		}
		out := models.ToolCall{ID: &c.id, Type: &kind}
		if c.custom != "" {
			out.Custom = models.JSON(c.custom)
		} else {
			out.Function = function(c)
		}
		m.ToolCalls = append(m.ToolCalls, out)
	}
	if a.function != nil {
		m.FunctionCall = function(a.function)
	}
	b, err := json.Marshal(m)
	if err != nil { // a custom call that is no JSON
		return models.JSON(`{"role":"assistant","content":null}`)
	}
	return b
}

func function(c *call) *models.FunctionCall {
	name, args := c.name.String(), c.args.String()
	return &models.FunctionCall{Name: &name, Arguments: &args}
}
