package models

import (
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// EventType says what happened.
type EventType string

// The event types.
const (
	EventChannelHealthChanged EventType = "channel.health_changed" // for admins alone
	EventPaymentSucceeded     EventType = "payment.succeeded"
	EventPaymentFailed        EventType = "payment.failed"
)

// Event is something that happened, written down in the transaction that made
// it happen. It is never changed.
type Event struct {
	bun.BaseModel `bun:"table:events,alias:e" json:"-"`

	ID        string          `bun:"id,pk" json:"id"`
	Type      EventType       `bun:"type" json:"type"`
	Payload   json.RawMessage `bun:"payload,type:jsonb" json:"data"` // an object, as REST shows it, and what changed
	CreatedAt time.Time       `bun:"created_at" json:"-"`
}
