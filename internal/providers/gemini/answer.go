package gemini

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// generateResponse is a whole answer, or one event of a streamed one.
// https://ai.google.dev/api/generate-content#generatecontentresponse
type generateResponse struct {
	Candidates     []candidate     `json:"candidates"`
	PromptFeedback *promptFeedback `json:"promptFeedback"`
	UsageMetadata  *usageMetadata  `json:"usageMetadata"`
	ModelVersion   string          `json:"modelVersion"`
	ResponseID     string          `json:"responseId"`
	Error          json.RawMessage `json:"error"`
}

type promptFeedback struct {
	BlockReason string `json:"blockReason"`
}

type candidate struct {
	Index          int             `json:"index"`
	Content        content         `json:"content"`
	FinishReason   string          `json:"finishReason"`
	FinishMessage  string          `json:"finishMessage"`
	LogprobsResult *logprobsResult `json:"logprobsResult"`
}

// usageMetadata are running totals. The prompt's includes what was cached; the
// candidates' excludes the thoughts.
// https://ai.google.dev/api/generate-content#UsageMetadata
type usageMetadata struct {
	PromptTokenCount        int64           `json:"promptTokenCount"`
	CachedContentTokenCount int64           `json:"cachedContentTokenCount"`
	CandidatesTokenCount    int64           `json:"candidatesTokenCount"`
	ToolUsePromptTokenCount int64           `json:"toolUsePromptTokenCount"`
	ThoughtsTokenCount      int64           `json:"thoughtsTokenCount"`
	PromptTokensDetails     []modalityCount `json:"promptTokensDetails"`
	CandidatesTokensDetails []modalityCount `json:"candidatesTokensDetails"`
}

type modalityCount struct {
	Modality   string `json:"modality"`
	TokenCount int64  `json:"tokenCount"`
}

func audioTokens(list []modalityCount) (n int64) {
	for _, m := range list {
		if m.Modality == "AUDIO" {
			n += m.TokenCount
		}
	}
	return n
}

// usage is in OpenAI's terms: prompt tokens with the cached ones, completion
// tokens with the thoughts.
func (u *usageMetadata) usage() *models.Usage {
	if u == nil {
		return nil
	}
	prompt := u.PromptTokenCount + u.ToolUsePromptTokenCount
	completion := u.CandidatesTokenCount + u.ThoughtsTokenCount
	return &models.Usage{
		PromptTokens: prompt, CompletionTokens: completion, TotalTokens: prompt + completion,
		PromptTokensDetails: &models.PromptTokensDetails{
			CachedTokens: u.CachedContentTokenCount, AudioTokens: audioTokens(u.PromptTokensDetails),
		},
		CompletionTokensDetails: &models.CompletionTokensDetails{
			ReasoningTokens: u.ThoughtsTokenCount, AudioTokens: audioTokens(u.CandidatesTokensDetails),
		},
	}
}

