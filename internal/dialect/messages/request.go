// Package messages translates Anthropic's messages into chat completions and
// the answers back, so that their clients work with any upstream.
// https://docs.anthropic.com/en/api/messages
package messages

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

// mostUserID is how long OpenAI lets the name of an end user be.
const mostUserID = 64

// Token budgets of thinking from which on it counts as medium and as high effort.
const (
	mediumBudget = 4096
	highBudget   = 16384
)

// Translate turns a request into one for a chat completion. Errors are
// KindInvalid and name the culprit in Anthropic's words. What only Anthropic can
// do is refused by name: its server tools, files by id, documents by URL. What
// only helps there is dropped: cache marks, and thinking that is sent back.
func Translate(in *models.CreateMessageInput) (models.ChatCompletionInput, error) {
	t := &translator{}
	out := t.prompt(in)
	if in.MaxTokens == nil {
		t.Fail(models.Missing("max_tokens"))
	}
	dialect.Between(&t.Reader, "max_tokens", in.MaxTokens, 1, 1<<30)
	dialect.Between(&t.Reader, "temperature", in.Temperature, 0, 1)
	dialect.Between(&t.Reader, "top_p", in.TopP, 0, 1)
	dialect.Between(&t.Reader, "top_k", in.TopK, 0, 1<<30)
	if len(in.StopSequences) > models.MaxStops {
		t.Fail(models.Invalid("stop_sequences", "'stop_sequences' must have at most %d sequences; got %d.", models.MaxStops, len(in.StopSequences)))
	}
	out.MaxCompletionTokens, out.Temperature, out.TopP = in.MaxTokens, in.Temperature, in.TopP
	out.Stop = in.StopSequences
	if in.TopK != nil {
		out.Extra = models.JSON(`{"top_k":` + strconv.Itoa(*in.TopK) + `}`)
	}
	t.choice(dialect.Of("tool_choice", in.ToolChoice), &out)
	t.thinking(dialect.Of("thinking", in.Thinking), &out)
	t.output(dialect.Of("output_config", in.OutputConfig), &out)
	t.metadata(dialect.Of("metadata", in.Metadata), &out)
	return out, t.Err()
}

// Prompt is Translate of what is counted as input alone; nothing else need be there.
func Prompt(in *models.CreateMessageInput) (models.ChatCompletionInput, error) {
	t := &translator{}
	out := t.prompt(in)
	return out, t.Err()
}

type translator struct {
	dialect.Reader

	out []models.ChatMessage
}

func (t *translator) prompt(in *models.CreateMessageInput) models.ChatCompletionInput {
	t.system(dialect.Of("system", in.System))
	messages := dialect.Of("messages", in.Messages)
	turns := t.List(messages, models.MaxMessages)
	if !messages.Given() {
		t.Fail(models.Missing("messages"))
	} else if len(turns) == 0 {
		t.Fail(models.Invalid("messages", "'messages' must have at least one message."))
	}
	for _, turn := range turns {
		if t.Failed() {
			break
		}
		t.turn(turn)
	}
	if len(t.out) > models.MaxMessages {
		t.Fail(models.Invalid("messages", "'messages' must have at most %d turns and tool results.", models.MaxMessages))
	}
	return models.ChatCompletionInput{Model: in.Model, Messages: t.out, Tools: t.tools(dialect.Of("tools", in.Tools))}
}

// system makes one system message of the prompt.
func (t *translator) system(v dialect.Value) {
	if !v.Given() {
		return
	}
	text := ""
	if v.Is() {
		text = t.Plain(v)
	} else {
		for i, block := range t.List(v, models.MaxContentParts) {
			if kind := block.Kind(); kind != "text" {
				t.unknownBlock(block, "'%s' in the system prompt must be a text block; got '%s'.", kind)
				return
			}
			if i > 0 {
				text += "\n\n"
			}
			text += t.Text(block, "text")
		}
	}
	if text != "" {
		t.say(models.RoleMessageSystem, models.TextContent(text))
	}
}

func (t *translator) say(role models.MessageRole, c *models.MessageContent) {
	t.out = append(t.out, models.ChatMessage{Role: role, Content: c})
}

