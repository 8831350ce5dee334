package models

import "slices"

// ChannelQuirk is how an OpenAI-compatible upstream differs from OpenAI.
type ChannelQuirk string

// The quirks.
const (
	// QuirkNoStreamOptions: it refuses stream_options, so streams tell no usage and it
	// is estimated. A refusal is noticed without the quirk too, at the cost of a request.
	QuirkNoStreamOptions ChannelQuirk = "no_stream_options"
	// QuirkMaxTokens: it knows max_tokens alone; max_completion_tokens is sent as that.
	QuirkMaxTokens ChannelQuirk = "max_tokens"
	// QuirkMaxCompletionTokens: it knows max_completion_tokens alone; max_tokens is sent as that.
	QuirkMaxCompletionTokens ChannelQuirk = "max_completion_tokens"
	// QuirkNoDeveloperRole: it does not know the role developer, which is sent as system.
	QuirkNoDeveloperRole ChannelQuirk = "no_developer_role"
	// QuirkResponses: it serves /responses. OpenAI itself and Azure's /openai/v1 do without
	// the quirk.
	QuirkResponses ChannelQuirk = "responses"
)

// ChannelQuirks are all quirks there are.
func ChannelQuirks() []ChannelQuirk {
	return []ChannelQuirk{
		QuirkNoStreamOptions, QuirkMaxTokens, QuirkMaxCompletionTokens, QuirkNoDeveloperRole, QuirkResponses,
	}
}

// Has says whether the channel's upstream has the quirk.
func (s *ChannelSettings) Has(q ChannelQuirk) bool { return slices.Contains(s.Quirks, q) }

func (s *ChannelSettings) validateQuirks() error {
	for i, q := range s.Quirks {
		at := indexed("settings.quirks", i)
		switch {
		case !slices.Contains(ChannelQuirks(), q):
			return Invalid(at, "'%s' must be one of %s; got '%s'.", at, oneOf(ChannelQuirks()), clip(string(q), 40))
		case slices.Contains(s.Quirks[:i], q):
			return Invalid(at, "'%s' repeats '%s'.", at, q)
		}
	}
	if s.Has(QuirkMaxTokens) && s.Has(QuirkMaxCompletionTokens) {
		return Invalid("settings.quirks", "'settings.quirks' must have one of max_tokens and max_completion_tokens, not both.")
	}
	return nil
}
