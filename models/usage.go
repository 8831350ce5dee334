package models

import (
	"time"

	"github.com/uptrace/bun"
)

// Usage counts the tokens of a completion and says what they cost: OpenAI's
// object with OpenRouter's cost fields.
type Usage struct {
	PromptTokens            int64                    `json:"prompt_tokens"`
	CompletionTokens        int64                    `json:"completion_tokens"`
	TotalTokens             int64                    `json:"total_tokens"`
	PromptTokensDetails     *PromptTokensDetails     `json:"prompt_tokens_details,omitempty"`
	CompletionTokensDetails *CompletionTokensDetails `json:"completion_tokens_details,omitempty"`
	Cost                    *Nanos                   `json:"cost,omitempty"` // US dollars in JSON
	CostDetails             *CostDetails             `json:"cost_details,omitempty"`
	// Estimated says that the upstream gave no numbers and a local tokenizer counted.
	Estimated bool `json:"estimated,omitempty"`

	// What endpoints beside chat are billed by.
	Images     int64 `json:"-"` // made
	Characters int64 `json:"-"` // of text made into speech
	AudioMS    int64 `json:"-"` // milliseconds of audio transcribed
}

// PromptTokensDetails break the prompt down. All are part of its count.
type PromptTokensDetails struct {
	CachedTokens     int64 `json:"cached_tokens"`
	AudioTokens      int64 `json:"audio_tokens"`
	CacheWriteTokens int64 `json:"cache_write_tokens,omitempty"`
	ImageTokens      int64 `json:"image_tokens,omitempty"`
}

// CompletionTokensDetails break the completion down. All are part of its count.
type CompletionTokensDetails struct {
	ReasoningTokens          int64 `json:"reasoning_tokens"`
	AudioTokens              int64 `json:"audio_tokens"`
	AcceptedPredictionTokens int64 `json:"accepted_prediction_tokens"`
	RejectedPredictionTokens int64 `json:"rejected_prediction_tokens"`
}

// CostDetails break the cost down, in US dollars.
type CostDetails struct {
	PromptCost     Nanos `json:"upstream_inference_prompt_cost"`
	CompletionCost Nanos `json:"upstream_inference_completions_cost"`
}

// CachedTokens are the prompt tokens that the upstream read from its cache.
func (u *Usage) CachedTokens() int64 {
	if u.PromptTokensDetails == nil {
		return 0
	}
	return u.PromptTokensDetails.CachedTokens
}

// ReasoningTokens are the completion tokens that the model spent on thinking.
func (u *Usage) ReasoningTokens() int64 {
	if u.CompletionTokensDetails == nil {
		return 0
	}
	return u.CompletionTokensDetails.ReasoningTokens
}

// Money is the cost as GraphQL shows it; nil when the model has no price.
func (u *Usage) Money() *Money {
	if u.Cost == nil {
		return nil
	}
	m := USD(*u.Cost)
	return &m
}

// UsageStatus is the state of a usage record.
type UsageStatus string

// The usage states. An attempt begins pending; the other two are final.
const (
	UsagePending   UsageStatus = "pending"   // the upstream is at work, or the process died
	UsageSettled   UsageStatus = "settled"   // the outcome is known
	UsageRecovered UsageStatus = "recovered" // the process died; a job closed the record with an estimate
)

// Operation is what was asked of an upstream, in OpenTelemetry's words for
// generative AI where it has one.
type Operation string

// The operations.
const (
	OperationChat           Operation = "chat" // also /v1/responses and /v1/messages translated to it
	OperationTextCompletion Operation = "text_completion"
	OperationEmbeddings     Operation = "embeddings"
	OperationResponses      Operation = "responses" // passed through to an upstream that has them
	OperationMessages       Operation = "messages"  // passed through to an upstream that has them
	OperationImage          Operation = "image_generation"
	OperationSpeech         Operation = "speech"
	OperationTranscription  Operation = "transcription"
	OperationModeration     Operation = "moderation"
)

// UsageRecord accounts for one attempt at an upstream. While the upstream works
// it is a row of usage_holds; the row of usage_records is final and is never
// changed.
type UsageRecord struct {
	bun.BaseModel `bun:"table:usage_records,alias:r"`

	ID               string      `bun:"id,pk"` // req_…; one for each attempt
	RequestID        string      `bun:"request_id"`
	UserID           string      `bun:"user_id"`
	APIKeyID         string      `bun:"api_key_id"`
	ChannelID        string      `bun:"channel_id"`
	Model            string      `bun:"model"`          // as asked for, aliases resolved
	UpstreamModel    string      `bun:"upstream_model"` // as sent to the channel
	Operation        Operation   `bun:"operation"`
	Stream           bool        `bun:"stream"`
	Status           UsageStatus `bun:"status"`
	ErrorCode        string      `bun:"error_code"` // empty: success; client_closed_request: the client left
	PromptTokens     int64       `bun:"prompt_tokens"`
	CompletionTokens int64       `bun:"completion_tokens"`
	CachedTokens     int64       `bun:"cached_tokens"`
	ReasoningTokens  int64       `bun:"reasoning_tokens"`
	Estimated        bool        `bun:"estimated"`
	Cost             Nanos       `bun:"cost"`
	LatencyMS        int64       `bun:"latency_ms"`
	TTFTMS           int64       `bun:"ttft_ms"` // time to first token; 0 when nothing came
	CreatedAt        time.Time   `bun:"created_at"`
	SettledAt        *time.Time  `bun:"settled_at"`

	// Our own count of the same attempt, beside what the upstream reported: a
	// quarter of the bytes. It is for reconciliation, and costs nothing to make.
	EstimatedPromptTokens     int64 `bun:"estimated_prompt_tokens"`
	EstimatedCompletionTokens int64 `bun:"estimated_completion_tokens"`

	// Metered says that the user or the key has a balance or a budget, and Held is
	// what the attempt may cost at most, which Begin sets aside there.
	Metered bool  `bun:"-"`
	Held    Nanos `bun:"-"`
}
