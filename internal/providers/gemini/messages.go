package gemini

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/coaidev/coai/models"
)

const (
	roleUser  = "user"
	roleModel = "model"

	// anySignature is what Google gives out for calls whose signature is lost, or
	// that another model made. https://ai.google.dev/gemini-api/docs/thought-signatures
	anySignature = "skip_thought_signature_validator"
)

// messages translates the conversation. What the system and the developer say is
// one instruction, wherever they say it; turns of one role become one.
func (t *translation) messages() error {
	for i := range t.in.Messages {
		m, at := &t.in.Messages[i], fmt.Sprintf("messages[%d]", i)
		var parts []*part
		var err error
		role := roleUser
		switch m.Role {
		case models.RoleMessageSystem, models.RoleMessageDeveloper:
			if parts, err = t.text(m, at); err != nil {
				return err
			}
			t.system = append(t.system, parts...)
			continue
		case models.RoleMessageUser:
			parts, err = t.parts(m.Content, at+".content")
		case models.RoleMessageAssistant:
			role = roleModel
			parts, err = t.assistant(m, i)
		case models.RoleMessageTool:
			parts, err = t.result(m, at)
		case models.RoleMessageFunction:
			parts = []*part{{FunctionResponse: &functionResponse{Name: *m.Name, Response: response(m.Content.String())}}}
		}
		if err != nil {
			return err
		}
		t.turn(role, parts)
	}
	switch {
	case len(t.out.Contents) > 0 && len(t.system) > 0:
		t.out.SystemInstruction = &content{Parts: t.system}
	case len(t.out.Contents) == 0 && len(t.system) > 0: // an instruction alone is no conversation
		t.turn(roleUser, t.system)
	case len(t.out.Contents) == 0:
		return invalid("messages", "'messages' must hold some content for the model '"+t.in.Model+"'.")
	}
	return nil
}

// turn adds to the conversation.
func (t *translation) turn(role string, parts []*part) {
	if len(parts) == 0 {
		return
	}
	if n := len(t.out.Contents); n > 0 && t.out.Contents[n-1].Role == role {
		last := t.out.Contents[n-1]
		last.Parts = append(last.Parts, parts...)
		return
	}
	t.out.Contents = append(t.out.Contents, &content{Role: role, Parts: parts})
}

// text is a message that may hold nothing but text.
func (t *translation) text(m *models.ChatMessage, at string) ([]*part, error) {
	for j := range m.Content.Parts {
		if m.Content.Parts[j].Text == nil {
			at = fmt.Sprintf("%s.content[%d].type", at, j)
			return nil, invalid(at, fmt.Sprintf("'%s' must be text in a message of the role %s.", at, m.Role))
		}
	}
	return t.parts(m.Content, at+".content")
}

func (t *translation) assistant(m *models.ChatMessage, i int) ([]*part, error) {
	at := fmt.Sprintf("messages[%d]", i)
	parts, err := t.parts(m.Content, at+".content")
	if err != nil {
		return nil, err
	}
	if m.Refusal != nil && *m.Refusal != "" {
		parts = append(parts, &part{Text: *m.Refusal})
	}
	if len(parts) > 0 {
		parts[len(parts)-1].ThoughtSignature = t.signature(i, "")
	}
	before := len(parts)
	for j := range m.ToolCalls {
		c := &m.ToolCalls[j]
		call := fmt.Sprintf("%s.tool_calls[%d]", at, j)
		if c.Function == nil {
			return nil, invalid(call+".type", "'"+call+".type' must be function: the model '"+t.in.Model+"' knows no custom tools.")
		}
		args, err := arguments(c.Function.Arguments, call+".function.arguments")
		if err != nil {
			return nil, err
		}
		t.called[*c.ID] = *c.Function.Name
		parts = append(parts, &part{
			FunctionCall:     &functionCall{ID: *c.ID, Name: *c.Function.Name, Args: args},
			ThoughtSignature: t.signature(i, fmt.Sprintf("tool_calls.%d.", j)),
		})
	}
	if f := m.FunctionCall; f != nil && f.Name != nil {
		args, err := arguments(f.Arguments, at+".function_call.arguments")
		if err != nil {
			return nil, err
		}
		parts = append(parts, &part{FunctionCall: &functionCall{Name: *f.Name, Args: args}})
	}
	// Of parallel calls the first has the signature.
	if len(parts) > before && parts[before].ThoughtSignature == "" && generation(t.model) >= 3 {
		parts[before].ThoughtSignature = anySignature
	}
	return parts, nil
}

// signature is the thought signature that a client returned with something in
// the i-th message.
func (t *translation) signature(i int, path string) string {
	if i >= len(t.raw) {
		return ""
	}
	return t.raw[i].Get(path + "extra_content.google.thought_signature").Str
}

// arguments are those of a call in the history: OpenAI has them as text.
func arguments(text *string, at string) (json.RawMessage, error) {
	if text == nil || strings.TrimSpace(*text) == "" {
		return json.RawMessage("{}"), nil
	}
	if args := []byte(*text); isObject(args) {
		return args, nil
	}
	return nil, invalid(at, "'"+at+"' must be a JSON object in a string.")
}

func isObject(b []byte) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 0 && b[0] == '{' && json.Valid(b)
}

// result is what a tool answered. Gemini wants to hear the function's name again.
func (t *translation) result(m *models.ChatMessage, at string) ([]*part, error) {
	name, known := t.called[*m.ToolCallID]
	if !known {
		at += ".tool_call_id"
		return nil, invalid(at, "'"+at+"' must be the id of a tool call in a message before it.")
	}
	if _, err := t.text(m, at); err != nil {
		return nil, err
	}
	return []*part{{FunctionResponse: &functionResponse{ID: *m.ToolCallID, Name: name, Response: response(m.Content.String())}}}, nil
}

// response is a function's result as the object that Gemini wants.
func response(text string) json.RawMessage {
	if b := []byte(text); isObject(b) {
		return b
	}
	b, err := json.Marshal(map[string]string{"result": text})
	if err != nil {
		return json.RawMessage("{}") // never: a string can be encoded
	}
	return b
}
