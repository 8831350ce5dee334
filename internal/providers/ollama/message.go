package ollama

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// message is a turn in Ollama's form.
type message struct {
	Role      string     `json:"role"`
	Content   string     `json:"content"`
	Images    []string   `json:"images,omitempty"` // base64
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
	ToolName  string     `json:"tool_name,omitempty"` // of the role tool
}

type toolCall struct {
	Function calledFunction `json:"function"`
}

type calledFunction struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // an object
}

// messages translates the turns. A tool's answer needs the name of its function,
// which the call has that it answers.
func messages(in []models.ChatMessage) ([]message, *providers.Error) {
	out := make([]message, 0, len(in))
	names := map[string]string{} // of functions, by the id of the call
	for i := range in {
		m := &in[i]
		at := fmt.Sprintf("messages[%d]", i)
		to := message{Role: string(m.Role)}
		var failure *providers.Error
		if to.Content, to.Images, failure = content(m.Content, at+".content"); failure != nil {
			return nil, failure
		}
		switch m.Role {
		case models.RoleMessageDeveloper:
			to.Role = string(models.RoleMessageSystem)
		case models.RoleMessageTool:
			if m.ToolCallID != nil {
				to.ToolName = names[*m.ToolCallID]
			}
		case models.RoleMessageFunction:
			to.Role = string(models.RoleMessageTool)
			if m.Name != nil {
				to.ToolName = *m.Name
			}
		case models.RoleMessageAssistant:
			if to.ToolCalls, failure = calls(m, at, names); failure != nil {
				return nil, failure
			}
			if to.Content == "" && m.Refusal != nil {
				to.Content = *m.Refusal
			}
		case models.RoleMessageSystem, models.RoleMessageUser:
		}
		out = append(out, to)
	}
	return out, nil
}

// calls translates the calls that an assistant's turn made, and notes their names.
func calls(m *models.ChatMessage, at string, names map[string]string) ([]toolCall, *providers.Error) {
	var out []toolCall
	add := func(f *models.FunctionCall, at string) *providers.Error {
		if f == nil || f.Name == nil {
			return invalid(at, "'"+at+"' must name a function: Ollama knows no other tools.", nil)
		}
		arguments := "{}"
		if f.Arguments != nil && strings.TrimSpace(*f.Arguments) != "" {
			arguments = *f.Arguments
		}
		if !gjson.Valid(arguments) || !gjson.Parse(arguments).IsObject() {
			return invalid(at+".arguments", "'"+at+".arguments' must be the text of a JSON object.", nil)
		}
		out = append(out, toolCall{Function: calledFunction{Name: *f.Name, Arguments: json.RawMessage(arguments)}})
		return nil
	}
	for i := range m.ToolCalls {
		call := &m.ToolCalls[i]
		if failure := add(call.Function, fmt.Sprintf("%s.tool_calls[%d].function", at, i)); failure != nil {
			return nil, failure
		}
		if call.ID != nil {
			names[*call.ID] = *call.Function.Name
		}
	}
	if m.FunctionCall != nil {
		if failure := add(m.FunctionCall, at+".function_call"); failure != nil {
			return nil, failure
		}
	}
	return out, nil
}

// content splits a turn's content into its text and its images.
func content(c *models.MessageContent, at string) (text string, images []string, failure *providers.Error) {
	if c == nil {
		return "", nil, nil
	}
	if c.Text != nil {
		return *c.Text, nil, nil
	}
	var b strings.Builder
	for i := range c.Parts {
		part := &c.Parts[i]
		at := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case part.Text != nil:
			b.WriteString(*part.Text)
		case part.Refusal != nil:
			b.WriteString(*part.Refusal)
		case part.ImageURL != nil:
			image, failure := imageData(part.ImageURL.URL, at+".image_url.url")
			if failure != nil {
				return "", nil, failure
			}
			images = append(images, image)
		default:
			return "", nil, &providers.Error{
				Class: providers.Rejected, Code: models.CodeInvalidValue, Param: at,
				Message: fmt.Sprintf("'%s' must be text or an image: the upstream of this model, Ollama, takes nothing else.", at),
			}
		}
	}
	return b.String(), images, nil
}

// imageData is the base64 in a data URL. Images elsewhere are not fetched.
func imageData(url, at string) (string, *providers.Error) {
	const prefix = "data:"
	head, data, found := strings.Cut(url, ",")
	if !found || len(head) < len(prefix) || !strings.EqualFold(head[:len(prefix)], prefix) || !strings.HasSuffix(strings.ToLower(head), ";base64") {
		return "", invalid(at, fmt.Sprintf("'%s' must be a data URL in base64: the upstream of this model, Ollama, fetches no images.", at), nil)
	}
	return data, nil
}
