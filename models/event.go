package models

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// EventType says what happened.
type EventType string

// The event types.
const (
	EventConversationCreated   EventType = "conversation.created"
	EventConversationCompleted EventType = "conversation.completed"
	EventUserRegistered        EventType = "user.registered" // for admins alone
	EventUsageThresholdReached EventType = "usage.threshold_reached"
	EventChannelHealthChanged  EventType = "channel.health_changed" // for admins alone
	EventPaymentSucceeded      EventType = "payment.succeeded"
	EventPaymentFailed         EventType = "payment.failed"
	EventWebhookTest           EventType = "webhook.test"     // made by hand, for one endpoint
	EventWebhookDisabled       EventType = "webhook.disabled" // for the other endpoints of the owner
)

// AllEvents subscribes an endpoint to events of every type.
const AllEvents = "*"

// EventTypes are all types there are.
func EventTypes() []EventType {
	return []EventType{
		EventConversationCreated, EventConversationCompleted, EventUserRegistered, EventUsageThresholdReached,
		EventChannelHealthChanged, EventPaymentSucceeded, EventPaymentFailed, EventWebhookDisabled, EventWebhookTest,
	}
}

// ForAdmins says whether events of the type go to admins' endpoints alone.
func (t EventType) ForAdmins() bool {
	return t == EventUserRegistered || strings.HasPrefix(string(t), "channel.")
}

// Event is something that happened, written down in the transaction that made
// it happen. It is never changed.
type Event struct {
	bun.BaseModel `bun:"table:events,alias:e" json:"-"`

	ID        string          `bun:"id,pk" json:"id"`
	Type      EventType       `bun:"type" json:"type"`
	UserID    string          `bun:"user_id" json:"-"`               // whom it concerns; empty: admins alone
	Payload   json.RawMessage `bun:"payload,type:jsonb" json:"data"` // an object, as REST shows it, and what changed
	CreatedAt time.Time       `bun:"created_at" json:"-"`
}

// TypeName is the type as GraphQL shows it.
func (e *Event) TypeName() string { return string(e.Type) }

// Data is the payload as GraphQL shows it.
func (e *Event) Data() JSON { return JSON(e.Payload) }

// eventVersion is the version of the envelope around events.
const eventVersion = "v1"

// Body is what endpoints are sent: the event in its envelope.
func (e *Event) Body() ([]byte, error) {
	return json.Marshal(struct {
		ID         string          `json:"id"`
		Object     string          `json:"object"`
		Type       EventType       `json:"type"`
		CreatedAt  int64           `json:"created_at"`
		Timestamp  string          `json:"timestamp"`
		APIVersion string          `json:"api_version"`
		Data       json.RawMessage `json:"data"`
	}{e.ID, "event", e.Type, e.CreatedAt.Unix(), e.CreatedAt.UTC().Format(time.RFC3339), eventVersion, e.Payload})
}

// EventDescription is an entry of the catalogue of events.
type EventDescription struct {
	Type        EventType
	Description string
	ForAdmins   bool // only admins' endpoints receive it
	Schema      JSON // JSON Schema of the body
	Example     JSON // a body
}

// TypeName is the type as GraphQL shows it.
func (d *EventDescription) TypeName() string { return string(d.Type) }
