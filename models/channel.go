package models

import (
	"time"

	"github.com/uptrace/bun"
)

// ChannelType says which language an upstream speaks.
type ChannelType string

// The channel types.
const (
	ChannelOpenAI    ChannelType = "openai"    // OpenAI's API, or one compatible with it
	ChannelAzure     ChannelType = "azure"     // Azure OpenAI's deployments
	ChannelAnthropic ChannelType = "anthropic" // Anthropic's Messages
	ChannelGemini    ChannelType = "gemini"    // Google's generateContent
	ChannelOllama    ChannelType = "ollama"    // Ollama's own API
	ChannelEcho      ChannelType = "echo"      // built in: repeats what it is told
)

// ChannelTypes are all types there are.
func ChannelTypes() []ChannelType {
	return []ChannelType{ChannelOpenAI, ChannelAzure, ChannelAnthropic, ChannelGemini, ChannelOllama, ChannelEcho}
}

// DefaultBaseURL is where the upstreams of a type are, unless a channel says
// otherwise; empty where every channel must say it.
func (t ChannelType) DefaultBaseURL() string {
	switch t {
	case ChannelOpenAI:
		return "https://api.openai.com/v1"
	case ChannelAnthropic:
		return "https://api.anthropic.com"
	case ChannelGemini:
		return "https://generativelanguage.googleapis.com"
	case ChannelOllama:
		return "http://127.0.0.1:11434"
	case ChannelAzure, ChannelEcho:
	}
	return ""
}

// ChannelStatus is what an admin decided, and, for an enabled channel, whether
// it answers.
type ChannelStatus string

// The channel statuses. Unhealthy is never stored.
const (
	ChannelEnabled   ChannelStatus = "enabled"
	ChannelDisabled  ChannelStatus = "disabled"
	ChannelUnhealthy ChannelStatus = "unhealthy"
)

// Channel is an upstream that an admin manages.
type Channel struct {
	bun.BaseModel `bun:"table:channels,alias:c" json:"-"`

	ID           string          `bun:"id,pk" json:"id"`
	Name         string          `bun:"name" json:"name"`
	Type         ChannelType     `bun:"type" json:"type"`
	BaseURL      string          `bun:"base_url" json:"base_url"` // see [ChannelType.DefaultBaseURL]; empty for echo
	Models       []string        `bun:"models,type:jsonb" json:"models"`
	ModelMapping StringMap       `bun:"model_mapping,type:jsonb" json:"model_mapping"` // our name -> the upstream's
	Priority     int             `bun:"priority" json:"priority"`                      // higher goes first
	Weight       int             `bun:"weight" json:"weight"`                          // share among channels of one priority
	Enabled      bool            `bun:"enabled" json:"-"`
	Tags         []string        `bun:"tags,type:jsonb" json:"tags"`          // what keys may be confined to
	Groups       []string        `bun:"user_groups,type:jsonb" json:"groups"` // of users whom alone it serves; empty: everybody
	Limits       ChannelLimits   `bun:"limits,type:jsonb" json:"limits"`
	Settings     ChannelSettings `bun:"settings,type:jsonb" json:"settings"`
	Sealed       []byte          `bun:"sealed_credential" json:"-"`              // its credentials, encrypted together; see package sealed
	KeyHint      *string         `bun:"key_hint" json:"credential"`              // ****last4 of the first
	KeyHints     []string        `bun:"key_hints,type:jsonb" json:"credentials"` // of all
	CreatedAt    time.Time       `bun:"created_at" json:"-"`
	UpdatedAt    time.Time       `bun:"updated_at" json:"-"`

	Health ChannelHealth `bun:"-" json:"health"` // as this process sees it
}

// IsNode makes Channel a Relay node.
func (Channel) IsNode() {}

// Status is what an admin decided, and whether an enabled channel answers.
func (c *Channel) Status() ChannelStatus {
	switch {
	case !c.Enabled:
		return ChannelDisabled
	case c.Health.State == HealthUnhealthy:
		return ChannelUnhealthy
	}
	return ChannelEnabled
}

// ChannelLimits cap what all processes together send to a channel; nil is no cap.
// Without a Redis server, and while it is away, each process counts alone.
type ChannelLimits struct {
	RPM         *int `json:"rpm"`         // requests in a clock minute
	TPM         *int `json:"tpm"`         // tokens in a clock minute, counted when an answer ends
	Concurrency *int `json:"concurrency"` // requests at a time
}

// ChannelSettings are how a channel is reached.
type ChannelSettings struct {
	Headers      StringMap `json:"headers,omitempty"`      // sent with each request
	Organization *string   `json:"organization,omitempty"` // OpenAI-Organization
	ProxyURL     *string   `json:"proxy_url,omitempty"`    // http, https or socks5, without credentials
	// ConnectTimeoutMS is for dialling and TLS (default 10 s), FirstByteTimeoutMS for the
	// first byte of the answer (default 5 min), IdleTimeoutMS for silence inside a stream (default 2 min).
	ConnectTimeoutMS   *int `json:"connect_timeout_ms,omitempty"`
	FirstByteTimeoutMS *int `json:"first_byte_timeout_ms,omitempty"`
	IdleTimeoutMS      *int `json:"idle_timeout_ms,omitempty"`
	// APIVersion is Azure's api-version (default 2024-10-21) or Anthropic's anthropic-version.
	APIVersion *string `json:"api_version,omitempty"`
	// AuthorityURL is where Azure's Entra ID gives tokens (default https://login.microsoftonline.com).
	AuthorityURL *string `json:"authority_url,omitempty"`
	// Quirks are how an OpenAI-compatible upstream differs from OpenAI.
	Quirks []ChannelQuirk `json:"quirks,omitempty"`
	// DropUnsupported leaves parameters out that the upstream's language has no word
	// for; without it they are refused with a 400 that names them.
	DropUnsupported bool `json:"drop_unsupported,omitempty"`
	// CostMultiplier is what the channel costs by comparison, for the strategy
	// lowest_cost: 0.5 is half of the price; default 1.
	CostMultiplier *Nanos `json:"cost_multiplier,omitempty"`
	// ProbeIntervalSeconds is how often a job asks it for a minimal completion;
	// absent: never.
	ProbeIntervalSeconds *int `json:"probe_interval_seconds,omitempty"`
}

// HealthState is whether a channel answers.
type HealthState string

// The health states.
const (
	HealthUnknown   HealthState = "unknown"   // nothing was asked of it yet
	HealthHealthy   HealthState = "healthy"   // it answers
	HealthUnhealthy HealthState = "unhealthy" // it failed repeatedly and rests before the next try
)

// ChannelHealth is what a process has seen of a channel.
type ChannelHealth struct {
	State               HealthState `json:"state"`
	LastCheckedAt       *time.Time  `json:"last_checked_at"`
	LatencyMS           *int        `json:"latency_ms"`   // moving average to the first byte
	SuccessRate         *float64    `json:"success_rate"` // of the last 100 requests, 0 to 1
	ConsecutiveFailures int         `json:"consecutive_failures"`
	LastError           *string     `json:"last_error"`  // without secrets
	RestsUntil          *time.Time  `json:"rests_until"` // of an unhealthy one: when a request tries it again
}
