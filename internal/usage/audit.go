package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/coaidev/coai/models"
)

const (
	maxAudit    = 366 * 24 * time.Hour
	maxAuditRow = 10_000
)

// Audit compares what upstreams reported with our own count of the same
// requests, by channel, model and UTC day. Requests for which they reported
// nothing are only counted. Scope: admin.
func (l *Ledger) Audit(ctx context.Context, v *models.Viewer, start, end time.Time, channelID *string) ([]*models.UsageAudit, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	start, end = start.UTC(), end.UTC()
	if !end.After(start) || end.Sub(start) > maxAudit {
		return nil, models.Invalid("end", "'end' must be after 'start', by at most 366 days.")
	}
	list := []*models.UsageAudit{}
	// By the day, so that a statement reads a bounded range and both databases
	// need no functions of dates.
	for day := models.PeriodDay.Start(start); day.Before(end); day = day.AddDate(0, 0, 1) {
		rows, err := l.auditDay(ctx, later(start, day), earlier(end, day.AddDate(0, 0, 1)), channelID)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			r.Day = day
		}
		if list = append(list, rows...); len(list) > maxAuditRow {
			return nil, models.Invalid("start", "The audit has more than %d rows; ask for fewer days, or one channel.", maxAuditRow)
		}
	}
	return list, nil
}

func (l *Ledger) auditDay(ctx context.Context, from, to time.Time, channelID *string) ([]*models.UsageAudit, error) {
	const reported = "CASE WHEN estimated THEN 0 ELSE 1 END"
	rows := []*models.UsageAudit{}
	q := l.db.Read().NewSelect().TableExpr("usage_records").
		ColumnExpr("channel_id, model, COUNT(*) AS requests")
	for _, c := range []struct{ expr, as string }{
		{"CASE WHEN error_code = '' THEN 0 ELSE 1 END", "errors"},
		{"CASE WHEN estimated AND cost + prompt_tokens + completion_tokens > 0 THEN 1 ELSE 0 END", "estimated"},
		{"CASE WHEN status = 'recovered' THEN 1 ELSE 0 END", "recovered"},
		{"prompt_tokens * " + reported, "reported_prompt_tokens"},
		{"completion_tokens * " + reported, "reported_completion_tokens"},
		{"estimated_prompt_tokens * " + reported, "estimated_prompt_tokens"},
		{"estimated_completion_tokens * " + reported, "estimated_completion_tokens"},
		{"cost", "cost"},
	} {
		q = q.ColumnExpr("CAST(SUM(" + c.expr + ") AS BIGINT) AS " + c.as)
	}
	q = q.Where("created_at >= ?", from).Where("created_at < ?", to).Where("channel_id <> ''").
		GroupExpr("channel_id, model").OrderExpr("channel_id, model")
	if channelID != nil {
		q = q.Where("channel_id = ?", *channelID)
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("audit usage: %w", err)
	}
	return rows, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
