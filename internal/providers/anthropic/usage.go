package anthropic

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// counts are an answer's tokens as Anthropic counts them.
type counts struct {
	input, cacheRead, cacheWrite, output, thinking int64
	final                                          bool // the output has been counted to its end
}

// take reads a usage object. Streams tell running totals, and some servers send
// a zero for what they told before.
func (c *counts) take(u gjson.Result) {
	for _, f := range []struct {
		path string
		to   *int64
	}{
		{"input_tokens", &c.input}, {"cache_read_input_tokens", &c.cacheRead}, {"cache_creation_input_tokens", &c.cacheWrite},
		{"output_tokens", &c.output}, {"output_tokens_details.thinking_tokens", &c.thinking},
	} {
		*f.to = max(*f.to, u.Get(f.path).Int())
	}
}

// usage is in OpenAI's terms, where the prompt's tokens include those that were
// read from and written to the cache; nil when the upstream has not told.
// https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
func (c *counts) usage() *models.Usage {
	const most = 1 << 50 // an upstream may say anything
	prompt := min(c.input, most) + min(c.cacheRead, most) + min(c.cacheWrite, most)
	output := min(c.output, most)
	if !c.final || prompt == 0 && output == 0 {
		return nil
	}
	return &models.Usage{
		PromptTokens: prompt, CompletionTokens: output, TotalTokens: prompt + output,
		PromptTokensDetails:     &models.PromptTokensDetails{CachedTokens: min(c.cacheRead, most), CacheWriteTokens: min(c.cacheWrite, most)},
		CompletionTokensDetails: &models.CompletionTokensDetails{ReasoningTokens: min(c.thinking, output)},
	}
}

// finishReason is why an answer ended, in OpenAI's words. With calls it is
// never stop: agents would take the answer for their last.
// https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
func finishReason(stop string, calls, legacy bool) models.FinishReason {
	switch stop {
	case "max_tokens", "model_context_window_exceeded":
		return models.FinishLength
	case "refusal":
		return models.FinishContentFilter
	}
	switch {
	case calls && legacy:
		return models.FinishFunctionCall
	case calls:
		return models.FinishToolCalls
	}
	return models.FinishStop
}

// completionID makes OpenAI's id of a message's.
func completionID(message string) string {
	const prefix = "chatcmpl-"
	if id := strings.TrimPrefix(message, "msg_"); id != "" {
		return prefix + id
	}
	return models.NewID(prefix)
}
