package gemini

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// delta is a fragment of a message in OpenAI's language, with the extra members
// that the package's documentation names.
type delta struct {
	Role             string        `json:"role,omitempty"`
	Content          *string       `json:"content,omitempty"`
	ReasoningContent *string       `json:"reasoning_content,omitempty"`
	ToolCalls        []toolCall    `json:"tool_calls,omitempty"`
	FunctionCall     *function     `json:"function_call,omitempty"`
	Images           []image       `json:"images,omitempty"`
	ExtraContent     *extraContent `json:"extra_content,omitempty"`
}

type toolCall struct {
	Index        *int          `json:"index,omitempty"` // in streams
	ID           string        `json:"id"`
	Type         string        `json:"type"`
	Function     function      `json:"function"`
	ExtraContent *extraContent `json:"extra_content,omitempty"`
}

type function struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type image struct {
	Type     string          `json:"type"`
	ImageURL models.ImageURL `json:"image_url"`
	Index    *int            `json:"index,omitempty"` // in streams
}

// extraContent is what Google's own endpoint for OpenAI's language adds.
type extraContent struct {
	Google struct {
		ThoughtSignature string `json:"thought_signature"`
	} `json:"google"`
}

func signed(signature string) *extraContent {
	if signature == "" {
		return nil
	}
	e := new(extraContent)
	e.Google.ThoughtSignature = signature
	return e
}

// choice is what an answer has said so far in one of its choices.
type choice struct {
	begun  bool
	finish string // Gemini's finish reason, empty before the end
	calls  int
	images int
	ids    map[string]bool // of the calls
}

// take translates what a candidate adds. Neighbouring texts of one kind become
// one delta. In the language of before the tools there is one call at most.
func (c *choice) take(in *candidate, legacy bool) ([]delta, error) {
	var list []delta
	var text strings.Builder
	thought := false
	flush := func() {
		switch {
		case text.Len() == 0:
			return
		case thought:
			list = append(list, delta{ReasoningContent: ptr(text.String())})
		default:
			list = append(list, delta{Content: ptr(text.String())})
		}
		text.Reset()
	}
	for _, p := range in.Content.Parts {
		if p == nil {
			continue
		}
		if p.Text != "" {
			if p.Thought != thought {
				flush()
				thought = p.Thought
			}
			text.WriteString(p.Text)
		}
		if p.FunctionCall != nil || p.InlineData != nil || p.ThoughtSignature != "" && !legacy {
			flush()
			d, err := c.whole(p, legacy)
			if err != nil {
				return nil, err
			}
			if d != nil {
				list = append(list, *d)
			}
		}
	}
	flush()
	if in.FinishReason != "" {
		c.finish = in.FinishReason
	}
	return list, nil
}

// whole translates a part that comes in one piece: a call, an image, or the
// signature of the text before. It is nil for what the client's language lacks.
func (c *choice) whole(p *part, legacy bool) (*delta, error) {
	switch {
	case p.FunctionCall != nil:
		call, err := c.call(p)
		switch {
		case err != nil:
			return nil, err
		case !legacy:
			return &delta{ToolCalls: []toolCall{*call}}, nil
		case c.calls == 1:
			return &delta{FunctionCall: &call.Function}, nil
		}
		return nil, nil //nolint:nilnil // a second call
	case p.InlineData != nil && strings.HasPrefix(p.InlineData.MimeType, "image/") && !p.Thought: // a thought is a draft
		c.images++
		return &delta{Images: []image{{
			Type: "image_url", ImageURL: models.ImageURL{URL: inlineURL(p.InlineData)}, Index: ptr(c.images - 1),
		}}, ExtraContent: signed(p.ThoughtSignature)}, nil
	}
	if p.ThoughtSignature == "" || legacy {
		return nil, nil //nolint:nilnil // a file that is no image: none was asked for
	}
	return &delta{ExtraContent: signed(p.ThoughtSignature)}, nil
}

// call translates a function call: it arrives whole, most often without an id.
func (c *choice) call(p *part) (*toolCall, error) {
	args := []byte("{}")
	if raw := p.FunctionCall.Args; len(raw) > 0 && string(raw) != "null" {
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil || raw[0] != '{' {
			return nil, upstream.Malformed(0, "The upstream sent a function call without an object of arguments.", err)
		}
		args = line.Bytes()
	}
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	call := &toolCall{
		Index: ptr(c.calls), ID: callID(p.FunctionCall.ID, c.ids), Type: "function",
		Function: function{Name: p.FunctionCall.Name, Arguments: string(args)}, ExtraContent: signed(p.ThoughtSignature),
	}
	c.calls++
	return call, nil
}
