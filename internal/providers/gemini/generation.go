package gemini

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/coaidev/coai/models"
)

// generationConfig are the parameters of a generation, by Gemini's names.
// https://ai.google.dev/api/generate-content#generationconfig
type generationConfig map[string]any

func (c *generationConfig) set(name string, value any) {
	if *c == nil {
		*c = generationConfig{}
	}
	(*c)[name] = value
}

// generation translates what steers the generation.
func (t *translation) generation() error {
	in, c := t.in, &t.config
	number := func(name string, v *float64) {
		if v != nil {
			c.set(name, *v)
		}
	}
	number("temperature", in.Temperature)
	number("topP", in.TopP)
	number("presencePenalty", in.PresencePenalty)
	number("frequencyPenalty", in.FrequencyPenalty)
	switch {
	case in.MaxCompletionTokens != nil:
		c.set("maxOutputTokens", *in.MaxCompletionTokens)
	case in.MaxTokens != nil:
		c.set("maxOutputTokens", *in.MaxTokens)
	}
	if len(in.Stop) > 0 {
		c.set("stopSequences", in.Stop)
	}
	if in.N != nil && *in.N != 1 {
		c.set("candidateCount", *in.N)
	}
	if in.Seed != nil {
		// Gemini's has 32 bits. Equal seeds stay equal.
		c.set("seed", int32(*in.Seed))
	}
	if in.Logprobs != nil && *in.Logprobs {
		c.set("responseLogprobs", true)
		if in.TopLogprobs != nil && *in.TopLogprobs > 0 {
			c.set("logprobs", *in.TopLogprobs)
		}
	}
	t.format(in.ResponseFormat)
	if in.ReasoningEffort != nil {
		return t.effort(*in.ReasoningEffort)
	}
	return nil
}

func (t *translation) format(f *models.ResponseFormat) {
	if f == nil || f.Type == "text" {
		return
	}
	t.config.set("responseMimeType", "application/json")
	if f.JSONSchema != nil && len(f.JSONSchema.Schema) > 0 && string(f.JSONSchema.Schema) != "null" {
		t.config.set("responseJsonSchema", json.RawMessage(f.JSONSchema.Schema))
	}
}

// effort translates reasoning_effort, as Google's own endpoint for OpenAI's
// language does. https://ai.google.dev/gemini-api/docs/openai#thinking
func (t *translation) effort(effort string) error {
	if t.thinking != "" {
		return invalid(t.thinking, "Give either 'reasoning_effort' or '"+t.thinking+"', not both.")
	}
	budgets := map[string]int{"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
	budget, known := budgets[effort]
	switch {
	case !known:
		return invalid("reasoning_effort", "'reasoning_effort' must be one of none, minimal, low, medium, high, xhigh.")
	case effort == "none":
		t.config.set("thinkingConfig", map[string]any{"thinkingBudget": 0})
		return nil
	case generation(t.model) < 3:
		t.config.set("thinkingConfig", map[string]any{"includeThoughts": true, "thinkingBudget": budget})
		return nil
	case effort == "xhigh":
		effort = "high"
	case effort == "minimal":
		effort = "low" // the least that every model has
	}
	t.config.set("thinkingConfig", map[string]any{"includeThoughts": true, "thinkingLevel": effort})
	return nil
}

var generationOf = regexp.MustCompile(`gemini-([0-9]{1,3})(?:[.-]|$)`)

// generation is the model's: 2 for gemini-2.5-flash. The names that move on with
// each generation, such as gemini-flash-latest, are past 3; other models are 0.
func generation(model string) int {
	if m := generationOf.FindStringSubmatch(model); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	if strings.Contains(model, "gemini-") && strings.HasSuffix(model, "-latest") {
		return 3
	}
	return 0
}
