// Package responses translates OpenAI's responses into chat completions and the
// answers back, so that their clients work with any upstream.
// https://platform.openai.com/docs/api-reference/responses
package responses

import (
	"slices"
	"strconv"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

// Request is a translated request.
type Request struct {
	Chat  models.ChatCompletionInput
	Items models.JSON // the request's own input: an array of items, each with its id
	Own   int         // how many of the last messages are the request's own input
}

// Translate turns a request into one for a chat completion. id is the response's
// own; before are the items of the responses that it follows, the oldest first,
// as arrays; found are the items that [References] names. Errors are KindInvalid
// and name the culprit. What cannot be translated is refused by name: built-in
// tools, files and images by id, background work. What only helps at OpenAI is
// dropped: reasoning that is sent back, and what include asks for.
func Translate(in *models.CreateResponseInput, id string, before []models.JSON, found map[string]models.JSON) (*Request, error) {
	t := &translator{found: found, calls: map[string]bool{}}
	t.unsupported(in)
	t.sampling(in)
	if in.Instructions != nil && *in.Instructions != "" {
		t.say(models.RoleMessageSystem, models.TextContent(*in.Instructions))
	}
	for _, items := range before {
		gjson.ParseBytes(items).ForEach(func(_, item gjson.Result) bool {
			t.item(dialect.Value{Result: item, Path: "previous_response_id"})
			return true
		})
	}
	if dialect.Of("conversation", in.Conversation).Given() {
		t.base = len(t.out)
	}
	earlier := len(t.out)
	own := t.own(dialect.Of("input", in.Input), id)
	if len(t.out) == 0 {
		t.Fail(models.Missing("input"))
	}
	if len(t.out) > models.MaxMessages {
		t.Fail(models.Invalid("input", "'input' and the responses before it must have at most %d items.", models.MaxMessages))
	}
	out := models.ChatCompletionInput{
		Model: in.Model, Messages: t.out, Temperature: in.Temperature, TopP: in.TopP, MaxCompletionTokens: in.MaxOutputTokens,
		User: in.User,
	}
	t.tools(in, &out)
	extra := t.format(dialect.Of("text", in.Text), &out)
	if r := dialect.Of("reasoning", in.Reasoning); r.Given() && t.Object(r) {
		out.ReasoningEffort = t.Optional(r, "effort")
	}
	for _, f := range []struct {
		name  string
		value *string
	}{
		{"safety_identifier", in.SafetyIdentifier}, {"prompt_cache_key", in.PromptCacheKey}, {"service_tier", in.ServiceTier},
		{"verbosity", extra},
	} {
		if f.value != nil {
			out.Extra = set(out.Extra, f.name, *f.value)
		}
	}
	return &Request{Chat: out, Items: own, Own: len(t.out) - earlier}, t.Err()
}

func set(object models.JSON, key string, value any) models.JSON {
	if object == nil {
		object = models.JSON("{}")
	}
	b, err := sjson.SetBytes(object, key, value)
	if err != nil { // the keys are ours, and the values are plain
		return object
	}
	return b
}

type translator struct {
	dialect.Reader

	out   []models.ChatMessage
	found map[string]models.JSON
	calls map[string]bool      // ids of the calls so far
	base  int                  // messages before this one are stored as they are: nothing is added to them
	rest  []models.ContentPart // of tool results: what is no text, for a user's message behind them
}

// unsupported refuses what no chat completion can do.
func (t *translator) unsupported(in *models.CreateResponseInput) {
	if in.Background != nil && *in.Background {
		t.Unsupported("background", "'background' is not supported: responses are made while the client waits.")
	}
	if p := dialect.Of("prompt", in.Prompt); p.Given() {
		t.Unsupported("prompt", "'prompt' is not supported: there are no stored prompt templates.")
	}
	if in.TopLogprobs != nil && *in.TopLogprobs > 0 {
		t.Unsupported("top_logprobs", "'top_logprobs' is not supported in responses; use chat completions.")
	}
	known := []string{
		"file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
		"computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content",
	}
	for i, name := range in.Include {
		at := "include[" + strconv.Itoa(i) + "]"
		switch {
		case name == "message.output_text.logprobs":
			t.Unsupported(at, "Log probabilities are not supported in responses; use chat completions.")
		case !slices.Contains(known, name):
			t.Fail(models.Invalid(at, "'%s' is not something that can be included: '%s'.", at, dialect.Clip(name)))
		}
	}
}

func (t *translator) sampling(in *models.CreateResponseInput) {
	dialect.Between(&t.Reader, "temperature", in.Temperature, 0, 2)
	dialect.Between(&t.Reader, "top_p", in.TopP, 0, 1)
	dialect.Between(&t.Reader, "max_output_tokens", in.MaxOutputTokens, 1, 1<<30)
	if s := in.Truncation; s != nil && *s != "auto" && *s != "disabled" {
		t.Fail(models.Invalid("truncation", "'truncation' must be auto or disabled."))
	}
	if err := in.Validate(); err != nil {
		e, _ := models.AsError(err)
		t.Fail(e)
	}
}

// format reads the answer's format, and gives its verbosity.
func (t *translator) format(v dialect.Value, out *models.ChatCompletionInput) (verbosity *string) {
	if !v.Given() || !t.Object(v) {
		return nil
	}
	verbosity = t.Optional(v, "verbosity")
	f := v.Get("format")
	if !f.Given() || !t.Object(f) {
		return verbosity
	}
	switch kind := t.Text(f, "type"); kind {
	case "text":
	case "json_object":
		out.ResponseFormat = &models.ResponseFormat{Type: kind}
	case "json_schema":
		out.ResponseFormat = &models.ResponseFormat{Type: kind, JSONSchema: &models.JSONSchema{
			Name: t.Name(f, "name"), Description: t.Optional(f, "description"), Schema: t.Schema(f, "schema"), Strict: t.Bool(f, "strict"),
		}}
		if !f.Get("schema").Given() {
			t.Fail(models.Missing(f.Get("schema").Path))
		}
	default:
		t.Fail(models.Invalid("text.format.type", "'text.format.type' must be one of text, json_object, json_schema; got '%s'.", dialect.Clip(kind)))
	}
	return verbosity
}

// tools reads the tools, and which of them the model may call.
func (t *translator) tools(in *models.CreateResponseInput, out *models.ChatCompletionInput) {
	for _, tool := range t.List(dialect.Of("tools", in.Tools), models.MaxTools) {
		if !t.Object(tool) {
			return
		}
		if kind := t.Text(tool, "type"); kind != "function" {
			t.Unsupported(tool.Get("type").Path, "The built-in tool '%s' is not served by the channels of this model; only tools of type function are.", dialect.Clip(kind))
			return
		}
		out.Tools = append(out.Tools, models.Tool{Type: "function", Function: &models.Function{
			Name: t.FunctionName(tool, "name"), Description: t.Optional(tool, "description"),
			Parameters: t.Schema(tool, "parameters"), Strict: t.Bool(tool, "strict"),
		}})
	}
	t.choice(dialect.Of("tool_choice", in.ToolChoice), out)
	if len(out.Tools) == 0 {
		out.ToolChoice = nil // upstreams refuse a choice of nothing
		return
	}
	out.ParallelToolCalls = in.ParallelToolCalls
}

func (t *translator) choice(v dialect.Value, out *models.ChatCompletionInput) {
	if !v.Given() {
		return
	}
	if v.Is() {
		t.mode(v, out)
		return
	}
	if !t.Object(v) {
		return
	}
	switch kind := t.Text(v, "type"); kind {
	case "function":
		name := gjson.AppendJSONString(nil, t.FunctionName(v, "name"))
		out.ToolChoice = append(append(models.JSON(`{"type":"function","function":{"name":`), name...), `}}`...)
	case "allowed_tools": // others are not even shown to the model
		t.mode(v.Get("mode"), out)
		var allowed []models.Tool
		for _, tool := range t.List(v.Get("tools"), models.MaxTools) {
			name := t.FunctionName(tool, "name")
			at := slices.IndexFunc(out.Tools, func(o models.Tool) bool { return o.Function.Name == name })
			if at < 0 {
				t.Fail(models.Invalid(tool.Get("name").Path, "'%s' is not one of 'tools': '%s'.", tool.Get("name").Path, dialect.Clip(name)))
				return
			}
			allowed = append(allowed, out.Tools[at])
		}
		out.Tools = allowed
	default:
		t.Unsupported("tool_choice.type", "'tool_choice.type' must be function or allowed_tools; got '%s'.", dialect.Clip(kind))
	}
}

func (t *translator) mode(v dialect.Value, out *models.ChatCompletionInput) {
	switch mode := t.Plain(v); mode {
	case "none", "auto", "required":
		out.ToolChoice = models.JSON(strconv.Quote(mode))
	default:
		t.Fail(models.Invalid(v.Path, "'%s' must be one of none, auto, required, or an object; got '%s'.", v.Path, dialect.Clip(mode)))
	}
}
