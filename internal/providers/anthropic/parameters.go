package anthropic

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

const leaveOut = "Leave it out."

// parameters translates what is typed and neither a message nor a tool.
func (t *translation) parameters() error {
	in := t.in
	for _, p := range []struct {
		name string
		set  bool
	}{
		{"n", in.N != nil && *in.N > 1},
		{"logprobs", in.Logprobs != nil && *in.Logprobs},
		{"top_logprobs", in.TopLogprobs != nil && *in.TopLogprobs > 0},
		{"presence_penalty", in.PresencePenalty != nil && *in.PresencePenalty != 0},
		{"frequency_penalty", in.FrequencyPenalty != nil && *in.FrequencyPenalty != 0},
		{"seed", in.Seed != nil},
	} {
		if p.set {
			if err := t.unsupported(p.name, leaveOut); err != nil {
				return err
			}
		}
	}
	if err := t.sampling(); err != nil {
		return err
	}
	for _, s := range in.Stop {
		if strings.TrimSpace(s) != "" {
			t.out.StopSequences = append(t.out.StopSequences, s)
		} else if err := t.unsupported("stop", "Each sequence needs a character that is not white space."); err != nil {
			return err
		}
	}
	switch {
	case in.User != nil && *in.User != "":
		t.out.Metadata = &metadata{UserID: *in.User}
	case in.Metadata["user_id"] != "":
		t.out.Metadata = &metadata{UserID: in.Metadata["user_id"]}
	}
	return nil
}

// sampling translates temperature and top_p. Models since Claude 4.7 take only
// the value 1, which is the default.
func (t *translation) sampling() error {
	in := t.in
	fixed := t.model >= claude47
	if v := in.Temperature; v != nil {
		switch {
		case *v > 1:
			if !t.drop {
				return invalid("temperature", "must be between 0 and 1 for this model; got %g.", *v)
			}
		case fixed && *v != 1:
			if err := t.unsupported("temperature", leaveOut); err != nil {
				return err
			}
		case !fixed:
			t.out.Temperature = v
		}
	}
	if v := in.TopP; v != nil {
		switch {
		case fixed && *v != 1:
			return t.unsupported("top_p", leaveOut)
		case !fixed:
			t.out.TopP = v
		}
	}
	return nil
}

// format translates response_format.
// https://platform.claude.com/docs/en/build-with-claude/structured-outputs
func (t *translation) format() error {
	f := t.in.ResponseFormat
	if f == nil {
		return nil
	}
	switch f.Type {
	case "json_object":
		return t.unsupported("response_format", "There is no JSON without a schema: use the type json_schema.")
	case "json_schema":
		if f.JSONSchema == nil || len(f.JSONSchema.Schema) == 0 || string(f.JSONSchema.Schema) == "null" {
			return invalid("response_format.json_schema.schema", "is required for this model.")
		}
		format := append([]byte(`{"type":"json_schema","schema":`), f.JSONSchema.Schema...)
		t.out.OutputConfig = &outputConfig{Format: append(format, '}')}
	}
	return nil
}

// extras translates the members that are not typed.
func (t *translation) extras(typed map[string]bool) error {
	var err error
	t.raw.ForEach(func(key, value gjson.Result) bool {
		if key.Type == gjson.String && !typed[key.Str] && value.Type != gjson.Null {
			err = t.extra(key.Str, value)
		}
		return err == nil
	})
	return err
}

func (t *translation) extra(name string, value gjson.Result) error {
	neutral := false
	switch name {
	case "thinking":
		if !value.IsObject() {
			return invalid(name, "must be an object.")
		}
		t.out.Thinking = rawOf(value)
		return nil
	case "top_k":
		t.out.TopK = rawOf(value)
		return nil
	case "cache_control":
		t.out.CacheControl = rawOf(value)
		return nil
	case "output_config":
		t.outputConfig(value)
		return nil
	case "service_tier":
		switch value.Str {
		case "auto", "standard_only":
			t.out.ServiceTier = value.Str
			return nil
		case "default": // OpenAI's word for the same
			t.out.ServiceTier = "standard_only"
			return nil
		}
	case "safety_identifier":
		if t.out.Metadata == nil && value.Str != "" {
			t.out.Metadata = &metadata{UserID: value.Str}
		}
		return nil
	case "prompt_cache_key", "prompt_cache_retention", "prediction", "conversation_id":
		return nil // about speed and storage, not about the answer
	case "store":
		neutral = value.Type == gjson.False
	case "logit_bias":
		neutral = value.IsObject() && len(value.Map()) == 0
	case "verbosity":
		neutral = value.Str == "medium"
	case "modalities":
		neutral = len(value.Array()) == 1 && value.Get("0").Str == "text"
	}
	if neutral {
		return nil
	}
	return t.unsupported(clip(name), leaveOut)
}

// outputConfig takes in the client's own output_config; response_format goes
// before its format.
func (t *translation) outputConfig(value gjson.Result) {
	if t.out.OutputConfig == nil {
		t.out.OutputConfig = &outputConfig{}
	}
	if t.out.OutputConfig.Format == nil {
		if f := value.Get("format"); f.IsObject() {
			t.out.OutputConfig.Format = json.RawMessage(f.Raw)
		}
	}
	t.out.OutputConfig.Effort = value.Get("effort").Str
}

// clip shortens a name that a client made up.
func clip(name string) string {
	const most = 64
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
