package models

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// DefaultWebhookGrace is how long a rotated secret still signs beside the new one.
const DefaultWebhookGrace = 24 * time.Hour

// WebhookDisabledReason says why an endpoint receives nothing.
type WebhookDisabledReason string

// The reasons.
const (
	WebhookDisabledByOwner WebhookDisabledReason = "owner"
	WebhookDisabledGone    WebhookDisabledReason = "gone"    // it answered 410
	WebhookDisabledFailing WebhookDisabledReason = "failing" // nothing else for five days
)

// Webhook is an endpoint of a user that is told of events. What it is sent is
// signed as Standard Webhooks says: https://www.standardwebhooks.com
type Webhook struct {
	bun.BaseModel `bun:"table:webhook_endpoints,alias:we" json:"-"`

	ID          string   `bun:"id,pk" json:"id"`
	UserID      string   `bun:"user_id" json:"user_id"`
	URL         string   `bun:"url" json:"url"`
	Description string   `bun:"description" json:"description"`
	Events      []string `bun:"events,type:jsonb" json:"events"`             // types, or [AllEvents]
	HeaderNames []string `bun:"header_names,type:jsonb" json:"header_names"` // of Headers
	Headers     []byte   `bun:"headers" json:"-"`                            // sealed
	Secret      []byte   `bun:"secret" json:"-"`                             // sealed

	// After a rotation the old secret signs too until PreviousExpiresAt.
	PreviousSecret    []byte     `bun:"previous_secret" json:"-"` // sealed
	PreviousExpiresAt *time.Time `bun:"previous_expires_at" json:"-"`

	// AdminEvents says that an admin made it, by a key with the scope admin: only then
	// is it sent the events that are for admins alone.
	AdminEvents bool `bun:"admin_events" json:"admin_events"`

	Enabled        bool                   `bun:"enabled" json:"enabled"`
	DisabledReason *WebhookDisabledReason `bun:"disabled_reason" json:"disabled_reason"`
	DisabledAt     *time.Time             `bun:"disabled_at" json:"-"`

	Failures      int        `bun:"failures" json:"consecutive_failures"` // attempts since the last success
	FailingSince  *time.Time `bun:"failing_since" json:"-"`
	PausedUntil   *time.Time `bun:"paused_until" json:"-"` // the next attempt at an endpoint that fails again and again
	LastFailureAt *time.Time `bun:"last_failure_at" json:"-"`

	CreatedAt time.Time `bun:"created_at" json:"-"`
	UpdatedAt time.Time `bun:"updated_at" json:"-"`
}

// IsNode makes Webhook a Relay node.
func (Webhook) IsNode() {}

// BeforeAppendModel makes absent lists empty before bun writes the row.
func (w *Webhook) BeforeAppendModel(context.Context, bun.Query) error {
	notNil(&w.Events)
	notNil(&w.HeaderNames)
	return nil
}

// WebhookSecret is what an endpoint's signatures are made with.
type WebhookSecret struct {
	Secret            string     // whsec_ and the base64 of the key
	Previous          *string    // still signs too, after a rotation
	PreviousExpiresAt *time.Time // until then
}

// WebhookDeliveryStatus is how far a delivery is.
type WebhookDeliveryStatus string

// The states of a delivery.
const (
	DeliveryPending   WebhookDeliveryStatus = "pending" // waits for its first or next attempt
	DeliveryInflight  WebhookDeliveryStatus = "inflight"
	DeliveryDelivered WebhookDeliveryStatus = "delivered"
	DeliveryFailed    WebhookDeliveryStatus = "failed"    // no attempt is left
	DeliveryCancelled WebhookDeliveryStatus = "cancelled" // the endpoint was disabled
)

// WebhookTrigger is what made a delivery.
type WebhookTrigger string

// The triggers.
const (
	TriggerAuto   WebhookTrigger = "auto"   // the event
	TriggerManual WebhookTrigger = "manual" // somebody asked for it again
	TriggerTest   WebhookTrigger = "test"   // somebody tests the endpoint
)

