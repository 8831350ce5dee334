package models

import (
	"encoding/json"
	"strings"
)

// Validate checks everything about the request that holds for any upstream,
// fills in the types of content parts, and names the first mistake by its path.
func (in *ChatCompletionInput) Validate() error {
	if in.Model == "" {
		return Missing("model")
	}
	if err := validName("model", in.Model, 1, maxModelName); err != nil {
		return err
	}
	if len(in.Messages) == 0 {
		if in.Messages == nil {
			return Missing("messages")
		}
		return Invalid("messages", "'messages' must have at least one message.")
	}
	if len(in.Messages) > MaxMessages {
		return Invalid("messages", "'messages' must have at most %d messages; got %d.", MaxMessages, len(in.Messages))
	}
	for i := range in.Messages {
		if in.Messages[i].plain() {
			continue
		}
		if err := in.Messages[i].validate(indexed("messages", i)); err != nil {
			return err
		}
	}
	if err := in.validateSampling(); err != nil {
		return err
	}
	if err := in.validateTools(); err != nil {
		return err
	}
	if err := in.Metadata.validate("metadata"); err != nil {
		return err
	}
	return in.validateExtra()
}

func (in *ChatCompletionInput) validateSampling() error {
	for _, f := range []struct {
		param       string
		v           *float64
		least, most float64
	}{
		{"temperature", in.Temperature, 0, 2},
		{"top_p", in.TopP, 0, 1},
		{"presence_penalty", in.PresencePenalty, -2, 2},
		{"frequency_penalty", in.FrequencyPenalty, -2, 2},
	} {
		if f.v != nil && (*f.v < f.least || *f.v > f.most) {
			return Invalid(f.param, "'%s' must be between %g and %g; got %g.", f.param, f.least, f.most, *f.v)
		}
	}
	for _, f := range []struct {
		param       string
		v           *int
		least, most int
	}{
		{"n", in.N, 1, MaxChoices},
		{"max_tokens", in.MaxTokens, 1, 1 << 30},
		{"max_completion_tokens", in.MaxCompletionTokens, 1, 1 << 30},
		{"top_logprobs", in.TopLogprobs, 0, 20},
	} {
		if f.v != nil && (*f.v < f.least || *f.v > f.most) {
			return Invalid(f.param, "'%s' must be between %d and %d; got %d.", f.param, f.least, f.most, *f.v)
		}
	}
	if len(in.Stop) > MaxStops {
		return Invalid("stop", "'stop' must have at most %d sequences; got %d.", MaxStops, len(in.Stop))
	}
	if in.StreamOptions != nil && !in.Streams() && in.Raw != nil {
		return Invalid("stream_options", "'stream_options' is only allowed when 'stream' is true.")
	}
	return nil
}

func (in *ChatCompletionInput) validateTools() error {
	if len(in.Tools) > MaxTools {
		return Invalid("tools", "'tools' must have at most %d tools; got %d.", MaxTools, len(in.Tools))
	}
	for i := range in.Tools {
		t, at := &in.Tools[i], indexed("tools", i)
		if t.Type == "" && t.Function != nil {
			t.Type = "function"
		}
		switch t.Type {
		case "":
			return Missing(at + ".type")
		case "function":
			if t.Function == nil {
				return Missing(at + ".function")
			}
			if err := t.Function.validate(at + ".function"); err != nil {
				return err
			}
		}
	}
	if len(in.Functions) > 0 && len(in.Tools) > 0 {
		return Invalid("functions", "Give either 'tools' or the legacy 'functions', not both.")
	}
	if f := in.ResponseFormat; f != nil {
		switch f.Type {
		case "":
			return Missing("response_format.type")
		case "text", "json_object":
		case "json_schema":
			if f.JSONSchema == nil {
				return Missing("response_format.json_schema")
			}
			if f.JSONSchema.Name == "" {
				return Missing("response_format.json_schema.name")
			}
			return validObject("response_format.json_schema.schema", f.JSONSchema.Schema)
		default:
			return Invalid("response_format.type", "'response_format.type' must be one of text, json_object, json_schema.")
		}
	}
	return nil
}

func (f *Function) validate(at string) error {
	if f.Name == "" {
		return Missing(at + ".name")
	}
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}
	if len(f.Name) > 64 || strings.ContainsFunc(f.Name, bad) {
		return Invalid(at+".name", "'%s.name' must have at most 64 of the characters a-z, A-Z, 0-9, _ and -.", at)
	}
	return validObject(at+".parameters", f.Parameters)
}

