package models

import "time"

// UsageAudit compares, for one channel, model and UTC day, what the upstream
// reported with our own count of the same requests.
type UsageAudit struct {
	Day                       time.Time `bun:"-" json:"day"`
	ChannelID                 string    `bun:"channel_id" json:"channel_id"`
	Model                     string    `bun:"model" json:"model"`
	Requests                  int64     `bun:"requests" json:"requests"`
	Errors                    int64     `bun:"errors" json:"errors"`
	Estimated                 int64     `bun:"estimated" json:"estimated"`
	Recovered                 int64     `bun:"recovered" json:"recovered"`
	ReportedPromptTokens      int64     `bun:"reported_prompt_tokens" json:"reported_prompt_tokens"`
	ReportedCompletionTokens  int64     `bun:"reported_completion_tokens" json:"reported_completion_tokens"`
	EstimatedPromptTokens     int64     `bun:"estimated_prompt_tokens" json:"estimated_prompt_tokens"`
	EstimatedCompletionTokens int64     `bun:"estimated_completion_tokens" json:"estimated_completion_tokens"`
	Nanos                     Nanos     `bun:"cost" json:"-"`
}

// DeltaTokens is what the upstream reported above our count.
func (a *UsageAudit) DeltaTokens() int64 {
	return a.ReportedPromptTokens + a.ReportedCompletionTokens - a.EstimatedPromptTokens - a.EstimatedCompletionTokens
}

// DeltaPercent is [UsageAudit.DeltaTokens] in percent of our count; nil without
// one.
func (a *UsageAudit) DeltaPercent() *float64 {
	ours := a.EstimatedPromptTokens + a.EstimatedCompletionTokens
	if ours == 0 {
		return nil
	}
	p := 100 * float64(a.DeltaTokens()) / float64(ours)
	return &p
}

// Cost is what the requests cost.
func (a *UsageAudit) Cost() Money { return USD(a.Nanos) }
