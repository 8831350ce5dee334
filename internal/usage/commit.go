package usage

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// insert writes the entries. Those whose budget is refused carry the refusal
// afterwards, and are not written.
func (l *Ledger) insert(batch []*entry) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	begun, settled := split(batch)
	write := l.insertLite
	if l.db.Dialect() == storage.Postgres {
		write = l.insertPostgres
	}
	err := write(ctx, begun, settled)
	for _, e := range batch {
		e.tried = true
	}
	return err
}

// insertPostgres writes what has no budget in one round trip, and the rest with
// its budgets locked.
func (l *Ledger) insertPostgres(ctx context.Context, begun, settled []*entry) error {
	begun, meteredBegun := divide(begun)
	settled, meteredSettled := divide(settled)
	if len(begun)+len(settled) > 0 {
		n, err := l.tables.write(ctx, l.db, begun, settled, l.time().Add(leaseTTL))
		if err != nil {
			return err
		}
		if n < int64(len(settled)) {
			// Closed by Recover, never begun, or given a budget while it ran: those that
			// are written already are passed over.
			for _, e := range settled {
				e.rec.Metered = true // one that is not has no budget to be charged to
			}
			meteredSettled = append(meteredSettled, settled...)
		}
	}
	if len(meteredBegun)+len(meteredSettled) == 0 {
		return nil
	}
	return l.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		return l.writeMetered(ctx, tx, meteredBegun, meteredSettled)
	})
}

func (l *Ledger) writeMetered(ctx context.Context, tx bun.Tx, begun, settled []*entry) error {
	// The budgets come first: see the order of locks in package budgets.
	if err := l.account(ctx, tx, begun, settled); err != nil {
		return err
	}
	lease := l.time().Add(leaseTTL)
	var holds []*hold
	for _, e := range begun {
		if e.refused == nil && !e.known {
			holds = append(holds, newHold(&e.rec, lease))
		}
	}
	if len(holds) > 0 {
		if _, err := tx.NewInsert().Model(&holds).On("CONFLICT (id) DO NOTHING").Exec(ctx); err != nil {
			return fmt.Errorf("insert holds: %w", err)
		}
	}
	if len(settled) == 0 {
		return nil
	}
	records := make([]*models.UsageRecord, len(settled))
	for i, e := range settled {
		records[i] = &e.rec
	}
	if _, err := tx.NewInsert().Model(&records).On("CONFLICT (id) DO NOTHING").Exec(ctx); err != nil {
		return fmt.Errorf("insert usage records: %w", err)
	}
	return nil
}

// divide sorts entries by whether their user or key has a budget.
func divide(list []*entry) (free, metered []*entry) {
	for i, e := range list {
		if e.rec.Metered {
			if metered == nil {
				free = append(free, list[:i]...)
			}
			metered = append(metered, e)
		} else if metered != nil {
			free = append(free, e)
		}
	}
	if metered == nil {
		return list, nil
	}
	return free, metered
}

// account takes holds and charges costs, and deletes the holds of what is settled.
func (l *Ledger) account(ctx context.Context, tx bun.Tx, begun, settled []*entry) error {
	var ids, owners []string
	for _, e := range begun {
		e.refused, e.known = nil, false
		owners = append(owners, e.rec.UserID, e.rec.APIKeyID)
		if e.tried {
			ids = append(ids, e.rec.ID)
		}
	}
	for _, e := range settled {
		owners = append(owners, e.rec.UserID, e.rec.APIKeyID)
		ids = append(ids, e.rec.ID)
	}
	held, err := l.lockHolds(ctx, tx, ids)
	if err != nil {
		return err
	}
	final, err := closed(ctx, tx, ids, held)
	if err != nil {
		return err
	}
	book, err := budgets.Lock(ctx, tx, l.db.Dialect(), owners)
	if err != nil {
		return err
	}
	for _, e := range settled {
		if final[e.rec.ID] {
			continue // the first settlement counts
		}
		e.rec.Held = held[e.rec.ID] // nothing, if it was never begun
		book.Charge(&e.rec)
	}
	for _, e := range begun {
		_, e.known = held[e.rec.ID]
		if e.known = e.known || final[e.rec.ID]; !e.known {
			e.refused = book.Hold(&e.rec)
		}
	}
	if err := book.Save(ctx, tx); err != nil {
		return err
	}
	if err := l.tell(ctx, tx, book); err != nil {
		return err
	}
	return l.dropHolds(ctx, tx, settled)
}

// lockHolds gives what is held for those of the attempts that have not ended,
// and keeps other transactions from ending them.
func (l *Ledger) lockHolds(ctx context.Context, tx bun.IDB, ids []string) (map[string]models.Nanos, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []hold
	q := tx.NewSelect().Model(&rows).Column("id", "held").Where("id IN (?)", bun.List(ids)).OrderExpr("id")
	if l.db.Dialect() == storage.Postgres {
		q = q.For("UPDATE")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("lock holds: %w", err)
	}
	held := make(map[string]models.Nanos, len(rows))
	for i := range rows {
		held[rows[i].ID] = rows[i].Held
	}
	return held, nil
}

// closed tells which of the attempts without a hold have their record.
func closed(ctx context.Context, tx bun.IDB, ids []string, held map[string]models.Nanos) (map[string]bool, error) {
	if len(held) == len(ids) {
		return nil, nil
	}
	var found []string
	err := tx.NewSelect().Model((*models.UsageRecord)(nil)).Column("id").Where("id IN (?)", bun.List(ids)).Scan(ctx, &found)
	if err != nil {
		return nil, fmt.Errorf("find usage records: %w", err)
	}
	final := make(map[string]bool, len(found))
	for _, id := range found {
		final[id] = true
	}
	return final, nil
}

func (l *Ledger) dropHolds(ctx context.Context, tx bun.IDB, settled []*entry) error {
	if len(settled) == 0 {
		return nil
	}
	ids := make([]string, len(settled))
	for i, e := range settled {
		ids[i] = e.rec.ID
	}
	if _, err := tx.NewDelete().Model((*hold)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx); err != nil {
		return fmt.Errorf("delete holds: %w", err)
	}
	return nil
}

// split sorts a batch into begun and settled records, each id once: the first
// settlement counts, and takes the place of a begin of the same id.
func split(batch []*entry) (begun, settled []*entry) {
	final := make(map[string]bool, len(batch))
	for _, e := range batch {
		if e.rec.Status == models.UsageSettled && !final[e.rec.ID] {
			final[e.rec.ID] = true
			settled = append(settled, e)
		}
	}
	for _, e := range batch {
		if e.rec.Status == models.UsagePending && !final[e.rec.ID] {
			begun = append(begun, e)
		}
	}
	return begun, settled
}
