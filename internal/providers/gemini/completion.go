package gemini

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// completionBody is OpenAI's chat.completion with our extra members.
type completionBody struct {
	ID      string           `json:"id"`
	Object  string           `json:"object"`
	Created int64            `json:"created"`
	Model   string           `json:"model"`
	Choices []finishedChoice `json:"choices"`
	Usage   *models.Usage    `json:"usage,omitempty"`
}

type finishedChoice struct {
	Index        int                 `json:"index"`
	Message      message             `json:"message"`
	Logprobs     *logprobs           `json:"logprobs"`
	FinishReason models.FinishReason `json:"finish_reason"`
}

// message is [models.ResponseMessage] with our extra members.
type message struct {
	Role             string          `json:"role"`
	Content          *string         `json:"content"`
	Refusal          json.RawMessage `json:"refusal"` // null
	ReasoningContent *string         `json:"reasoning_content,omitempty"`
	ToolCalls        []toolCall      `json:"tool_calls,omitempty"`
	FunctionCall     *function       `json:"function_call,omitempty"`
	Images           []image         `json:"images,omitempty"`
	ExtraContent     *extraContent   `json:"extra_content,omitempty"`
}

// completion translates a whole answer.
func (p *Provider) completion(req providers.Request, raw []byte) (*models.ChatCompletion, error) {
	r, err := p.decode(names{upstream: req.Model, client: req.Input.Model}, raw)
	if err != nil {
		return nil, err
	}
	if len(r.Candidates) == 0 {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer has no candidates.", nil)
	}
	body := completionBody{
		ID: completionID(r), Object: "chat.completion", Created: time.Now().Unix(),
		Model: modelName(r, req.Model), Usage: r.UsageMetadata.usage(),
	}
	legacy := isLegacy(req.Input)
	for i := range r.Candidates {
		c, err := finished(&r.Candidates[i], legacy)
		if err != nil {
			return nil, err
		}
		body.Choices = append(body.Choices, *c)
	}
	slices.SortStableFunc(body.Choices, func(a, b finishedChoice) int { return a.Index - b.Index })
	for i := 1; i < len(body.Choices); i++ {
		if body.Choices[i].Index == body.Choices[i-1].Index {
			return nil, upstream.Malformed(http.StatusOK, "The upstream's answer has a candidate twice.", nil)
		}
	}
	out, err := json.Marshal(&body)
	if err != nil {
		return nil, fmt.Errorf("encode completion: %w", err)
	}
	return models.RawChatCompletion(out), nil
}

func finished(in *candidate, legacy bool) (*finishedChoice, error) {
	var state choice
	deltas, err := state.take(in, legacy)
	if err != nil {
		return nil, err
	}
	m := message{Role: string(models.RoleMessageAssistant), Refusal: json.RawMessage("null")}
	var text, thoughts strings.Builder
	for _, d := range deltas {
		if d.Content != nil {
			text.WriteString(*d.Content)
		}
		if d.ReasoningContent != nil {
			thoughts.WriteString(*d.ReasoningContent)
		}
		for _, call := range d.ToolCalls {
			call.Index = nil
			m.ToolCalls = append(m.ToolCalls, call)
		}
		for _, image := range d.Images {
			image.Index = nil
			m.Images = append(m.Images, image)
		}
		if d.FunctionCall != nil {
			m.FunctionCall = d.FunctionCall
		}
		if d.ExtraContent != nil {
			m.ExtraContent = d.ExtraContent
		}
	}
	if text.Len() > 0 || state.calls == 0 && state.images == 0 {
		m.Content = ptr(text.String())
	}
	if thoughts.Len() > 0 {
		m.ReasoningContent = ptr(thoughts.String())
	}
	return &finishedChoice{
		Index: in.Index, Message: m, Logprobs: in.LogprobsResult.logprobs(),
		FinishReason: finishReason(state.finish, state.calls, legacy),
	}, nil
}
