package webhooks

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// sweepAgain is when the sweeper offers a delivery again that was offered and not
	// begun: whoever carried its id has lost it.
	sweepAgain = 10 * time.Second
	// sweepShare is how many deliveries of one endpoint a sweep offers: a backlog of
	// one keeps no other waiting.
	sweepShare = 100
)

// Due gives the ids of at most limit deliveries whose attempt is due, or whose
// process died in the middle of one, and that nobody was offered in the last ten
// seconds; none of endpoints that rest. One process at a time should ask.
func (s *Service) Due(ctx context.Context, limit int) ([]string, error) {
	now := s.time()
	var ids []string
	err := s.db.Read().NewRaw(`SELECT id FROM (
			SELECT wd.id, wd.sweep_at, row_number() OVER (PARTITION BY wd.endpoint_id ORDER BY wd.sweep_at) AS place
			FROM webhook_deliveries AS wd LEFT JOIN webhook_endpoints AS we ON we.id = wd.endpoint_id
			WHERE wd.status IN (?, ?) AND wd.sweep_at <= ? AND (we.paused_until IS NULL OR we.paused_until <= ?)
		) AS due WHERE place <= ? ORDER BY place, sweep_at LIMIT ?`,
		models.DeliveryPending, models.DeliveryInflight, now, now, sweepShare, limit).Scan(ctx, &ids)
	if err != nil {
		return nil, fmt.Errorf("find due deliveries: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	// One that has been begun meanwhile has another time, and keeps it.
	_, err = s.db.Write().NewUpdate().Model((*models.WebhookDelivery)(nil)).Set("sweep_at = ?", now.Add(sweepAgain)).
		Where("id IN (?)", bun.List(ids)).Where("sweep_at <= ?", now).Exec(ctx)
	if err != nil {
		return nil, fmt.Errorf("offer due deliveries: %w", err)
	}
	return ids, nil
}

// Backlog is how many deliveries are due, and for how long the first of them has
// been.
func (s *Service) Backlog(ctx context.Context) (n int, age time.Duration, err error) {
	now := s.time()
	var row struct {
		N      int
		Oldest *time.Time
	}
	err = s.db.Read().NewSelect().Model((*models.WebhookDelivery)(nil)).
		ColumnExpr("COUNT(*) AS n").ColumnExpr("MIN(due_at) AS oldest").
		Where("status = ?", models.DeliveryPending).Where("due_at <= ?", now).Scan(ctx, &row)
	if err != nil {
		return 0, 0, fmt.Errorf("measure the backlog of deliveries: %w", err)
	}
	if row.Oldest != nil {
		age = max(now.Sub(*row.Oldest), 0)
	}
	return row.N, age, nil
}
