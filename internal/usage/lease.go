package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// extend tells the database that these records have a process that works on
// them.
func (l *Ledger) extend(ids []string) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	_, err := l.db.Write().NewUpdate().Model((*models.UsageRecord)(nil)).
		Set("lease_until = ?", l.time().Add(leaseTTL)).
		Where("id IN (?)", bun.List(ids)).Where("status = ?", models.UsagePending).
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("extend leases: %w", err)
	}
	return nil
}

// openIDs are the records that callers are still to settle.
func (l *Ledger) openIDs() []string {
	now := l.time()
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]string, 0, len(l.open))
	for id, begun := range l.open {
		if now.Sub(begun) > openAtMost {
			delete(l.open, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// Recover closes the pending records whose lease ran out before now: their
// process died, or gave them up. They are charged what they carried when they
// began, and marked as estimated. It gives their number, and may run in several
// processes at once.
func (l *Ledger) Recover(ctx context.Context, now time.Time) (int, error) {
	now = now.UTC().Truncate(time.Microsecond)
	return l.chunked(ctx, func(ctx context.Context) (int64, error) {
		due := l.db.Write().NewSelect().Model((*models.UsageRecord)(nil)).Column("id").
			Where("status = ?", models.UsagePending).Where("lease_until < ?", now).
			Limit(purgeSize)
		res, err := l.db.Write().NewUpdate().Model((*models.UsageRecord)(nil)).
			Set("status = ?", models.UsageRecovered).Set("estimated = ?", true).Set("settled_at = ?", now).
			Where("id IN (?)", due).
			// Both again: between the selection and the lock, the process may have shown a sign of life.
			Where("status = ?", models.UsagePending).Where("lease_until < ?", now).
			Exec(ctx)
		if err != nil {
			return 0, fmt.Errorf("recover usage records: %w", err)
		}
		return res.RowsAffected()
	})
}
