package models

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"
)

// Scope is a permission that an API key carries.
type Scope string

// The scopes.
const (
	ScopeChat          Scope = "chat"
	ScopeModelsRead    Scope = "models:read"
	ScopeFiles         Scope = "files"
	ScopeConversations Scope = "conversations"
	ScopeAnalyticsRead Scope = "analytics:read"
	ScopeWebhooks      Scope = "webhooks"
	ScopeKeys          Scope = "keys"
	ScopeProfile       Scope = "profile"
	ScopeAdmin         Scope = "admin"
)

// DefaultScopes are those of a new key that names none: all but [ScopeAdmin].
func DefaultScopes() []Scope {
	return []Scope{
		ScopeChat, ScopeModelsRead, ScopeFiles, ScopeConversations,
		ScopeAnalyticsRead, ScopeWebhooks, ScopeKeys, ScopeProfile,
	}
}

// AllScopes are all scopes there are.
func AllScopes() []Scope { return append(DefaultScopes(), ScopeAdmin) }

// DefaultRotationGrace is how long a rotated key's old secret stays valid when
// the caller does not say.
const DefaultRotationGrace = 24 * time.Hour

const maxRotationGrace = 30 * 24 * time.Hour

// APIKey is a credential of a user. Its secret is shown once; only a SHA-256
// of it is kept.
type APIKey struct {
	bun.BaseModel `bun:"table:api_keys,alias:k" json:"-"`

	ID            string     `bun:"id,pk" json:"id"`
	UserID        string     `bun:"user_id" json:"user_id"`
	Name          string     `bun:"name" json:"name"`
	Display       string     `bun:"display" json:"display"` // prefix and last four of the secret: sk-coai-…AbC1
	Hash          []byte     `bun:"hash" json:"-"`
	Scopes        []Scope    `bun:"scopes,type:jsonb" json:"scopes"`
	AllowedModels []string   `bun:"allowed_models,type:jsonb" json:"allowed_models"`
	AllowedCIDRs  []string   `bun:"allowed_cidrs,type:jsonb" json:"allowed_cidrs"`
	ChannelTags   []string   `bun:"channel_tags,type:jsonb" json:"channel_tags"`
	Limits        KeyLimits  `bun:"limits,type:jsonb" json:"limits"`
	ExpiresAt     *time.Time `bun:"expires_at" json:"-"`
	RevokedAt     *time.Time `bun:"revoked_at" json:"-"`
	LastUsedAt    *time.Time `bun:"last_used_at" json:"-"` // exact to a minute
	CreatedAt     time.Time  `bun:"created_at" json:"-"`

	CacheTTLSeconds int          `bun:"cache_ttl" json:"cache_ttl_seconds"` // of the response cache; 0: none
	OnDisconnect    OnDisconnect `bun:"on_disconnect" json:"on_disconnect"`

	// After a rotation the old secret stays valid until PreviousExpiresAt.
	PreviousHash      []byte     `bun:"previous_hash" json:"-"`
	PreviousExpiresAt *time.Time `bun:"previous_expires_at" json:"-"`

	// Batch has the keys of the page that this one was listed in; nil for one that
	// was found alone.
	Batch *APIKeyBatch `bun:"-" json:"-"`
}

// IsNode makes APIKey a Relay node.
func (APIKey) IsNode() {}

// CreateAPIKeyInput makes a key for the viewer.
type CreateAPIKeyInput struct {
	Name          string     `json:"name"`
	Scopes        []Scope    `json:"scopes,omitempty"`         // default: [DefaultScopes] that the viewer's own key carries
	AllowedModels []string   `json:"allowed_models,omitempty"` // empty: all
	AllowedCIDRs  []string   `json:"allowed_cidrs,omitempty"`  // empty: from anywhere; a single address counts as a network
	ChannelTags   []string   `json:"channel_tags,omitempty"`   // only channels with one of these tags answer it; empty: all
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	// CacheTTLSeconds is how long answers are kept for the same request of the account, at most a day; 0: not at all.
	CacheTTLSeconds *int          `json:"cache_ttl_seconds,omitempty"`
	Budgets         *BudgetsInput `json:"budgets,omitempty"`
	Limits          *KeyLimits    `json:"limits,omitempty"`
	OnDisconnect    *OnDisconnect `json:"on_disconnect,omitempty"` // default [OnDisconnectCancel]
}

// Validate checks the input at the time now, and makes CIDRs canonical.
func (in *CreateAPIKeyInput) Validate(now time.Time) error {
	if in.Name == "" {
		return Missing("name")
	}
	if err := validName("name", in.Name, 1, 100); err != nil {
		return err
	}
	if err := validScopes(in.Scopes); err != nil {
		return err
	}
	if err := validNames("allowed_models", in.AllowedModels, 100, 256); err != nil {
		return err
	}
	if err := canonCIDRs(in.AllowedCIDRs); err != nil {
		return err
	}
	if err := validNames("channel_tags", in.ChannelTags, maxTags, 64); err != nil {
		return err
	}
	if err := validCacheTTL(in.CacheTTLSeconds); err != nil {
		return err
	}
	if err := in.Limits.validate("limits"); err != nil {
		return err
	}
	if err := validSpending(in.Budgets, in.OnDisconnect); err != nil {
		return err
	}
	return validExpiry(in.ExpiresAt, now)
}