// decode reads a whole answer or an event, and finds the failures told in it.
func (p *Provider) decode(model names, raw []byte) (*generateResponse, error) {
	r := new(generateResponse)
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' {
		return nil, upstream.Malformed(0, "The upstream's answer is not a JSON object.", nil)
	}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, upstream.Malformed(0, "The upstream's answer is not Gemini's, or cut short.", err)
	}
	if len(r.Error) > 0 && string(r.Error) != "null" {
		return nil, p.answeredError(model, raw)
	}
	if f := r.PromptFeedback; f != nil && f.BlockReason != "" && len(r.Candidates) == 0 {
		return nil, &providers.Error{
			Class: providers.Rejected, Code: models.CodeContentFilter, Param: "messages",
			Message: "The upstream's content filter blocked the prompt (" + p.client.Scrub(f.BlockReason) + ").",
		}
	}
	for i := range r.Candidates {
		c := &r.Candidates[i]
		if c.Index < 0 || c.Index >= models.MaxChoices {
			return nil, upstream.Malformed(0, "The upstream's answer has a candidate out of range.", nil)
		}
		if err := p.failedCandidate(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// failedCandidate finds the ends that are no answer: what the model wrote could
// not be read as a call. One client's odd tools are enough for that, so it is not
// held against the channel.
func (p *Provider) failedCandidate(c *candidate) error {
	switch c.FinishReason {
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE":
	case "MISSING_THOUGHT_SIGNATURE":
		return invalid("messages", "A tool call in 'messages' has lost its extra_content.google.thought_signature.")
	default:
		return nil
	}
	return &providers.Error{
		Class: providers.Unusable, Message: "The model made a function call that cannot be read.",
		Cause: errors.New(p.client.Scrub(c.FinishReason + " " + c.FinishMessage)),
	}
}

// finishReason translates the reason; with calls it is never stop, or agents
// would take the answer for their last.
// https://ai.google.dev/api/generate-content#FinishReason
func finishReason(reason string, calls int, legacy bool) models.FinishReason {
	switch reason {
	case "MAX_TOKENS":
		return models.FinishLength
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return models.FinishContentFilter
	}
	switch {
	case calls > 0 && legacy:
		return models.FinishFunctionCall
	case calls > 0:
		return models.FinishToolCalls
	}
	return models.FinishStop
}

func completionID(r *generateResponse) string {
	if id := r.ResponseID; id != "" && len(id) <= 100 {
		return models.CompletionPrefix + id
	}
	return models.NewID(models.CompletionPrefix)
}

// modelName is the upstream's name of the model that answered.
func modelName(r *generateResponse, asked string) string {
	if r.ModelVersion != "" {
		asked = r.ModelVersion
	}
	return strings.TrimPrefix(asked, "models/")
}

// logprobsResult has one entry for each token of the text.
type logprobsResult struct {
	TopCandidates []struct {
		Candidates []tokenLogprob `json:"candidates"`
	} `json:"topCandidates"`
	ChosenCandidates []tokenLogprob `json:"chosenCandidates"`
}

type tokenLogprob struct {
	Token          string  `json:"token"`
	LogProbability float64 `json:"logProbability"`
}

type logprobs struct {
	Content []logprob       `json:"content"`
	Refusal json.RawMessage `json:"refusal"` // null
}

type logprob struct {
	Token   string     `json:"token"`
	Logprob float64    `json:"logprob"`
	Bytes   []int      `json:"bytes"`
	Top     *[]logprob `json:"top_logprobs,omitempty"` // absent inside itself
}

func (t tokenLogprob) logprob() logprob {
	l := logprob{Token: t.Token, Logprob: t.LogProbability, Bytes: make([]int, len(t.Token))}
	for i := range len(t.Token) {
		l.Bytes[i] = int(t.Token[i])
	}
	return l
}

// logprobs are in OpenAI's terms; nil for none.
func (r *logprobsResult) logprobs() *logprobs {
	if r == nil || len(r.ChosenCandidates) == 0 {
		return nil
	}
	out := &logprobs{Content: make([]logprob, len(r.ChosenCandidates)), Refusal: json.RawMessage("null")}
	for i, chosen := range r.ChosenCandidates {
		top := []logprob{}
		if i < len(r.TopCandidates) {
			for _, c := range r.TopCandidates[i].Candidates {
				top = append(top, c.logprob())
			}
		}
		out.Content[i] = chosen.logprob()
		out.Content[i].Top = &top
	}
	return out
}

// callID is a call's id: the upstream's own unless it repeats one.
func callID(own string, used map[string]bool) string {
	if own == "" || used[own] || len(own) > 200 {
		own = models.NewID("call_")
	}
	used[own] = true
	return own
}

func inlineURL(b *blob) string { return "data:" + b.MimeType + ";base64," + b.Data }

func ptr[T any](v T) *T { return &v }
