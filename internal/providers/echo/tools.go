package echo

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// callTools fills in the calls that the request asks for, if any.
func (a *answer) callTools(in *models.ChatCompletionInput, c *controls, text string) error {
	functions, choice, param := functionsOf(in), in.ToolChoice, "tool_choice"
	if len(in.Tools) == 0 && len(in.Functions) > 0 {
		a.legacy, choice, param = true, in.FunctionCall, "function_call"
	}
	mode, name := readChoice(choice)
	if name != "" {
		functions = named(functions, func(f *models.Function) bool { return f.Name == name })
	}
	var called []*models.Function
	switch {
	case mode == "none" || c.toolCalls == 0:
	case len(functions) == 0:
		if mode == "required" {
			return invalid(param, "'"+param+"' asks for a function that the request does not offer.")
		}
		if c.toolCalls > 0 {
			return invalid("metadata.echo_tool_calls", "'metadata.echo_tool_calls' needs a function in 'tools'.")
		}
	case c.toolCalls > 0:
		for i := range c.toolCalls {
			called = append(called, functions[i%len(functions)])
		}
	default:
		called = named(functions, func(f *models.Function) bool { return hasWord(text, f.Name) })
		if len(called) == 0 && mode == "required" {
			called = functions[:1]
		}
	}
	if single := in.ParallelToolCalls != nil && !*in.ParallelToolCalls; len(called) > 1 && (single || a.legacy) {
		called = called[:1]
	}
	arguments := map[*models.Function]string{}
	for _, f := range called {
		if _, made := arguments[f]; !made {
			arguments[f] = fromSchema(f.Parameters, text, "input", true)
		}
		a.calls = append(a.calls, call{id: models.NewID("call_"), name: f.Name, arguments: arguments[f]})
	}
	if len(a.calls) > 0 {
		a.finish = models.FinishToolCalls
		if a.legacy {
			a.finish = models.FinishFunctionCall
		}
	}
	return nil
}

// functionsOf are the functions that the request offers, the legacy way too.
func functionsOf(in *models.ChatCompletionInput) []*models.Function {
	var list []*models.Function
	for i := range in.Tools {
		if f := in.Tools[i].Function; f != nil {
			list = append(list, f)
		}
	}
	if len(in.Tools) == 0 && len(in.Functions) > 0 {
		var legacy []*models.Function
		if json.Unmarshal(in.Functions, &legacy) == nil {
			list = named(legacy, func(f *models.Function) bool { return f != nil && f.Name != "" })
		}
	}
	return list
}

func named(list []*models.Function, keep func(*models.Function) bool) []*models.Function {
	var kept []*models.Function
	for _, f := range list {
		if keep(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// readChoice reads tool_choice and the legacy function_call: auto, none or
// required, and the function that must be called, if one is named.
func readChoice(choice models.JSON) (mode, name string) {
	v := gjson.ParseBytes(choice)
	if v.Type == gjson.String {
		return v.Str, ""
	}
	for _, path := range []string{"function.name", "name"} {
		if n := v.Get(path).Str; n != "" {
			return "required", n
		}
	}
	return "auto", ""
}

// hasWord says whether text has the word, not just as a part of another.
func hasWord(text, word string) bool {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool {
		return r < 0x80 && !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}) {
		if w == word {
			return true
		}
	}
	return false
}
