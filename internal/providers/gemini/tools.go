package gemini

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// tools are functions that the model may call.
// https://ai.google.dev/api/caching#Tool
type tools struct {
	FunctionDeclarations []declaration `json:"functionDeclarations"`
}

type declaration struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// ParametersJSONSchema takes a schema as it is. The older `parameters` takes a
	// subset, without $ref and additionalProperties.
	ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema,omitempty"`
}

type toolConfig struct {
	FunctionCallingConfig callingConfig `json:"functionCallingConfig"`
}

type callingConfig struct {
	Mode                 string   `json:"mode"` // AUTO, ANY or NONE
	AllowedFunctionNames []string `json:"allowedFunctionNames,omitempty"`
}

// tools translates the tools and the choice among them.
func (t *translation) tools() error {
	declared, err := t.declarations()
	if err != nil {
		return err
	}
	if p := t.in.ParallelToolCalls; p != nil && !*p && len(declared) > 0 {
		if err := t.unless("parallel_tool_calls", "It makes parallel calls as it sees fit."); err != nil {
			return err
		}
	}
	at, choice := "tool_choice", t.in.ToolChoice
	if t.legacy() {
		at, choice = "function_call", t.in.FunctionCall
	}
	declared, err = t.choose(at, gjson.ParseBytes(choice), declared)
	if err != nil {
		return err
	}
	if len(declared) > 0 {
		t.out.Tools = []tools{{FunctionDeclarations: declared}}
	}
	return nil
}

// legacy says whether the client speaks the language that had no tools yet, and
// is to be answered in it.
func (t *translation) legacy() bool { return isLegacy(t.in) }

func isLegacy(in *models.ChatCompletionInput) bool {
	return len(in.Tools) == 0 && len(in.Functions) > 0 && string(in.Functions) != "null"
}

func (t *translation) declarations() ([]declaration, error) {
	var list []declaration
	if t.legacy() {
		var functions []models.Function
		if err := json.Unmarshal(t.in.Functions, &functions); err != nil {
			return nil, invalid("functions", "'functions' must be an array of functions with name, description and parameters.")
		}
		for i := range functions {
			if functions[i].Name == "" {
				return nil, invalid(fmt.Sprintf("functions[%d].name", i), "A function must have a name.")
			}
			list = append(list, declare(&functions[i]))
		}
		return list, nil
	}
	for i := range t.in.Tools {
		tool := &t.in.Tools[i]
		if tool.Type != "function" || tool.Function == nil {
			if err := t.unless(fmt.Sprintf("tools[%d].type", i), "It takes tools of the type function only."); err != nil {
				return nil, err
			}
			continue
		}
		list = append(list, declare(tool.Function))
	}
	return list, nil
}

func declare(f *models.Function) declaration {
	d := declaration{Name: f.Name}
	if f.Description != nil {
		d.Description = *f.Description
	}
	if len(f.Parameters) > 0 && string(f.Parameters) != "null" {
		d.ParametersJSONSchema = json.RawMessage(f.Parameters)
	}
	return d
}

// choose translates tool_choice, or the legacy function_call; it gives the
// functions that remain to be chosen from.
func (t *translation) choose(at string, choice gjson.Result, from []declaration) ([]declaration, error) {
	mode, allowed := "", []string(nil)
	switch {
	case choice.Type == gjson.Null:
		return from, nil
	case choice.Type == gjson.String:
		mode = map[string]string{"auto": "AUTO", "none": "NONE", "required": "ANY"}[choice.Str]
	case choice.Get("type").Str == "allowed_tools":
		set := choice.Get("allowed_tools")
		if set.Get("mode").Str == "required" {
			mode = "ANY"
		} else {
			mode = "AUTO"
		}
		allowed = []string{}
		for _, tool := range set.Get("tools").Array() {
			allowed = append(allowed, tool.Get("function.name").Str)
		}
	case choice.Get("function.name").Str != "":
		mode, allowed = "ANY", []string{choice.Get("function.name").Str}
	case at == "function_call" && choice.Get("name").Str != "":
		mode, allowed = "ANY", []string{choice.Get("name").Str}
	}
	if mode == "" {
		return nil, invalid(at, "'"+at+"' must be none, auto, required, or an object that names a function of the request.")
	}
	for _, name := range allowed {
		if !slices.ContainsFunc(from, func(d declaration) bool { return d.Name == name }) {
			return nil, invalid(at, "'"+at+"' must name functions that the request describes.")
		}
	}
	if len(from) == 0 {
		if mode == "ANY" {
			return nil, invalid(at, "'"+at+"' requires a call, but the request describes no function.")
		}
		return nil, nil
	}
	t.out.ToolConfig = &toolConfig{FunctionCallingConfig: callingConfig{Mode: mode}}
	switch {
	case allowed == nil:
		return from, nil
	case mode == "ANY":
		t.out.ToolConfig.FunctionCallingConfig.AllowedFunctionNames = allowed
		return from, nil
	}
	// AUTO takes no list of names, so the others are not described.
	return slices.DeleteFunc(from, func(d declaration) bool { return !slices.Contains(allowed, d.Name) }), nil
}
