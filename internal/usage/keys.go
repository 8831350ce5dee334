package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// KeySummaries sums up what was used by some keys of a user in the UTC day and
// month of now. Each of the keys has an entry.
func (l *Ledger) KeySummaries(ctx context.Context, userID string, keyIDs []string, now time.Time) (map[string]*models.APIKeyUsage, error) {
	by := make(map[string]*models.APIKeyUsage, len(keyIDs))
	for _, id := range keyIDs {
		by[id] = &models.APIKeyUsage{CostToday: models.USD(0), CostThisMonth: models.USD(0)}
	}
	if len(keyIDs) == 0 {
		return by, nil
	}
	now = now.UTC()
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	var rows []struct {
		APIKeyID    string       `bun:"api_key_id"`
		Today       int64        `bun:"today"`
		TokensToday int64        `bun:"tokens_today"`
		CostToday   models.Nanos `bun:"cost_today"`
		Month       int64        `bun:"month"`
		TokensMonth int64        `bun:"tokens_month"`
		CostMonth   models.Nanos `bun:"cost_month"`
	}
	// The user is named too: there is an index of users' records.
	err := l.db.Read().NewSelect().Model((*models.UsageRecord)(nil)).Column("api_key_id").
		ColumnExpr("CAST(SUM(CASE WHEN created_at >= ? THEN 1 ELSE 0 END) AS BIGINT) AS today", today).
		ColumnExpr("CAST(SUM(CASE WHEN created_at >= ? THEN prompt_tokens + completion_tokens ELSE 0 END) AS BIGINT) AS tokens_today", today).
		ColumnExpr("CAST(SUM(CASE WHEN created_at >= ? THEN cost ELSE 0 END) AS BIGINT) AS cost_today", today).
		ColumnExpr("COUNT(*) AS month").
		ColumnExpr("CAST(SUM(prompt_tokens + completion_tokens) AS BIGINT) AS tokens_month").
		ColumnExpr("CAST(SUM(cost) AS BIGINT) AS cost_month").
		Where("user_id = ?", userID).Where("created_at >= ?", month).Where("status <> ?", models.UsagePending).
		Where("api_key_id IN (?)", bun.List(keyIDs)).Group("api_key_id").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("sum up usage of keys: %w", err)
	}
	for _, r := range rows {
		by[r.APIKeyID] = &models.APIKeyUsage{
			RequestsToday: r.Today, TokensToday: r.TokensToday, CostToday: models.USD(r.CostToday),
			RequestsThisMonth: r.Month, TokensThisMonth: r.TokensMonth, CostThisMonth: models.USD(r.CostMonth),
		}
	}
	return by, nil
}
