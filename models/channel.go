package models

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"
)

// ChannelType says which language an upstream speaks.
type ChannelType string

// The channel types.
const (
	ChannelOpenAI ChannelType = "openai" // OpenAI's API, or one compatible with it
	ChannelEcho   ChannelType = "echo"   // built in: repeats what it is told
)

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
	BaseURL      string          `bun:"base_url" json:"base_url"` // such as https://api.openai.com/v1; empty for echo
	Models       []string        `bun:"models,type:jsonb" json:"models"`
	ModelMapping StringMap       `bun:"model_mapping,type:jsonb" json:"model_mapping"` // our name -> the upstream's
	Priority     int             `bun:"priority" json:"priority"`                      // higher goes first
	Weight       int             `bun:"weight" json:"weight"`                          // share among channels of one priority
	Enabled      bool            `bun:"enabled" json:"-"`
	Limits       ChannelLimits   `bun:"limits,type:jsonb" json:"limits"`
	Settings     ChannelSettings `bun:"settings,type:jsonb" json:"settings"`
	Sealed       []byte          `bun:"sealed_credential" json:"-"` // encrypted; see package sealed
	KeyHint      *string         `bun:"key_hint" json:"credential"` // ****last4
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

// ChannelLimits cap what one process sends to a channel; nil is no cap.
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
	LastError           *string     `json:"last_error"` // without secrets
}

// CreateChannelInput makes a channel.
type CreateChannelInput struct {
	Name         string           `json:"name"`
	Type         ChannelType      `json:"type"`
	BaseURL      *string          `json:"base_url,omitempty"`   // default for openai: https://api.openai.com/v1
	Credential   *string          `json:"credential,omitempty"` // the upstream's API key; write-only
	Models       []string         `json:"models"`
	ModelMapping StringMap        `json:"model_mapping,omitempty"`
	Priority     *int             `json:"priority,omitempty"` // default 0
	Weight       *int             `json:"weight,omitempty"`   // default 1
	Status       *ChannelStatus   `json:"status,omitempty"`   // default enabled
	Limits       *ChannelLimits   `json:"limits,omitempty"`
	Settings     *ChannelSettings `json:"settings,omitempty"`
}

// UpdateChannelInput changes a channel. Absent fields stay as they are.
type UpdateChannelInput struct {
	Name         graphql.Omittable[*string]          `json:"name,omitzero"`
	BaseURL      graphql.Omittable[*string]          `json:"base_url,omitzero"`
	Credential   graphql.Omittable[*string]          `json:"credential,omitzero"` // null removes it
	Models       graphql.Omittable[[]string]         `json:"models,omitzero"`
	ModelMapping graphql.Omittable[StringMap]        `json:"model_mapping,omitzero"`
	Priority     graphql.Omittable[*int]             `json:"priority,omitzero"`
	Weight       graphql.Omittable[*int]             `json:"weight,omitzero"`
	Status       graphql.Omittable[*ChannelStatus]   `json:"status,omitzero"`
	Limits       graphql.Omittable[*ChannelLimits]   `json:"limits,omitzero"`
	Settings     graphql.Omittable[*ChannelSettings] `json:"settings,omitzero"`
}

// TestChannelInput says what a test asks for.
type TestChannelInput struct {
	Model *string `json:"model,omitempty"` // default: the channel's first
}

// TestChannelResult is the outcome of a minimal real completion.
type TestChannelResult struct {
	Success   bool    `json:"success"`
	LatencyMS int     `json:"latency_ms"`
	Model     string  `json:"model"`
	Error     *string `json:"error"`
}

// CreateChannelPayload answers createChannel.
type CreateChannelPayload struct {
	Payload
	Channel *Channel
}

// UpdateChannelPayload answers updateChannel.
type UpdateChannelPayload struct {
	Payload
	Channel *Channel
}

// DeleteChannelPayload answers deleteChannel.
type DeleteChannelPayload struct {
	Payload
	DeletedChannelID *string
}

// TestChannelPayload answers testChannel.
type TestChannelPayload struct {
	Payload
	Result *TestChannelResult
}

// Apply lays the input over a channel, absent fields untouched, and gives the
// credential if it is to change. The caller validates the channel afterwards.
func (in *UpdateChannelInput) Apply(c *Channel) (credential *string, changed bool, err error) {
	notNull := func(param string, isNull bool) {
		if isNull && err == nil {
			err = Invalid(param, "'%s' must not be null.", param)
		}
	}
	set := func(param string, o graphql.Omittable[*string], to *string) {
		if v, ok := o.ValueOK(); ok {
			if notNull(param, v == nil); v != nil {
				*to = *v
			}
		}
	}
	setInt := func(param string, o graphql.Omittable[*int], to *int) {
		if v, ok := o.ValueOK(); ok {
			if notNull(param, v == nil); v != nil {
				*to = *v
			}
		}
	}
	set("name", in.Name, &c.Name)
	set("base_url", in.BaseURL, &c.BaseURL)
	setInt("priority", in.Priority, &c.Priority)
	setInt("weight", in.Weight, &c.Weight)
	if v, ok := in.Models.ValueOK(); ok {
		c.Models = v
	}
	if v, ok := in.ModelMapping.ValueOK(); ok {
		c.ModelMapping = v
	}
	if v, ok := in.Status.ValueOK(); ok {
		if notNull("status", v == nil); v != nil && err == nil {
			err = c.setStatus(*v)
		}
	}
	if v, ok := in.Limits.ValueOK(); ok {
		c.Limits = ChannelLimits{}
		if v != nil {
			c.Limits = *v
		}
	}
	if v, ok := in.Settings.ValueOK(); ok {
		c.Settings = ChannelSettings{}
		if v != nil {
			c.Settings = *v
		}
	}
	credential, changed = in.Credential.ValueOK()
	return credential, changed, err
}

