package models

import (
	"time"

	"github.com/uptrace/bun"
)

// SubscriptionStatus says whether a tier is paid for.
type SubscriptionStatus string

// The subscription statuses.
const (
	SubscriptionActive   SubscriptionStatus = "active"
	SubscriptionPastDue  SubscriptionStatus = "past_due" // not paid; the tier stays for a grace period
	SubscriptionCanceled SubscriptionStatus = "canceled" // the tier has ended
)

// Subscription is why an account has a tier above free, and until when.
type Subscription struct {
	bun.BaseModel `bun:"table:subscriptions,alias:s" json:"-"`

	UserID     string             `bun:"user_id,pk" json:"user_id"`
	Provider   PaymentProvider    `bun:"provider" json:"provider"`
	ExternalID string             `bun:"external_id" json:"-"`
	Tier       Tier               `bun:"tier" json:"tier"`
	Status     SubscriptionStatus `bun:"status" json:"status"`
	PeriodEnd  *time.Time         `bun:"period_end" json:"-"`  // when it is paid for anew, or ends; nil: never
	GraceUntil *time.Time         `bun:"grace_until" json:"-"` // when a tier that is not paid ends
	SaidAt     time.Time          `bun:"said_at" json:"-"`
	CreatedAt  time.Time          `bun:"created_at" json:"-"`
	UpdatedAt  time.Time          `bun:"updated_at" json:"-"`
}
