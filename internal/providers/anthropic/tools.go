package anthropic

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

type tool struct {
	Name         string          `json:"name"`
	Description  *string         `json:"description,omitempty"`
	InputSchema  json.RawMessage `json:"input_schema"`
	Strict       bool            `json:"strict,omitempty"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type toolChoice struct {
	Type            string `json:"type"` // auto, any, tool or none
	Name            string `json:"name,omitempty"`
	DisableParallel bool   `json:"disable_parallel_tool_use,omitempty"`
}

// forces says whether a tool must be called.
func (c *toolChoice) forces() bool { return c != nil && (c.Type == "any" || c.Type == "tool") }

// tools translates the tools and which of them may be called; the legacy
// functions too, of which one answer calls at most one.
func (t *translation) tools() error {
	in := t.in
	choice, at := in.ToolChoice, "tool_choice"
	if len(in.Functions) > 0 && string(in.Functions) != "null" {
		choice, at = in.FunctionCall, "function_call"
		if err := t.functions(); err != nil {
			return err
		}
	}
	raw := t.raw.Get("tools").Array()
	for i := range in.Tools {
		f, at := in.Tools[i].Function, indexed("tools", i)
		if in.Tools[i].Type != "function" || f == nil {
			if err := t.unsupported(at+".type", "It must be function."); err != nil {
				return err
			}
			continue
		}
		w, err := declared(at+".function", f)
		if err != nil {
			return err
		}
		if len(raw) == len(in.Tools) {
			if w.CacheControl = rawOf(raw[i].Get("cache_control")); w.CacheControl == nil {
				w.CacheControl = rawOf(raw[i].Get("function.cache_control"))
			}
		}
		t.out.Tools = append(t.out.Tools, w)
	}
	if len(t.out.Tools) == 0 {
		return nil
	}
	var err error
	if t.out.ToolChoice, err = t.choice(at, choice); err != nil {
		return err
	}
	if one := in.ParallelToolCalls != nil && !*in.ParallelToolCalls || t.legacy(); one {
		switch {
		case t.out.ToolChoice == nil:
			t.out.ToolChoice = &toolChoice{Type: "auto", DisableParallel: true}
		case t.out.ToolChoice.Type != "none":
			t.out.ToolChoice.DisableParallel = true
		}
	}
	return nil
}

// legacy says whether the client asked with the functions of old, and is
// answered in kind.
func (t *translation) legacy() bool { return legacy(t.in) }

func legacy(in *models.ChatCompletionInput) bool {
	return len(in.Functions) > 0 && string(in.Functions) != "null" && len(in.Tools) == 0
}

func (t *translation) functions() error {
	var list []models.Function
	if err := json.Unmarshal(t.in.Functions, &list); err != nil {
		return invalid("functions", "must be an array of functions.")
	}
	if len(list) > models.MaxTools {
		return invalid("functions", "must have at most %d functions; got %d.", models.MaxTools, len(list))
	}
	for i := range list {
		at := indexed("functions", i)
		if list[i].Name == "" {
			return invalid(at+".name", "is required.")
		}
		w, err := declared(at, &list[i])
		if err != nil {
			return err
		}
		t.out.Tools = append(t.out.Tools, w)
	}
	return nil
}

// declared is a tool as Anthropic takes it. The schema keeps its bytes; one that
// lacks the type of its root gets it, because Anthropic insists.
func declared(at string, f *models.Function) (tool, error) {
	w := tool{Name: f.Name, Description: f.Description, Strict: f.Strict != nil && *f.Strict}
	schema := bytes.TrimSpace(f.Parameters)
	switch {
	case len(schema) == 0 || string(schema) == "null":
		schema = []byte(`{"type":"object","properties":{}}`)
	case schema[0] != '{' || !json.Valid(schema):
		return tool{}, invalid(at+".parameters", "must be an object.")
	case !gjson.GetBytes(schema, "type").Exists():
		rest := bytes.TrimSpace(schema[1:])
		comma := ","
		if rest[0] == '}' {
			comma = ""
		}
		schema = append([]byte(`{"type":"object"`+comma), rest...)
	}
	w.InputSchema = schema
	return w, nil
}

// choice translates tool_choice or function_call.
func (t *translation) choice(at string, raw models.JSON) (*toolChoice, error) {
	c := gjson.ParseBytes(raw)
	name := c.Get("name").Str // of function_call
	if c.Get("type").Str == "function" {
		name = c.Get("function.name").Str
	}
	switch {
	case c.Type == gjson.Null:
		return nil, nil //nolint:nilnil // no choice is no error
	case c.Type == gjson.String:
		switch c.Str {
		case "auto", "none":
			return &toolChoice{Type: c.Str}, nil
		case "required":
			return &toolChoice{Type: "any"}, nil
		}
	case c.IsObject() && name != "":
		for _, w := range t.out.Tools {
			if w.Name == name {
				return &toolChoice{Type: "tool", Name: name}, nil
			}
		}
		return nil, invalid(at, "names a tool that is not among the tools.")
	case c.Get("type").Str == "allowed_tools":
		return nil, t.unsupported(at, "Name the tools in 'tools' instead.")
	}
	return nil, invalid(at, "must be auto, none, required, or name a function.")
}
