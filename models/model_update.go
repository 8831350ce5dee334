package models

import (
	"slices"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// UpdateModelInput changes a model of the catalogue. Absent fields stay as they are.
type UpdateModelInput struct {
	DisplayName     graphql.Omittable[*string]          `json:"display_name,omitzero"`
	OwnedBy         graphql.Omittable[*string]          `json:"owned_by,omitzero"`
	ContextWindow   graphql.Omittable[*int]             `json:"context_window,omitzero"`
	MaxOutputTokens graphql.Omittable[*int]             `json:"max_output_tokens,omitzero"`
	Capabilities    graphql.Omittable[[]string]         `json:"capabilities,omitzero"`
	Aliases         graphql.Omittable[[]string]         `json:"aliases,omitzero"`
	Routing         graphql.Omittable[*RoutingStrategy] `json:"routing,omitzero"`
	Tiers           graphql.Omittable[[]Tier]           `json:"tiers,omitzero"`
	Groups          graphql.Omittable[[]string]         `json:"groups,omitzero"`
	Pricing         graphql.Omittable[*Pricing]         `json:"pricing,omitzero"` // null: what was imported
	PricingFrom     *time.Time                          `json:"pricing_from,omitempty"`
}

// Apply gives what describes the model after the change.
func (in *UpdateModelInput) Apply(m *Model) (SaveModelInput, error) {
	out := SaveModelInput{
		Name: m.Name, DisplayName: &m.DisplayName, OwnedBy: &m.OwnedBy, ContextWindow: m.ContextWindow, MaxOutputTokens: m.MaxOutputTokens,
		Capabilities: m.Capabilities, Aliases: m.Aliases, Routing: m.Routing, Tiers: m.Tiers, Groups: m.Groups,
		Pricing: in.Pricing.Value(), PricingFrom: in.PricingFrom,
	}
	for _, f := range []struct {
		param string
		in    graphql.Omittable[*string]
		to    **string
	}{{"display_name", in.DisplayName, &out.DisplayName}, {"owned_by", in.OwnedBy, &out.OwnedBy}} {
		if v, ok := f.in.ValueOK(); ok {
			if v == nil {
				return out, Invalid(f.param, "'%s' must not be null.", f.param)
			}
			*f.to = v
		}
	}
	lay(in.ContextWindow, &out.ContextWindow)
	lay(in.MaxOutputTokens, &out.MaxOutputTokens)
	lay(in.Capabilities, &out.Capabilities)
	lay(in.Aliases, &out.Aliases)
	lay(in.Routing, &out.Routing)
	lay(in.Tiers, &out.Tiers)
	lay(in.Groups, &out.Groups)
	return out, out.Validate()
}

func lay[T any](in graphql.Omittable[T], to *T) {
	if v, ok := in.ValueOK(); ok {
		*to = v
	}
}

// CreateModelPayload answers createModel.
type CreateModelPayload struct {
	Payload
	Model *Model
}

// UpdateModelPayload answers updateModel.
type UpdateModelPayload struct {
	Payload
	Model *Model
}

// VisibleTo says whether the viewer may use the model: by its tier, and by one of
// its groups. Admins may use all.
func (m *Model) VisibleTo(v *Viewer) bool {
	if !m.Restricted() || v.IsAdmin() {
		return true
	}
	if len(m.Tiers) > 0 && !slices.Contains(m.Tiers, v.Tier) {
		return false
	}
	return len(m.Groups) == 0 || slices.ContainsFunc(v.Groups, func(g string) bool { return slices.Contains(m.Groups, g) })
}

// Restricted says whether there are users who may not use the model.
func (m *Model) Restricted() bool { return len(m.Tiers) > 0 || len(m.Groups) > 0 }

func validTiers(tiers []Tier) error {
	for i, t := range tiers {
		if err := t.validate(indexed("tiers", i)); err != nil {
			return err
		}
		if slices.Contains(tiers[:i], t) {
			return Invalid(indexed("tiers", i), "The tier '%s' is repeated.", t)
		}
	}
	return nil
}
