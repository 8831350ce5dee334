package models

import (
	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"
)

// Plan holds a tier's request limits, in fixed windows that are aligned to the
// clock (UTC) and counted over all keys of an account.
type Plan struct {
	bun.BaseModel `bun:"table:plans,alias:p" json:"-"`

	ID                string `bun:"id,pk" json:"id"`
	Tier              Tier   `bun:"tier" json:"tier"`
	RequestsPerMinute int    `bun:"requests_per_minute" json:"requests_per_minute"`
	RequestsPerHour   int    `bun:"requests_per_hour" json:"requests_per_hour"`
	RequestsPerDay    int    `bun:"requests_per_day" json:"requests_per_day"`
	Concurrency       *int   `bun:"concurrency" json:"concurrency"` // requests to models at a time; nil: no limit
}

// IsNode makes Plan a Relay node.
func (Plan) IsNode() {}

// UpdatePlanInput changes a tier's limits. Absent limits stay as they are.
type UpdatePlanInput struct {
	RequestsPerMinute *int `json:"requests_per_minute,omitempty"`
	RequestsPerHour   *int `json:"requests_per_hour,omitempty"`
	RequestsPerDay    *int `json:"requests_per_day,omitempty"`

	Concurrency graphql.Omittable[*int] `json:"concurrency,omitzero"` // null: no limit
}

// Validate checks the input.
func (in *UpdatePlanInput) Validate() error {
	for _, f := range []struct {
		param string
		v     *int
	}{
		{"requests_per_minute", in.RequestsPerMinute},
		{"requests_per_hour", in.RequestsPerHour},
		{"requests_per_day", in.RequestsPerDay},
		{"concurrency", in.Concurrency.Value()},
	} {
		if f.v != nil && (*f.v < 1 || *f.v > 1_000_000_000) {
			return Invalid(f.param, "'%s' must be between 1 and 1000000000; got %d.", f.param, *f.v)
		}
	}
	return nil
}

// UpdatePlanPayload answers updatePlan.
type UpdatePlanPayload struct {
	Payload
	Plan *Plan
}
