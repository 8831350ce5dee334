package tokens

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/coaidev/coai/models"
)

const (
	perMessage = 3
	perName    = 1
	priming    = 3 // every answer begins with <|start|>assistant<|message|>

	// What OpenAI charges for an image of low detail, and for one of 1024 by 1024
	// pixels in high detail; the true size is not known here.
	// https://platform.openai.com/docs/guides/images-vision#calculating-costs
	imageLow  = 85
	imageHigh = 765
)

// CountPrompt is the number of prompt tokens of a request by OpenAI's counting
// rule: 3 for each message and what it says, 1 more for a name, 3 that prime
// the answer, and the JSON of tools and of an answer's schema. An image counts
// 765, or 85 in low detail; audio and files are not counted.
// https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
func CountPrompt(in *models.ChatCompletionInput) int64 { return counter(Count).prompt(in) }

// EstimatePrompt is a rough [CountPrompt] that costs almost nothing: a token for
// four ASCII characters or for one other. It is for numbers that are replaced by
// exact ones unless something breaks.
func EstimatePrompt(in *models.ChatCompletionInput) int64 { return counter(estimate).prompt(in) }

func estimate(text string) int64 {
	ascii, other := 0, 0
	for i := range len(text) {
		switch b := text[i]; {
		case b < utf8.RuneSelf:
			ascii++
		case utf8.RuneStart(b):
			other++
		}
	}
	return int64((ascii+3)/4 + other)
}

// counter counts the tokens of a text.
type counter func(string) int64

func (c counter) prompt(in *models.ChatCompletionInput) int64 {
	n := int64(priming)
	for i := range in.Messages {
		n += c.message(&in.Messages[i])
	}
	if len(in.Tools) > 0 {
		n += c.json(in.Tools)
	}
	n += c(string(in.Functions))
	if f := in.ResponseFormat; f != nil && f.JSONSchema != nil {
		n += c.json(f.JSONSchema)
	}
	return n
}

func (c counter) message(m *models.ChatMessage) int64 {
	n := perMessage + c(string(m.Role)) + c.text(m.Refusal) + c.text(m.ToolCallID)
	if m.Name != nil {
		n += perName + c(*m.Name)
	}
	if m.Content != nil {
		n += c.text(m.Content.Text)
		for i := range m.Content.Parts {
			n += c.part(&m.Content.Parts[i])
		}
	}
	for i := range m.ToolCalls {
		n += c.call(m.ToolCalls[i].Function) + c(string(m.ToolCalls[i].Custom))
	}
	return n + c.call(m.FunctionCall)
}

func (c counter) part(p *models.ContentPart) int64 {
	n := c.text(p.Text) + c.text(p.Refusal)
	if p.ImageURL != nil {
		if p.ImageURL.Detail != nil && *p.ImageURL.Detail == "low" {
			return n + imageLow
		}
		return n + imageHigh
	}
	return n
}

func (c counter) call(f *models.FunctionCall) int64 {
	if f == nil {
		return 0
	}
	return c.text(f.Name) + c.text(f.Arguments)
}

func (c counter) json(v any) int64 {
	b, err := json.Marshal(v)
	if err != nil { // a schema that is not JSON: validation lets none through
		return 0
	}
	return c(string(b))
}

func (c counter) text(s *string) int64 {
	if s == nil {
		return 0
	}
	return c(*s)
}