// WebhookDelivery is the way of one event to one endpoint.
type WebhookDelivery struct {
	bun.BaseModel `bun:"table:webhook_deliveries,alias:wd" json:"-"`

	ID          string                `bun:"id,pk" json:"id"`
	EventID     string                `bun:"event_id" json:"event_id"`
	EventType   EventType             `bun:"event_type" json:"event_type"`
	EndpointID  string                `bun:"endpoint_id" json:"webhook_id"`
	UserID      string                `bun:"user_id" json:"-"`
	Status      WebhookDeliveryStatus `bun:"status" json:"status"`
	Trigger     WebhookTrigger        `bun:"trigger" json:"trigger"`
	Attempts    int                   `bun:"attempts" json:"attempt_count"` // begun so far; the current one's number
	Tries       int                   `bun:"tries" json:"-"`                // ended since it began, or was asked for again
	DueAt       time.Time             `bun:"due_at" json:"-"`
	LeaseUntil  *time.Time            `bun:"lease_until" json:"-"` // while inflight
	SweepAt     time.Time             `bun:"sweep_at" json:"-"`    // when the sweeper looks at it again
	LastStatus  *int                  `bun:"last_status" json:"last_status"`
	LastError   *string               `bun:"last_error" json:"last_error"`
	CompletedAt *time.Time            `bun:"completed_at" json:"-"`
	CreatedAt   time.Time             `bun:"created_at" json:"-"`
	UpdatedAt   time.Time             `bun:"updated_at" json:"-"`
}

// IsNode makes WebhookDelivery a Relay node.
func (WebhookDelivery) IsNode() {}

// TypeName is the event's type as GraphQL shows it.
func (d *WebhookDelivery) TypeName() string { return string(d.EventType) }

// AttemptCount is how many attempts were begun.
func (d *WebhookDelivery) AttemptCount() int { return d.Attempts }

// NextAttemptAt is when the next attempt is due; nil when there will be none.
func (d *WebhookDelivery) NextAttemptAt() *time.Time {
	if d.Status != DeliveryPending {
		return nil
	}
	return &d.DueAt
}

// WebhookAttempt is one request to an endpoint, and what came of it.
type WebhookAttempt struct {
	bun.BaseModel `bun:"table:webhook_attempts,alias:wa" json:"-"`

	DeliveryID string         `bun:"delivery_id,pk" json:"-"`
	N          int            `bun:"n,pk" json:"number"`
	Trigger    WebhookTrigger `bun:"trigger" json:"trigger"`
	Status     *int           `bun:"status" json:"status"` // nil: no answer
	Error      *string        `bun:"error" json:"error"`   // why it failed
	LatencyMS  int            `bun:"latency_ms" json:"latency_ms"`
	Response   *string        `bun:"response" json:"response"` // the first 16 KiB of the answer
	StartedAt  time.Time      `bun:"started_at" json:"-"`
}

// Number is the attempt's place, from 1.
func (a *WebhookAttempt) Number() int { return a.N }

// WebhookDeliveryUpdate is a delivery that has just changed, or (with Err set)
// the failure that ends the stream.
type WebhookDeliveryUpdate struct {
	Sequence int
	Delivery *WebhookDelivery
	Err      *Error
}

// Error is the failure as GraphQL shows it.
func (u *WebhookDeliveryUpdate) Error() *StreamError { return u.Err.shown() }

// The connections and edges of webhooks.
type (
	// WebhookConnection is a page of endpoints.
	WebhookConnection = Connection[Webhook]
	// WebhookEdge is an endpoint in a page.
	WebhookEdge = Edge[Webhook]
	// WebhookDeliveryConnection is a page of deliveries.
	WebhookDeliveryConnection = Connection[WebhookDelivery]
	// WebhookDeliveryEdge is a delivery in a page.
	WebhookDeliveryEdge = Edge[WebhookDelivery]
)

// WebhookFilter narrows a list of endpoints.
type WebhookFilter struct {
	Enabled *bool
	Event   *string
}

// WebhookDeliveryFilter narrows a list of deliveries.
type WebhookDeliveryFilter struct {
	Status *WebhookDeliveryStatus
	Event  *string
	Since  *time.Time // made at or after
	Until  *time.Time // made before
}