func (in *ChatCompletionInput) validateExtra() error {
	return validObject("extra", in.Extra)
}

func validObject(param string, j JSON) error {
	if len(j) == 0 || string(j) == "null" {
		return nil
	}
	if j[0] != '{' || !json.Valid(j) {
		return Invalid(param, "'%s' must be an object.", param)
	}
	return nil
}

// plain says that a message is no more than a text of somebody, which needs no
// further look.
func (m *ChatMessage) plain() bool {
	switch m.Role {
	case RoleMessageSystem, RoleMessageDeveloper, RoleMessageUser, RoleMessageAssistant:
		return m.Content != nil && m.Content.Text != nil && len(m.ToolCalls) == 0 && strings.IndexByte(*m.Content.Text, 0) < 0
	case RoleMessageTool, RoleMessageFunction:
	}
	return false
}

func (m *ChatMessage) validate(at string) error {
	switch m.Role {
	case "":
		return Missing(at + ".role")
	case RoleMessageSystem, RoleMessageDeveloper, RoleMessageUser:
		if m.Content == nil {
			return Missing(at + ".content")
		}
	case RoleMessageAssistant:
		if m.Content == nil && len(m.ToolCalls) == 0 && m.FunctionCall == nil && m.Refusal == nil {
			return Invalid(at+".content", "An assistant message needs 'content' unless it has 'tool_calls'.")
		}
	case RoleMessageTool:
		if m.ToolCallID == nil || *m.ToolCallID == "" {
			return Missing(at + ".tool_call_id")
		}
		if m.Content == nil {
			return Missing(at + ".content")
		}
	case RoleMessageFunction:
		if m.Name == nil || *m.Name == "" {
			return Missing(at + ".name")
		}
	default:
		return Invalid(at+".role", "'%s.role' must be one of system, developer, user, assistant, tool, function; got '%s'.", at, clip(string(m.Role), 40))
	}
	for i, c := range m.ToolCalls {
		call := indexed(at+".tool_calls", i)
		switch {
		case c.ID == nil || *c.ID == "":
			return Missing(call + ".id")
		case c.Function == nil && len(c.Custom) == 0:
			return Missing(call + ".function")
		case c.Function != nil && (c.Function.Name == nil || *c.Function.Name == ""):
			return Missing(call + ".function.name")
		}
	}
	if m.Content == nil {
		return nil
	}
	if m.Content.Text != nil {
		return noNUL(at+".content", *m.Content.Text)
	}
	if len(m.Content.Parts) == 0 && m.Role != RoleMessageAssistant {
		return Invalid(at+".content", "'%s.content' must have at least one part.", at)
	}
	if len(m.Content.Parts) > MaxContentParts {
		return Invalid(at+".content", "'%s.content' must have at most %d parts; got %d.", at, MaxContentParts, len(m.Content.Parts))
	}
	for i := range m.Content.Parts {
		if err := m.Content.Parts[i].validate(indexed(at+".content", i)); err != nil {
			return err
		}
	}
	return nil
}

func (p *ContentPart) validate(at string) error {
	parts := []struct {
		kind string
		set  bool
	}{
		{"text", p.Text != nil}, {"refusal", p.Refusal != nil}, {"image_url", p.ImageURL != nil},
		{"input_audio", p.InputAudio != nil}, {"file", p.File != nil},
	}
	is, known := false, false
	for _, part := range parts {
		if p.Type == "" && part.set {
			p.Type = part.kind
		}
		if p.Type == part.kind {
			is, known = part.set, true
		}
	}
	if p.Type == "" {
		return Missing(at + ".type")
	}
	switch {
	case !known:
		return Invalid(at+".type", "'%s.type' must be one of text, image_url, input_audio, file, refusal; got '%s'.", at, clip(p.Type, 40))
	case !is:
		return Missing(at + "." + p.Type)
	case p.ImageURL != nil && p.ImageURL.URL == "" && p.ImageURL.FileID == nil:
		return Missing(at + ".image_url.url")
	case p.Text != nil:
		return noNUL(at+".text", *p.Text)
	}
	return nil
}

func noNUL(at, s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return Invalid(at, "'%s' must not contain the NUL character (\\u0000).", at)
	}
	return nil
}
