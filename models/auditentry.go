package models

import (
	"time"

	"github.com/uptrace/bun"
)

// OperatorActor is who acts on the command line, in the audit log.
const OperatorActor = "operator"

// AuditEntry is something that an admin did. It is never changed.
type AuditEntry struct {
	bun.BaseModel `bun:"table:audit_log,alias:al" json:"-"`

	ID         string  `bun:"id,pk" json:"id"`
	ActorID    string  `bun:"actor_id" json:"actor_id"`       // a user, or [OperatorActor]
	APIKeyID   *string `bun:"api_key_id" json:"api_key_id"`   // nil: no key
	Address    *string `bun:"address" json:"address"`         // nil: unknown
	RequestID  *string `bun:"request_id" json:"request_id"`   // nil: no request
	Action     string  `bun:"action" json:"action"`           // such as channel.updated
	TargetType string  `bun:"target_type" json:"target_type"` // such as channel
	TargetID   *string `bun:"target_id" json:"target_id"`     // nil: several or none

	Before JSON `bun:"before,type:jsonb,nullzero" json:"before"` // what changed, as it was; empty: there was nothing
	After  JSON `bun:"after,type:jsonb,nullzero" json:"after"`   // as it is now; empty: there is nothing

	CreatedAt time.Time `bun:"created_at" json:"-"`
}

// AuditEntryConnection is a page of the audit log.
type AuditEntryConnection = Connection[AuditEntry]

// AuditEntryEdge is an entry of the audit log in a page.
type AuditEntryEdge = Edge[AuditEntry]

// AuditFilter narrows the audit log.
type AuditFilter struct {
	ActorID    *string
	Action     *string
	TargetType *string
	TargetID   *string
	Since      *time.Time // the first moment that counts
	Until      *time.Time // the first that counts no more
}

// Validate checks the filter.
func (f *AuditFilter) Validate() error {
	if f == nil {
		return nil
	}
	for _, t := range []struct {
		param string
		v     *string
	}{{"actor_id", f.ActorID}, {"action", f.Action}, {"target_type", f.TargetType}, {"target_id", f.TargetID}} {
		if t.v != nil {
			if err := validName(t.param, *t.v, 1, 512); err != nil {
				return err
			}
		}
	}
	if f.Since != nil && f.Until != nil && !f.Until.After(*f.Since) {
		return Invalid("until", "'until' must be after 'since'.")
	}
	return nil
}