// Channel is the channel that the input describes, without id and credential.
func (in *CreateChannelInput) Channel() (*Channel, error) {
	c := &Channel{
		Name: in.Name, Type: in.Type, Models: in.Models, ModelMapping: in.ModelMapping,
		Weight: 1, Enabled: true,
	}
	switch {
	case in.BaseURL != nil:
		c.BaseURL = *in.BaseURL
	case in.Type == ChannelOpenAI:
		c.BaseURL = "https://api.openai.com/v1"
	}
	if in.Priority != nil {
		c.Priority = *in.Priority
	}
	if in.Weight != nil {
		c.Weight = *in.Weight
	}
	if in.Limits != nil {
		c.Limits = *in.Limits
	}
	if in.Settings != nil {
		c.Settings = *in.Settings
	}
	if in.Status != nil {
		if err := c.setStatus(*in.Status); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Channel) setStatus(s ChannelStatus) error {
	if s != ChannelEnabled && s != ChannelDisabled {
		return Invalid("status", "'status' must be enabled or disabled; got '%s'.", clip(string(s), 40))
	}
	c.Enabled = s == ChannelEnabled
	return nil
}

// Validate checks a channel as it would be stored.
func (c *Channel) Validate() error {
	if c.Name == "" {
		return Missing("name")
	}
	if err := validName("name", c.Name, 1, 100); err != nil {
		return err
	}
	switch c.Type {
	case "":
		return Missing("type")
	case ChannelOpenAI:
		if err := validBaseURL(c.BaseURL); err != nil {
			return err
		}
	case ChannelEcho:
		if c.BaseURL != "" {
			return Invalid("base_url", "A channel of type echo has no 'base_url'.")
		}
	default:
		return Invalid("type", "'type' must be one of openai, echo; got '%s'.", clip(string(c.Type), 40))
	}
	if len(c.Models) == 0 {
		return Invalid("models", "'models' must name at least one model.")
	}
	if err := validNames("models", c.Models, 1000, maxModelName); err != nil {
		return err
	}
	if len(c.ModelMapping) > 1000 {
		return Invalid("model_mapping", "'model_mapping' must have at most 1000 entries.")
	}
	for from, to := range c.ModelMapping {
		at := "model_mapping." + clip(from, 40)
		if err := validName(at, from, 1, maxModelName); err != nil {
			return err
		}
		if err := validName(at, to, 1, maxModelName); err != nil {
			return err
		}
	}
	if c.Weight < 1 || c.Weight > 1000 {
		return Invalid("weight", "'weight' must be between 1 and 1000; got %d.", c.Weight)
	}
	if c.Priority < -1000 || c.Priority > 1000 {
		return Invalid("priority", "'priority' must be between -1000 and 1000; got %d.", c.Priority)
	}
	for _, l := range []struct {
		param string
		v     *int
	}{{"limits.rpm", c.Limits.RPM}, {"limits.tpm", c.Limits.TPM}, {"limits.concurrency", c.Limits.Concurrency}} {
		if l.v != nil && *l.v < 1 {
			return Invalid(l.param, "'%s' must be at least 1, or null for no limit.", l.param)
		}
	}
	return c.Settings.validate()
}

func (s *ChannelSettings) validate() error {
	if len(s.Headers) > 50 {
		return Invalid("settings.headers", "'settings.headers' must have at most 50 headers.")
	}
	for name, value := range s.Headers {
		if err := validHeader(name, value); err != nil {
			return err
		}
	}
	if s.Organization != nil {
		if err := validName("settings.organization", *s.Organization, 1, 200); err != nil {
			return err
		}
	}
	if s.ProxyURL != nil {
		u, err := url.Parse(*s.ProxyURL)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
			return Invalid("settings.proxy_url", "'settings.proxy_url' must be an http, https or socks5 URL without credentials.")
		}
	}
	for _, t := range []struct {
		param string
		v     *int
	}{
		{"settings.connect_timeout_ms", s.ConnectTimeoutMS},
		{"settings.first_byte_timeout_ms", s.FirstByteTimeoutMS},
		{"settings.idle_timeout_ms", s.IdleTimeoutMS},
	} {
		if t.v != nil && (*t.v < 1 || *t.v > 3_600_000) {
			return Invalid(t.param, "'%s' must be between 1 and 3600000 milliseconds.", t.param)
		}
	}
	return nil
}

// hopHeaders may not be set by hand: they belong to the connection, or carry
// what the product itself puts there.
var hopHeaders = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"authorization": true, "host": true, "content-length": true, "content-type": true, "connection": true,
	"transfer-encoding": true, "te": true, "trailer": true, "upgrade": true, "keep-alive": true,
	"proxy-authorization": true, "proxy-connection": true, "cookie": true, "accept-encoding": true,
}

func validHeader(name, value string) error {
	const at = "settings.headers"
	token := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}
	switch {
	case name == "" || len(name) > 100 || strings.ContainsFunc(name, token):
		return Invalid(at, "'%s' is not a header name.", clip(name, 60))
	case hopHeaders[strings.ToLower(name)]:
		return Invalid(at, "The header '%s' is set by CoAI itself.", name)
	case len(value) > 4096 || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }):
		return Invalid(at+"."+name, "The value of '%s' must have at most 4096 characters and no control characters.", name)
	}
	return nil
}

func validBaseURL(s string) error {
	const rule = "'base_url' must be an http or https URL without credentials, query or fragment, of at most 2048 characters."
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || len(s) > 2048 {
		return Invalid("base_url", rule)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && (a.IsUnspecified() || a.IsMulticast()) {
		return Invalid("base_url", "'base_url' must name a host, not the address %s.", a)
	}
	return nil
}
