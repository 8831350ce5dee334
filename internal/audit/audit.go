// Package audit keeps what admins did: who, from where, to what, and what changed.
// An entry is written in the transaction of the change that it tells of, and never
// changed; only age deletes it.
package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Target is what an action was done to.
type Target struct {
	Type string // such as channel
	ID   string // empty: several things, or none
}

// Append writes an entry. before and after are what the target looks like in JSON:
// of two objects only the members that differ are kept, and secrets are masked; nil
// is a target that did not exist, or does no more. Where nothing differs the entry
// is written all the same: it was done.
func Append(ctx context.Context, tx bun.IDB, v *models.Viewer, action string, on Target, before, after any) error {
	e := &models.AuditEntry{
		ID: models.NewID(models.AuditPrefix), ActorID: v.UserID, APIKeyID: given(v.KeyID),
		Address: given(addressOf(ctx)), RequestID: given(models.RequestIDFrom(ctx)),
		Action: action, TargetType: on.Type, TargetID: given(on.ID), CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
	}
	if v.Operator {
		e.ActorID = models.OperatorActor
	}
	var err error
	if e.Before, e.After, err = changes(before, after); err != nil {
		return fmt.Errorf("describe the change %s: %w", action, err)
	}
	if _, err = tx.NewInsert().Model(e).Exec(ctx); err != nil {
		return fmt.Errorf("write to the audit log: %w", err)
	}
	return nil
}

// addressOf is where the request came from; empty outside of any.
func addressOf(ctx context.Context) string {
	if a := models.ClientFrom(ctx).Address; a.IsValid() {
		return a.String()
	}
	return ""
}

func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Log is the audit log as admins read it.
type Log struct{ db *storage.DB }

// New makes the log.
func New(db *storage.DB) *Log { return &Log{db} }

// Entries lists what admins did. Admins only.
func (l *Log) Entries(ctx context.Context, v *models.Viewer, args models.PageArgs, f *models.AuditFilter) (*models.Connection[models.AuditEntry], error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	list, err := storage.List(ctx, l.db.Read(), page, "id", func(e *models.AuditEntry) string { return e.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery { return narrow(q, f) })
	if err != nil {
		return nil, fmt.Errorf("list the audit log: %w", err)
	}
	return list, nil
}

func narrow(q *bun.SelectQuery, f *models.AuditFilter) *bun.SelectQuery {
	if f == nil {
		return q
	}
	for _, c := range []struct {
		column string
		v      *string
	}{{"actor_id", f.ActorID}, {"action", f.Action}, {"target_type", f.TargetType}, {"target_id", f.TargetID}} {
		if c.v != nil {
			q = q.Where("al.? = ?", bun.Ident(c.column), *c.v)
		}
	}
	if f.Since != nil {
		q = q.Where("al.created_at >= ?", f.Since.UTC())
	}
	if f.Until != nil {
		q = q.Where("al.created_at < ?", f.Until.UTC())
	}
	return q
}

// Purge deletes the entries from before, and gives their number.
func (l *Log) Purge(ctx context.Context, before time.Time) (int, error) {
	const chunk = 1000 // rows; between chunks others may write
	total := 0
	for {
		old := l.db.Read().NewSelect().Model((*models.AuditEntry)(nil)).Column("id").
			Where("created_at < ?", before.UTC()).OrderExpr("created_at").Limit(chunk)
		res, err := l.db.Write().NewDelete().Model((*models.AuditEntry)(nil)).Where("id IN (?)", old).Exec(ctx)
		if err != nil {
			return total, fmt.Errorf("purge the audit log: %w", err)
		}
		n, err := res.RowsAffected()
		total += int(n)
		if err != nil || n < chunk {
			return total, err //nolint:wrapcheck // neither driver fails here
		}
	}
}
