package gemini

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// generateRequest is the body of generateContent.
// https://ai.google.dev/api/generate-content#request-body
type generateRequest struct {
	Contents          []*content        `json:"contents"`
	SystemInstruction *content          `json:"systemInstruction,omitempty"`
	Tools             []tools           `json:"tools,omitempty"`
	ToolConfig        *toolConfig       `json:"toolConfig,omitempty"`
	SafetySettings    json.RawMessage   `json:"safetySettings,omitempty"`
	GenerationConfig  *generationConfig `json:"generationConfig,omitempty"`
}

// content is one turn.
type content struct {
	Role  string  `json:"role,omitempty"` // user or model; absent in the system's
	Parts []*part `json:"parts"`
}

// part is a piece of a turn; one of its members is set.
type part struct {
	Text             string            `json:"text,omitempty"`
	Thought          bool              `json:"thought,omitempty"`
	ThoughtSignature string            `json:"thoughtSignature,omitempty"`
	InlineData       *blob             `json:"inlineData,omitempty"`
	FunctionCall     *functionCall     `json:"functionCall,omitempty"`
	FunctionResponse *functionResponse `json:"functionResponse,omitempty"`
}

// blob is a file in base64.
type blob struct {
	MimeType string `json:"mimeType"`
	Data     string `json:"data"`
}

type functionCall struct {
	ID   string          `json:"id,omitempty"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args,omitempty"` // an object
}

type functionResponse struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name"`
	Response json.RawMessage `json:"response"` // an object
}

// translation turns one request of OpenAI's into one of Gemini's.
type translation struct {
	in    *models.ChatCompletionInput
	model string
	drop  bool // leave out what cannot be said

	out      generateRequest
	config   generationConfig
	thinking string            // the path of the native thinking_config, when there is one
	system   []*part           // of the system's and the developer's messages, in order
	called   map[string]string // tool call id -> name of the function
	raw      []gjson.Result    // the messages as a REST client sent them, for their extra members
	files    []file            // to be fetched
}

// translate makes the body of a request, images from elsewhere included.
func (p *Provider) translate(ctx context.Context, req providers.Request) (*generateRequest, error) {
	t := &translation{in: req.Input, model: req.Model, drop: p.drop, called: map[string]string{}}
	for _, step := range []func() error{t.extras, t.generation, t.tools, t.messages} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if t.config != nil {
		t.out.GenerationConfig = &t.config
	}
	if err := p.fetch(ctx, t.files); err != nil {
		return nil, err
	}
	return &t.out, nil
}

// unless refuses a parameter that Gemini has no word for, unless such are to be
// left out.
func (t *translation) unless(param, reason string) error {
	if t.drop {
		return nil
	}
	message := fmt.Sprintf("'%s' is not supported by the model '%s'.", param, t.in.Model)
	if reason != "" {
		message += " " + reason
	}
	return unsupported(param, message)
}

// extras reads the members that models does not know.
func (t *translation) extras() error {
	source := []byte(t.in.Extra)
	if t.in.Raw != nil {
		source = t.in.Raw
		if bytes.Contains(source, []byte(`"thought_signature"`)) {
			t.raw = gjson.GetBytes(source, "messages").Array()
		}
	}
	var err error
	gjson.ParseBytes(source).ForEach(func(key, value gjson.Result) bool {
		if value.Type != gjson.Null {
			err = t.extra(key.Str, value)
		}
		return err == nil
	})
	return err
}

func (t *translation) extra(name string, v gjson.Result) error {
	harmless := false
	switch name {
	case "model", "messages", "temperature", "top_p", "n", "max_tokens", "max_completion_tokens", "stop",
		"presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "seed", "tools", "tool_choice",
		"parallel_tool_calls", "functions", "function_call", "response_format", "reasoning_effort", "user",
		"metadata", "stream", "stream_options":
		return nil // typed
	case "prompt_cache_key", "prompt_cache_retention", "safety_identifier":
		return nil // hints that change no answer
	case "store":
		harmless = v.Type == gjson.False
	case "service_tier":
		harmless = v.Str == "auto" || v.Str == "default"
	case "verbosity":
		harmless = v.Str == "medium"
	case "logit_bias":
		harmless = v.Raw == "{}"
	case "modalities":
		return t.modalities(v)
	case "top_k":
		if v.Type != gjson.Number || v.Num < 1 || v.Num != float64(v.Int()) {
			return invalid(name, "'top_k' must be a whole number of at least 1.")
		}
		t.config.set("topK", v.Int())
		return nil
	case "safety_settings", "safetySettings":
		return t.safety(name, v)
	case "google":
		return t.google(name, v)
	case "extra_body":
		return t.extraBody(v)
	}
	if harmless {
		return nil
	}
	return t.unless(name, "")
}

func (t *translation) modalities(v gjson.Result) error {
	var list []string
	for _, m := range v.Array() {
		if m.Str != "text" && m.Str != "image" {
			return t.unless("modalities", "It can have text and image.")
		}
		list = append(list, strings.ToUpper(m.Str))
	}
	if len(list) != 1 || list[0] != "TEXT" {
		t.config.set("responseModalities", list)
	}
	return nil
}

func (t *translation) safety(at string, v gjson.Result) error {
	if !v.IsArray() {
		return invalid(at, "'"+at+"' must be an array of Gemini's safety settings.")
	}
	t.out.SafetySettings = json.RawMessage(v.Raw)
	return nil
}

// extraBody reads what Google's own endpoint for OpenAI's language reads.
func (t *translation) extraBody(v gjson.Result) error {
	var err error
	v.ForEach(func(key, value gjson.Result) bool {
		if key.Str == "google" {
			err = t.google("extra_body.google", value)
		} else {
			err = t.unless("extra_body."+key.Str, "")
		}
		return err == nil
	})
	return err
}

func (t *translation) google(at string, v gjson.Result) error {
	if !v.IsObject() {
		return invalid(at, "'"+at+"' must be an object.")
	}
	var err error
	v.ForEach(func(key, value gjson.Result) bool {
		param := at + "." + key.Str
		switch key.Str {
		case "thinking_config", "thinkingConfig":
			if !value.IsObject() {
				err = invalid(param, "'"+param+"' must be an object.")
				break
			}
			t.thinking = param
			t.config.set("thinkingConfig", json.RawMessage(value.Raw))
		case "safety_settings", "safetySettings":
			err = t.safety(param, value)
		case "thought_tag_marker": // thoughts have a member of their own
		default: // cached_content too: it belongs to the operator, and would be open to all
			err = t.unless(param, "")
		}
		return err == nil
	})
	return err
}
