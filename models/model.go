package models

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// Model is what a key may ask for: a row of the catalogue, or, for a model that
// a channel serves and nobody has described, just its name.
type Model struct {
	bun.BaseModel `bun:"table:models,alias:m" json:"-"`

	Name            string   `bun:"name,pk" json:"id"` // what clients put into `model`
	DisplayName     string   `bun:"display_name" json:"display_name"`
	OwnedBy         string   `bun:"owned_by" json:"owned_by"`
	ContextWindow   *int     `bun:"context_window" json:"context_window"`       // tokens
	MaxOutputTokens *int     `bun:"max_output_tokens" json:"max_output_tokens"` // tokens
	Capabilities    []string `bun:"capabilities,type:jsonb" json:"capabilities"`
	Aliases         []string `bun:"aliases,type:jsonb" json:"aliases"` // other names for the same model
	Pricing         *Pricing `bun:"-" json:"pricing"`                  // now; see [Model.PriceAt]
	// Routing is the order in which its channels are asked; nil: the operator's default.
	Routing   *RoutingStrategy `bun:"routing" json:"routing"`
	Tiers     []Tier           `bun:"visible_tiers,type:jsonb" json:"tiers"`   // of users who may use it; empty: all
	Groups    []string         `bun:"visible_groups,type:jsonb" json:"groups"` // of users who may use it; empty: all
	CreatedAt *time.Time       `bun:"created_at" json:"-"`                     // nil: nobody has described it
	UpdatedAt *time.Time       `bun:"updated_at" json:"-"`

	Prices []ModelPrice `bun:"-" json:"-"` // past, present and planned, the oldest first
}

// IsNode makes Model a Relay node.
func (Model) IsNode() {}

// ID is the Relay id. It follows from the name, so that a model that nobody has
// described has one too.
func (m *Model) ID() string {
	return ModelPrefix + base64.RawURLEncoding.EncodeToString([]byte(m.Name))
}

// ModelName is the name in a model's Relay id.
func ModelName(id string) (name string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(id, ModelPrefix))
	return string(b), err == nil && strings.HasPrefix(id, ModelPrefix) && len(b) > 0
}

// SaveModelInput describes a model in the catalogue: made when the name is new,
// replaced when it is not.
type SaveModelInput struct {
	Name            string   `json:"name"`
	DisplayName     *string  `json:"display_name,omitempty"` // default: the name
	OwnedBy         *string  `json:"owned_by,omitempty"`     // default: coai
	ContextWindow   *int     `json:"context_window,omitempty"`
	MaxOutputTokens *int     `json:"max_output_tokens,omitempty"`
	Capabilities    []string `json:"capabilities,omitempty"`
	Aliases         []string `json:"aliases,omitempty"`
	Pricing         *Pricing `json:"pricing,omitempty"` // absent: what was imported
	// PricingFrom is when Pricing begins to count; absent: now. What was saved
	// before counts until then.
	PricingFrom *time.Time       `json:"pricing_from,omitempty"`
	Routing     *RoutingStrategy `json:"routing,omitempty"` // default: the operator's
	Tiers       []Tier           `json:"tiers,omitempty"`   // of users who may use it; default: all
	Groups      []string         `json:"groups,omitempty"`  // of users who may use it; default: all
}

// Validate checks the input.
func (in *SaveModelInput) Validate() error {
	if in.Name == "" {
		return Missing("name")
	}
	if err := validName("name", in.Name, 1, maxModelName); err != nil {
		return err
	}
	for _, s := range []struct {
		param string
		v     *string
	}{{"display_name", in.DisplayName}, {"owned_by", in.OwnedBy}} {
		if s.v != nil {
			if err := validName(s.param, *s.v, 1, 100); err != nil {
				return err
			}
		}
	}
	for _, n := range []struct {
		param string
		v     *int
	}{{"context_window", in.ContextWindow}, {"max_output_tokens", in.MaxOutputTokens}} {
		if n.v != nil && (*n.v < 1 || *n.v > 1<<30) {
			return Invalid(n.param, "'%s' must be between 1 and %d tokens.", n.param, 1<<30)
		}
	}
	if err := validNames("capabilities", in.Capabilities, 32, 64); err != nil {
		return err
	}
	if err := validNames("aliases", in.Aliases, 32, maxModelName); err != nil {
		return err
	}
	for i, a := range in.Aliases {
		if a == in.Name {
			return Invalid(indexed("aliases", i), "A model cannot be an alias of itself.")
		}
	}
	if in.Routing != nil {
		if err := in.Routing.validate("routing"); err != nil {
			return err
		}
	}
	if err := validTiers(in.Tiers); err != nil {
		return err
	}
	if err := validNames("groups", in.Groups, maxTags, 64); err != nil {
		return err
	}
	if in.PricingFrom != nil && in.Pricing == nil {
		return Missing("pricing")
	}
	return in.Pricing.validate("pricing")
}

// Model is the model that the input describes, without times.
func (in *SaveModelInput) Model() *Model {
	m := &Model{
		Name: in.Name, DisplayName: in.Name, OwnedBy: "coai", ContextWindow: in.ContextWindow, MaxOutputTokens: in.MaxOutputTokens,
		Capabilities: in.Capabilities, Aliases: in.Aliases, Routing: in.Routing, Tiers: in.Tiers, Groups: in.Groups,
	}
	notNil(&m.Capabilities)
	notNil(&m.Aliases)
	notNil(&m.Tiers)
	notNil(&m.Groups)
	if in.DisplayName != nil {
		m.DisplayName = *in.DisplayName
	}
	if in.OwnedBy != nil {
		m.OwnedBy = *in.OwnedBy
	}
	return m
}

// SaveModelPayload answers saveModel.
type SaveModelPayload struct {
	Payload
	Model *Model
}

// DeleteModelPayload answers deleteModel.
type DeleteModelPayload struct {
	Payload
	DeletedModelID *string
}
