package models

import "time"

// UsageReport is usage over a range of time, in buckets.
type UsageReport struct {
	Start, End  time.Time // of the whole range, in its time zone
	Timezone    string
	Granularity UsageGranularity
	GroupBy     []UsageDimension
	Buckets     []*UsageBucket // of this page; empty ones are there too
	Totals      *UsageResult   // of the whole range
	Groups      []*UsageResult // of the whole range, the costliest first; empty when nothing is grouped
	Previous    *UsagePeriod   // nil unless it was asked for
	Limit       int
	HasMore     bool
	NextPage    *string
}

// UsagePeriod is the range that another is compared with.
type UsagePeriod struct {
	Start, End time.Time
	Totals     *UsageResult
	Groups     []*UsageResult
}

// UsageBucket is usage from Start until before End.
type UsageBucket struct {
	Start, End time.Time
	Results    []*UsageResult // one for each group that was used; empty when nothing was
	Previous   *UsageBucket   // the bucket in the same place of the previous period; nil unless asked for
}

// UsageResult sums up the attempts at upstreams of one group. What it is not
// grouped by is nil.
type UsageResult struct {
	Model     *string `json:"model"`
	UserID    *string `json:"user_id"`
	ChannelID *string `json:"channel_id"`
	APIKeyID  *string `json:"api_key_id"`

	NumModelRequests  int64 `json:"num_model_requests"`
	NumErrors         int64 `json:"num_errors"`
	InputTokens       int64 `json:"input_tokens"`
	OutputTokens      int64 `json:"output_tokens"`
	InputCachedTokens int64 `json:"input_cached_tokens"`
	ReasoningTokens   int64 `json:"reasoning_tokens"`
	Nanos             Nanos `json:"-"`

	LatencyMS UsageLatency `json:"latency_ms"`
	TTFTMS    UsageTTFT    `json:"ttft_ms"`
}

// TotalTokens are those of prompts and answers together.
func (r *UsageResult) TotalTokens() int64 { return r.InputTokens + r.OutputTokens }

// Cost is what the requests cost.
func (r *UsageResult) Cost() Money { return USD(r.Nanos) }

// UsageLatency is how long whole requests took, in milliseconds; nil without a
// request. Percentiles are within 1 %.
type UsageLatency struct {
	Avg *float64 `json:"avg"`
	P50 *float64 `json:"p50"`
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
}

// UsageTTFT is how long the first output took, in milliseconds, for requests that
// had some; nil without one. Percentiles are within 1 %.
type UsageTTFT struct {
	P50 *float64 `json:"p50"`
	P95 *float64 `json:"p95"`
}
