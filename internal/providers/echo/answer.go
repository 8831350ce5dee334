package echo

import (
	"fmt"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// answer is what the model has to say; all choices say the same.
type answer struct {
	text    string
	calls   []call
	legacy  bool // the first call goes out as function_call
	finish  models.FinishReason
	choices int
	prompt  int64 // tokens
	tokens  int64 // of one choice
}

// call is one call of a tool.
type call struct {
	id, name, arguments string
}

func newAnswer(in *models.ChatCompletionInput, c *controls) (*answer, error) {
	a := &answer{finish: models.FinishStop, choices: 1}
	if in.N != nil {
		a.choices = *in.N
	}
	text, toolResult := lastText(in.Messages)
	if !toolResult {
		if err := a.callTools(in, c, text); err != nil {
			return nil, err
		}
	}
	if len(a.calls) == 0 {
		a.say(in, text)
	}
	size := len(a.text)
	for _, call := range a.calls {
		size += len(call.arguments)
	}
	if size*a.choices > maxOutput {
		return nil, invalid("n", fmt.Sprintf("The answer would have %d bytes; at most %d are allowed.", size*a.choices, maxOutput))
	}
	a.prompt = tokens.CountPrompt(in)
	a.tokens = tokens.Count(a.text)
	for _, call := range a.calls {
		a.tokens += tokens.Count(call.name) + tokens.Count(call.arguments)
	}
	return a, nil
}

// say makes the answer a text, in the format and within the limits asked for.
func (a *answer) say(in *models.ChatCompletionInput, text string) {
	if f := in.ResponseFormat; f != nil {
		switch f.Type {
		case "json_object":
			text = object("echo", text)
		case "json_schema":
			text = fromSchema(f.JSONSchema.Schema, text, "echo", false)
		}
	}
	for _, stop := range in.Stop {
		if stop != "" {
			text, _, _ = strings.Cut(text, stop)
		}
	}
	limit := in.MaxCompletionTokens
	if limit == nil {
		limit = in.MaxTokens
	}
	a.text = text
	if limit != nil {
		var cut bool
		if a.text, cut = tokens.Truncate(text, int64(*limit)); cut {
			a.finish = models.FinishLength
		}
	}
}

// lastText is what is repeated: the results of tools when they come last, else
// the last user message, else the last message.
func lastText(messages []models.ChatMessage) (text string, toolResult bool) {
	var results []string
	for i := len(messages) - 1; i >= 0; i-- {
		m := &messages[i]
		if m.Role != models.RoleMessageTool && m.Role != models.RoleMessageFunction {
			break
		}
		results = append([]string{describe(m.Content)}, results...)
	}
	if len(results) > 0 {
		return strings.Join(results, "\n"), true
	}
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == models.RoleMessageUser {
			return describe(messages[i].Content), false
		}
	}
	if n := len(messages); n > 0 {
		return describe(messages[n-1].Content), false
	}
	return "", false
}

// describe is the text of a content, with a word for each part that has none.
func describe(c *models.MessageContent) string {
	if c == nil {
		return ""
	}
	if c.Text != nil {
		return *c.Text
	}
	parts := make([]string, len(c.Parts))
	for i, p := range c.Parts {
		switch {
		case p.Text != nil:
			parts[i] = *p.Text
		case p.Refusal != nil:
			parts[i] = *p.Refusal
		default:
			parts[i] = "[" + p.Type + "]"
		}
	}
	return strings.Join(parts, "")
}

func (a *answer) usage() *models.Usage {
	completion := a.tokens * int64(a.choices)
	return &models.Usage{
		PromptTokens: a.prompt, CompletionTokens: completion, TotalTokens: a.prompt + completion,
		PromptTokensDetails:     &models.PromptTokensDetails{},
		CompletionTokensDetails: &models.CompletionTokensDetails{},
	}
}

// completion is the answer as a whole.
func (a *answer) completion(model string) *models.ChatCompletionBody {
	message := models.ResponseMessage{Role: models.RoleMessageAssistant, Annotations: models.JSON("[]")}
	switch {
	case len(a.calls) == 0:
		message.Content = &a.text
	case a.legacy:
		message.FunctionCall = a.calls[0].function(a.calls[0].arguments)
	default:
		for _, c := range a.calls {
			message.ToolCalls = append(message.ToolCalls, models.ToolCall{
				ID: &c.id, Type: new("function"), Function: c.function(c.arguments),
			})
		}
	}
	body := &models.ChatCompletionBody{
		ID: models.NewID(models.CompletionPrefix), Object: "chat.completion",
		Created: time.Now().Unix(), Model: model, Usage: a.usage(),
	}
	for i := range a.choices {
		body.Choices = append(body.Choices, models.Choice{Index: i, Message: message, FinishReason: a.finish})
	}
	return body
}

func (c *call) function(arguments string) *models.FunctionCall {
	return &models.FunctionCall{Name: &c.name, Arguments: &arguments}
}