// UpdateAPIKeyInput changes a key. Absent fields stay as they are.
type UpdateAPIKeyInput struct {
	Name          graphql.Omittable[*string]    `json:"name,omitzero"`
	Scopes        graphql.Omittable[[]Scope]    `json:"scopes,omitzero"`
	AllowedModels graphql.Omittable[[]string]   `json:"allowed_models,omitzero"`
	AllowedCIDRs  graphql.Omittable[[]string]   `json:"allowed_cidrs,omitzero"`
	ChannelTags   graphql.Omittable[[]string]   `json:"channel_tags,omitzero"`
	ExpiresAt     graphql.Omittable[*time.Time] `json:"expires_at,omitzero"`

	CacheTTLSeconds graphql.Omittable[*int] `json:"cache_ttl_seconds,omitzero"` // null: 0
	Budgets         *BudgetsInput           `json:"budgets,omitempty"`
	OnDisconnect    *OnDisconnect           `json:"on_disconnect,omitempty"`

	Limits graphql.Omittable[*KeyLimits] `json:"limits,omitzero"` // replaces all; null: none
}

// Validate checks the input at the time now, and makes CIDRs canonical.
func (in *UpdateAPIKeyInput) Validate(now time.Time) error {
	if v, ok := in.Name.ValueOK(); ok {
		if v == nil {
			return Invalid("name", "'name' must not be null.")
		}
		if err := validName("name", *v, 1, 100); err != nil {
			return err
		}
	}
	if v, ok := in.Scopes.ValueOK(); ok {
		if len(v) == 0 {
			return Invalid("scopes", "'scopes' must name at least one scope.")
		}
		if err := validScopes(v); err != nil {
			return err
		}
	}
	if v, ok := in.AllowedModels.ValueOK(); ok {
		if err := validNames("allowed_models", v, 100, 256); err != nil {
			return err
		}
	}
	if v, ok := in.AllowedCIDRs.ValueOK(); ok {
		if err := canonCIDRs(v); err != nil {
			return err
		}
	}
	if v, ok := in.ChannelTags.ValueOK(); ok {
		if err := validNames("channel_tags", v, maxTags, 64); err != nil {
			return err
		}
	}
	if err := validCacheTTL(in.CacheTTLSeconds.Value()); err != nil {
		return err
	}
	if err := in.Limits.Value().validate("limits"); err != nil {
		return err
	}
	if err := validSpending(in.Budgets, in.OnDisconnect); err != nil {
		return err
	}
	if v, ok := in.ExpiresAt.ValueOK(); ok {
		return validExpiry(v, now)
	}
	return nil
}

func validSpending(b *BudgetsInput, policy *OnDisconnect) error {
	if policy != nil {
		if err := policy.validate("on_disconnect"); err != nil {
			return err
		}
	}
	return b.validate("budgets")
}

// RotateAPIKeyInput says how a key's secret is replaced.
type RotateAPIKeyInput struct {
	// GraceSeconds is how long the old secret stays valid, 0 to 30 days;
	// absent means [DefaultRotationGrace].
	GraceSeconds *int `json:"grace_seconds,omitempty"`
}

// Grace is the checked grace period.
func (in *RotateAPIKeyInput) Grace() (time.Duration, error) {
	if in.GraceSeconds == nil {
		return DefaultRotationGrace, nil
	}
	most := int(maxRotationGrace / time.Second)
	if *in.GraceSeconds < 0 || *in.GraceSeconds > most {
		return 0, Invalid("grace_seconds", "'grace_seconds' must be between 0 and %d; got %d.", most, *in.GraceSeconds)
	}
	return time.Duration(*in.GraceSeconds) * time.Second, nil
}

// CreateAPIKeyPayload answers createApiKey. Secret is shown this once.
type CreateAPIKeyPayload struct {
	Payload
	APIKey *APIKey
	Secret *string
}

// UpdateAPIKeyPayload answers updateApiKey.
type UpdateAPIKeyPayload struct {
	Payload
	APIKey *APIKey
}

// RotateAPIKeyPayload answers rotateApiKey. Secret is shown this once.
type RotateAPIKeyPayload struct {
	Payload
	APIKey *APIKey
	Secret *string
}

// DeleteAPIKeyPayload answers deleteApiKey.
type DeleteAPIKeyPayload struct {
	Payload
	DeletedAPIKeyID *string
}

// MaxCacheTTL bounds how long a key may keep answers.
const MaxCacheTTL = 24 * time.Hour

func validCacheTTL(seconds *int) error {
	if most := int(MaxCacheTTL / time.Second); seconds != nil && (*seconds < 0 || *seconds > most) {
		return Invalid("cache_ttl_seconds", "'cache_ttl_seconds' must be between 0 and %d; got %d.", most, *seconds)
	}
	return nil
}

func validScopes(scopes []Scope) error {
	all := AllScopes()
	for i, s := range scopes {
		if !slices.Contains(all, s) {
			return Invalid(indexed("scopes", i), "'%s' is not a scope; use one of %s.", clip(string(s), 40), oneOf(all))
		}
		if slices.Contains(scopes[:i], s) {
			return Invalid(indexed("scopes", i), "The scope '%s' is repeated.", s)
		}
	}
	return nil
}

func canonCIDRs(list []string) error {
	if len(list) > 100 {
		return Invalid("allowed_cidrs", "'allowed_cidrs' must have at most 100 entries; got %d.", len(list))
	}
	for i, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, errAddr := netip.ParseAddr(s)
			if errAddr != nil || a.Zone() != "" {
				return Invalid(indexed("allowed_cidrs", i), "'%s' is neither a network such as 10.0.0.0/8 nor an address.", clip(s, 60))
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list[i] = p.Masked().String()
	}
	return nil
}

func validExpiry(at *time.Time, now time.Time) error {
	if at != nil && !at.After(now) {
		return Invalid("expires_at", "'expires_at' must be in the future.")
	}
	return nil
}

func indexed(param string, i int) string { return param + "[" + strconv.Itoa(i) + "]" }
