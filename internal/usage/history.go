package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/coaidev/coai/models"
)

// purgeSize is how many records one statement of [Ledger.Purge] and
// [Ledger.Recover] changes at most, so that others can write in between.
const purgeSize = 1000

// Summary is what a user has used so far: final records since midnight UTC, and
// tokens and cost since the first of the month UTC.
func (l *Ledger) Summary(ctx context.Context, userID string, now time.Time) (*models.UsageSummary, error) {
	now = now.UTC()
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	s := models.UsageSummary{CostThisMonth: models.USD(0)}
	err := l.db.Read().NewSelect().Model((*models.UsageRecord)(nil)).
		ColumnExpr("CAST(COALESCE(SUM(CASE WHEN created_at >= ? THEN 1 ELSE 0 END), 0) AS BIGINT)", today).
		ColumnExpr("CAST(COALESCE(SUM(prompt_tokens + completion_tokens), 0) AS BIGINT)").
		ColumnExpr("CAST(COALESCE(SUM(cost), 0) AS BIGINT)").
		Where("user_id = ?", userID).Where("created_at >= ?", month).
		Where("status <> ?", models.UsagePending).
		Scan(ctx, &s.RequestsToday, &s.TokensThisMonth, &s.CostThisMonth.Amount)
	if err != nil {
		return nil, fmt.Errorf("sum up usage: %w", err)
	}
	return &s, nil
}

// Purge deletes the final records that were created before, and gives their
// number.
func (l *Ledger) Purge(ctx context.Context, before time.Time) (int, error) {
	return l.chunked(ctx, func(ctx context.Context) (int64, error) {
		old := l.db.Write().NewSelect().Model((*models.UsageRecord)(nil)).Column("id").
			Where("created_at < ?", before.UTC()).Where("status <> ?", models.UsagePending).
			Limit(purgeSize)
		res, err := l.db.Write().NewDelete().Model((*models.UsageRecord)(nil)).
			Where("id IN (?)", old).Exec(ctx)
		if err != nil {
			return 0, fmt.Errorf("purge usage records: %w", err)
		}
		return res.RowsAffected()
	})
}

// chunked repeats a statement until it finds less than a full chunk to do.
func (l *Ledger) chunked(ctx context.Context, do func(context.Context) (int64, error)) (int, error) {
	total := 0
	for {
		n, err := do(ctx)
		total += int(n)
		if err != nil || n < purgeSize {
			return total, err
		}
	}
}
