package ollama

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// chatRequest is the body of /api/chat.
type chatRequest struct {
	Model     string                     `json:"model"`
	Messages  []message                  `json:"messages"`
	Stream    bool                       `json:"stream"`
	Tools     []tool                     `json:"tools,omitempty"`
	Format    json.RawMessage            `json:"format,omitempty"`
	Think     json.RawMessage            `json:"think,omitempty"`
	KeepAlive json.RawMessage            `json:"keep_alive,omitempty"`
	Options   map[string]json.RawMessage `json:"options,omitempty"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	Parameters  models.JSON `json:"parameters"`
}

// chatBody translates a request.
func (p *Provider) chatBody(req providers.Request) ([]byte, *providers.Error) {
	in := req.Input
	r := &chatRequest{Model: req.Model, Stream: true, Options: map[string]json.RawMessage{}}
	var failure *providers.Error
	if r.Messages, failure = messages(in.Messages); failure != nil {
		return nil, failure
	}
	for _, step := range []func(*chatRequest, *models.ChatCompletionInput) *providers.Error{
		p.sampling, p.tools, p.format, p.thinking, p.extras,
	} {
		if failure = step(r, in); failure != nil {
			return nil, failure
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, invalid("", "The request cannot be sent to the upstream.", err)
	}
	return body, nil
}

// unsupported refuses a parameter, unless such are to be left out.
func (p *Provider) unsupported(param string) *providers.Error {
	if p.drop {
		return nil
	}
	return &providers.Error{
		Class: providers.Rejected, Code: models.CodeUnsupportedParameter, Param: param,
		Message: fmt.Sprintf("The upstream of this model, Ollama, does not support '%s' as it was given.", param),
	}
}

func invalid(param, message string, cause error) *providers.Error {
	return &providers.Error{Class: providers.Rejected, Code: models.CodeInvalidValue, Param: param, Message: message, Cause: cause}
}

// sampling fills in the options that OpenAI has other names for.
func (p *Provider) sampling(r *chatRequest, in *models.ChatCompletionInput) *providers.Error {
	limit := in.MaxCompletionTokens
	if limit == nil {
		limit = in.MaxTokens
	}
	option(r, "num_predict", limit)
	option(r, "temperature", in.Temperature)
	option(r, "top_p", in.TopP)
	option(r, "seed", in.Seed)
	option(r, "presence_penalty", in.PresencePenalty)
	option(r, "frequency_penalty", in.FrequencyPenalty)
	if len(in.Stop) > 0 {
		option(r, "stop", &in.Stop)
	}
	for _, x := range []struct {
		param string
		given bool
	}{
		{"n", in.N != nil && *in.N > 1},
		{"logprobs", in.Logprobs != nil && *in.Logprobs},
		{"top_logprobs", in.TopLogprobs != nil && *in.TopLogprobs > 0},
		{"parallel_tool_calls", in.ParallelToolCalls != nil && !*in.ParallelToolCalls},
		{"functions", present(in.Functions)},
		{"function_call", present(in.FunctionCall)},
	} {
		if x.given {
			if failure := p.unsupported(x.param); failure != nil {
				return failure
			}
		}
	}
	return nil
}

func present(j models.JSON) bool { return len(j) > 0 && string(j) != "null" }

func option[T any](r *chatRequest, name string, value *T) {
	if value == nil {
		return
	}
	if b, err := json.Marshal(value); err == nil { // numbers and texts always can
		r.Options[name] = b
	}
}

// tools translates the tools. Ollama always leaves the choice to the model: only
// none can be had otherwise, by telling it of no tools.
func (p *Provider) tools(r *chatRequest, in *models.ChatCompletionInput) *providers.Error {
	choice := gjson.ParseBytes(in.ToolChoice)
	switch {
	case choice.Str == "none":
		return nil
	case present(in.ToolChoice) && choice.Str != "auto":
		if failure := p.unsupported("tool_choice"); failure != nil {
			return failure
		}
	}
	for i, t := range in.Tools {
		if t.Function == nil {
			if failure := p.unsupported(fmt.Sprintf("tools[%d].type", i)); failure != nil {
				return failure
			}
			continue
		}
		f := function{Name: t.Function.Name, Parameters: t.Function.Parameters}
		if t.Function.Description != nil {
			f.Description = *t.Function.Description
		}
		if !present(f.Parameters) {
			f.Parameters = models.JSON(`{"type":"object","properties":{}}`)
		}
		r.Tools = append(r.Tools, tool{Type: "function", Function: f})
	}
	return nil
}

func (p *Provider) format(r *chatRequest, in *models.ChatCompletionInput) *providers.Error {
	f := in.ResponseFormat
	if f == nil {
		return nil
	}
	switch f.Type {
	case "", "text":
	case "json_schema":
		if f.JSONSchema != nil && present(f.JSONSchema.Schema) {
			r.Format = json.RawMessage(f.JSONSchema.Schema)
			return nil
		}
		r.Format = json.RawMessage(`"json"`)
	case "json_object":
		r.Format = json.RawMessage(`"json"`)
	default:
		return p.unsupported("response_format.type")
	}
	return nil
}

// thinking translates the effort. Models that know no levels think at any.
func (p *Provider) thinking(r *chatRequest, in *models.ChatCompletionInput) *providers.Error {
	if in.ReasoningEffort == nil {
		return nil
	}
	switch *in.ReasoningEffort {
	case "none":
		r.Think = json.RawMessage("false")
	case "minimal", "low":
		r.Think = json.RawMessage(`"low"`)
	case "medium":
		r.Think = json.RawMessage(`"medium"`)
	case "high", "xhigh":
		r.Think = json.RawMessage(`"high"`)
	default:
		return p.unsupported("reasoning_effort")
	}
	return nil
}

// extras takes Ollama's own parameters from the members that OpenAI's request
// does not have, and refuses those that nobody would heed. What only says who
// asks, or how OpenAI is to keep books, has nothing to do with the answer.
func (p *Provider) extras(r *chatRequest, in *models.ChatCompletionInput) *providers.Error {
	raw := in.Raw
	if raw == nil {
		raw = in.Extra
	}
	var failure *providers.Error
	gjson.ParseBytes(raw).ForEach(func(key, value gjson.Result) bool {
		if p.typed[strings.ToLower(key.Str)] || value.Type == gjson.Null {
			return true
		}
		switch key.Str {
		case "num_ctx", "top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n":
			r.Options[key.Str] = json.RawMessage(value.Raw)
		case "keep_alive":
			r.KeepAlive = json.RawMessage(value.Raw)
		case "think":
			r.Think = json.RawMessage(value.Raw)
		case "conversation_id", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "verbosity":
		case "modalities":
			if value.Raw != `["text"]` {
				failure = p.unsupported(key.Str)
			}
		default:
			failure = p.unsupported(clip(key.Str))
		}
		return failure == nil
	})
	return failure
}

func clip(s string) string { return s[:min(len(s), 60)] }

// typedFields are the names of the request's members that models knows.
func typedFields() map[string]bool {
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[models.ChatCompletionInput]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names[name] = true
		}
	}
	return names
}
