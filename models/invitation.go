package models

import (
	"time"

	"github.com/uptrace/bun"
)

// Bounds of how long an invitation counts.
const (
	DefaultInvitationTTL = 7 * 24 * time.Hour
	maxInvitationTTL     = 90 * 24 * time.Hour
)

// Invitation lets one person make an account. Its token is shown once; only a
// SHA-256 of it is kept.
type Invitation struct {
	bun.BaseModel `bun:"table:invitations,alias:i" json:"-"`

	ID         string     `bun:"id,pk" json:"id"`
	Hash       []byte     `bun:"hash" json:"-"`
	Email      *string    `bun:"email" json:"email"` // only for this address; nil: for anybody who has it
	Role       Role       `bun:"role" json:"role"`
	Tier       Tier       `bun:"tier" json:"tier"`
	CreatedBy  string     `bun:"created_by" json:"created_by"`
	CreatedAt  time.Time  `bun:"created_at" json:"-"`
	ExpiresAt  time.Time  `bun:"expires_at" json:"-"`
	AcceptedAt *time.Time `bun:"accepted_at" json:"-"`
	AcceptedBy *string    `bun:"accepted_by" json:"accepted_by"`
}

// CreateInvitationInput invites somebody.
type CreateInvitationInput struct {
	Email     *string    `json:"email,omitempty"` // gets the invitation by e-mail, and alone can use it
	Role      Role       `json:"role,omitempty"`  // default [RoleUser]
	Tier      Tier       `json:"tier,omitempty"`  // default [TierFree]
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// Validate checks the input at the time now and fills in defaults.
func (in *CreateInvitationInput) Validate(now time.Time) error {
	if in.Email != nil {
		if err := canonEmail(in.Email); err != nil {
			return err
		}
	}
	if in.Role == "" {
		in.Role = RoleUser
	}
	if in.Tier == "" {
		in.Tier = TierFree
	}
	if err := in.Role.validate(); err != nil {
		return err
	}
	if err := in.Tier.validate("tier"); err != nil {
		return err
	}
	if in.ExpiresAt == nil {
		at := now.Add(DefaultInvitationTTL)
		in.ExpiresAt = &at
	}
	if err := validExpiry(in.ExpiresAt, now); err != nil {
		return err
	}
	if in.ExpiresAt.Sub(now) > maxInvitationTTL {
		return Invalid("expires_at", "'expires_at' must be within %d days.", int(maxInvitationTTL/(24*time.Hour)))
	}
	return nil
}

// CreateInvitationPayload answers createInvitation. Token is shown this once.
type CreateInvitationPayload struct {
	Payload
	Invitation *Invitation
	Token      *string
}

// DeleteInvitationPayload answers deleteInvitation.
type DeleteInvitationPayload struct {
	Payload
	DeletedInvitationID *string
}