func (t *translator) tools(v dialect.Value) []models.Tool {
	list := t.List(v, models.MaxTools)
	tools := make([]models.Tool, 0, len(list))
	for _, tool := range list {
		if !t.Object(tool) {
			return nil
		}
		if kind := tool.Get("type"); kind.Given() && kind.String() != "custom" {
			t.Unsupported(kind.Path, "The tool '%s' is Anthropic's own, and the channels of this model do not serve it. Only tools with an 'input_schema' are supported.", dialect.Clip(kind.String()))
			return nil
		}
		f := &models.Function{Name: t.FunctionName(tool, "name"), Description: t.Optional(tool, "description"), Strict: t.Bool(tool, "strict")}
		if f.Parameters = t.Schema(tool, "input_schema"); f.Parameters == nil {
			t.Fail(models.Missing(tool.Get("input_schema").Path))
		}
		tools = append(tools, models.Tool{Type: "function", Function: f})
	}
	if len(tools) == 0 {
		return nil
	}
	return tools
}

func (t *translator) choice(v dialect.Value, out *models.ChatCompletionInput) {
	if !v.Given() || !t.Object(v) {
		return
	}
	switch kind := t.Text(v, "type"); kind {
	case "auto", "none":
		out.ToolChoice = models.JSON(strconv.Quote(kind))
	case "any":
		out.ToolChoice = models.JSON(`"required"`)
	case "tool":
		name := gjson.AppendJSONString(nil, t.FunctionName(v, "name"))
		out.ToolChoice = append(append(models.JSON(`{"type":"function","function":{"name":`), name...), `}}`...)
	default:
		t.Fail(models.Invalid("tool_choice.type", "'tool_choice.type' must be one of auto, any, tool, none; got '%s'.", dialect.Clip(kind)))
	}
	if len(out.Tools) == 0 {
		out.ToolChoice = nil // upstreams refuse a choice of nothing
		return
	}
	if serial := t.Bool(v, "disable_parallel_tool_use"); serial != nil && *serial {
		no := false
		out.ParallelToolCalls = &no
	}
}

func (t *translator) thinking(v dialect.Value, out *models.ChatCompletionInput) {
	if !v.Given() || !t.Object(v) {
		return
	}
	switch kind := t.Text(v, "type"); kind {
	case "disabled", "adaptive": // the model decides
	case "enabled":
		budget := v.Get("budget_tokens")
		if budget.Type != gjson.Number {
			t.WrongType(budget, "a number")
			return
		}
		effort := "low"
		switch n := budget.Num; {
		case n < 1024:
			t.Fail(models.Invalid(budget.Path, "'%s' must be at least 1024.", budget.Path))
		case n >= highBudget:
			effort = "high"
		case n >= mediumBudget:
			effort = "medium"
		}
		out.ReasoningEffort = &effort
	default:
		t.Fail(models.Invalid("thinking.type", "'thinking.type' must be one of enabled, disabled, adaptive; got '%s'.", dialect.Clip(kind)))
	}
}

// output reads the effort, which is plainer than a budget, and the answer's format.
func (t *translator) output(v dialect.Value, out *models.ChatCompletionInput) {
	if !v.Given() || !t.Object(v) {
		return
	}
	if effort := t.Optional(v, "effort"); effort != nil {
		out.ReasoningEffort = effort
	}
	format := v.Get("format")
	if !format.Given() || !t.Object(format) {
		return
	}
	if kind := t.Text(format, "type"); kind != "json_schema" {
		t.Fail(models.Invalid(format.Get("type").Path, "'%s' must be json_schema.", format.Get("type").Path))
	}
	strict := true
	schema := &models.JSONSchema{Name: "answer", Schema: t.Schema(format, "schema"), Strict: &strict}
	if schema.Schema == nil {
		t.Fail(models.Missing(format.Get("schema").Path))
	}
	out.ResponseFormat = &models.ResponseFormat{Type: "json_schema", JSONSchema: schema}
}

func (t *translator) metadata(v dialect.Value, out *models.ChatCompletionInput) {
	if !v.Given() || !t.Object(v) {
		return
	}
	id := t.Optional(v, "user_id")
	if id != nil && len(*id) > mostUserID {
		sum := sha256.Sum256([]byte(*id))
		short := hex.EncodeToString(sum[:])
		id = &short
	}
	out.User = id
}
