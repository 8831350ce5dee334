package chat

import (
	"bytes"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// relayedWhole reads what a whole answer has used.
func (r *reading) relayedWhole(raw []byte, e providers.Endpoint) {
	switch e {
	case providers.Completions:
		r.whole(raw)
		return
	case providers.Moderations:
		return // free, whatever it says
	case providers.Images:
		r.images = gjson.GetBytes(raw, "data.#").Int()
	case providers.Transcriptions:
		r.produced.WriteString(gjson.GetBytes(raw, "text").Str)
		r.takeSeconds(gjson.GetBytes(raw, "duration")) // of verbose_json
	case providers.Embeddings, providers.Responses, providers.Speech, providers.Messages:
	}
	r.takeRelayedUsage(gjson.GetBytes(raw, "usage"))
}

// relayedEvent reads an event. hold says that it may end the answer, last that
// it does.
func (r *reading) relayedEvent(raw []byte) (hold, last bool) {
	root := gjson.ParseBytes(raw)
	kind := root.Get("type").Str
	if bytes.Contains(raw, []byte(`"usage"`)) {
		for _, path := range []string{"usage", "response.usage", "message.usage"} {
			r.takeRelayedUsage(root.Get(path))
		}
	}
	switch kind {
	case "response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta",
		"response.reasoning_summary_text.delta", "transcript.text.delta":
		r.produced.WriteString(root.Get("delta").Str)
	case "content_block_delta":
		for _, field := range []string{"text", "partial_json", "thinking"} {
			r.produced.WriteString(root.Get("delta." + field).Str)
		}
	case "image_generation.completed":
		r.images++
		return true, false // one for each image
	case "message_delta":
		return true, false
	case "response.completed", "response.incomplete", "message_stop",
		"speech.audio.done", "transcript.text.done":
		return true, true
	}
	return false, false
}

// takeRelayedUsage keeps the upstream's numbers, in the words of any endpoint:
// prompt and completion, or input and output tokens; Anthropic's cached tokens,
// which its input does not include; or seconds of audio. Of numbers that come in
// pieces the last told counts.
func (r *reading) takeRelayedUsage(u gjson.Result) {
	if !u.IsObject() {
		return
	}
	if u.Get("type").Str == "duration" {
		r.takeSeconds(u.Get("seconds"))
		return
	}
	if u.Get("prompt_tokens").Exists() {
		r.takeUsage(u)
		return
	}
	in, out := u.Get("input_tokens"), u.Get("output_tokens")
	if in.Int() < 0 || out.Int() < 0 || in.Int()+out.Int() == 0 {
		return
	}
	next := models.Usage{}
	if r.usage != nil {
		next = *r.usage
	}
	read, written := max(u.Get("cache_read_input_tokens").Int(), 0), max(u.Get("cache_creation_input_tokens").Int(), 0)
	if in.Int()+read+written > 0 {
		next.PromptTokens = in.Int() + read + written
		next.PromptTokensDetails = &models.PromptTokensDetails{
			CachedTokens:     max(u.Get("input_tokens_details.cached_tokens").Int(), 0) + read,
			AudioTokens:      max(u.Get("input_tokens_details.audio_tokens").Int(), 0),
			CacheWriteTokens: written,
		}
	}
	next.CompletionTokens = out.Int()
	next.CompletionTokensDetails = &models.CompletionTokensDetails{
		ReasoningTokens: max(u.Get("output_tokens_details.reasoning_tokens").Int(), u.Get("output_tokens_details.thinking_tokens").Int(), 0),
	}
	next.TotalTokens = next.PromptTokens + next.CompletionTokens
	r.usage, r.rawUsage, r.asTold = &next, u.Raw, false
}

// takeSeconds keeps the length of audio. An upstream that tells it charges for
// it, not for tokens.
func (r *reading) takeSeconds(v gjson.Result) {
	const day = 24 * 60 * 60
	if s := v.Float(); v.Type == gjson.Number && s > 0 && s < day {
		r.audioMS = int64(s*1000 + 0.5)
		if r.usage == nil {
			r.usage = &models.Usage{}
		}
	}
}

// priced writes the cost into the usage of a whole answer, and the usage itself
// where the endpoint's answers must have one.
func (r *reading) priced(raw []byte, e providers.Endpoint) ([]byte, error) {
	var err error
	switch e {
	case providers.Completions:
		return r.withUsage(raw)
	case providers.Embeddings:
		if raw, err = r.withUsage(raw); err == nil {
			raw, err = sjson.DeleteBytes(raw, "usage.completion_tokens")
		}
	case providers.Responses, providers.Images, providers.Speech, providers.Transcriptions, providers.Messages, providers.Moderations:
		// Prices are ours: what an upstream says of them is its own business.
		for _, theirs := range []string{"usage.cost", "usage.cost_details"} {
			if err == nil && gjson.GetBytes(raw, theirs).Exists() {
				raw, err = sjson.DeleteBytes(raw, theirs)
			}
		}
		if err == nil && r.usage.Cost != nil && gjson.GetBytes(raw, "usage").IsObject() {
			raw, err = sjson.SetBytes(raw, "usage.cost", r.usage.Cost)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write usage: %w", err)
	}
	return raw, nil
}
