package usage

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// errMarked means that a hold which began without a budget has been given one.
var errMarked = errors.New("a running request has been given a budget")

// insert writes the entries in one transaction. Those whose budget is refused
// carry the refusal afterwards, and are not written.
func (l *Ledger) insert(batch []*entry) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	for _, s := range []*statement{l.insertHolds, l.insertRecords, l.deleteHolds} {
		if err := s.prepare(ctx, l.db); err != nil {
			return err
		}
	}
	begun, settled := split(batch)
	err := l.write(ctx, begun, settled)
	if errors.Is(err, errMarked) {
		for _, e := range settled {
			e.rec.Metered = true // those that are not have no budgets to be charged to
		}
		err = l.write(ctx, begun, settled)
	}
	for _, e := range batch {
		e.tried = true
	}
	return err
}

func (l *Ledger) write(ctx context.Context, begun, settled []*entry) (err error) {
	tx, err := l.db.Write().BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error tells more
		}
	}()
	// The budgets come first: see the order of locks in package budgets.
	if err := l.account(ctx, tx, begun, settled); err != nil {
		return err
	}
	args, lease := l.args[:0], stamp(l.time().Add(leaseTTL))
	for _, e := range begun {
		if e.refused == nil && !e.known {
			args = holdArgs(args, &e.rec, lease)
		}
	}
	if _, err := l.insertHolds.exec(ctx, tx.Tx, args); err != nil {
		return fmt.Errorf("insert holds: %w", err)
	}
	args = args[:0]
	for _, e := range settled {
		if !e.rec.Metered {
			args = append(args, e.rec.ID)
		}
	}
	deleted, err := l.deleteHolds.exec(ctx, tx.Tx, args)
	if err != nil {
		return fmt.Errorf("delete holds: %w", err)
	}
	if deleted < int64(len(args)) {
		// Closed by Recover, never begun, or given a budget: slower, and rare.
		return errMarked
	}
	args = args[:0]
	for _, e := range settled {
		args = recordArgs(args, &e.rec)
	}
	if _, err := l.insertRecords.exec(ctx, tx.Tx, args); err != nil {
		return fmt.Errorf("insert usage records: %w", err)
	}
	l.args = args
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// account takes holds and charges costs for those entries that have budgets. For
// a batch without any it does nothing.
func (l *Ledger) account(ctx context.Context, tx bun.Tx, begun, settled []*entry) error {
	var ids, owners []string
	for _, e := range begun {
		e.refused, e.known = nil, false
		if e.rec.Metered {
			owners = append(owners, e.rec.UserID, e.rec.APIKeyID)
			if e.tried {
				ids = append(ids, e.rec.ID)
			}
		}
	}
	for _, e := range settled {
		if e.rec.Metered {
			owners = append(owners, e.rec.UserID, e.rec.APIKeyID)
			ids = append(ids, e.rec.ID)
		}
	}
	if len(owners) == 0 {
		return nil
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
		if !e.rec.Metered || final[e.rec.ID] {
			continue // the first settlement counts
		}
		e.rec.Held = held[e.rec.ID] // nothing, if it was never begun
		book.Charge(&e.rec)
	}
	for _, e := range begun {
		if !e.rec.Metered {
			continue
		}
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
	var ids []string
	for _, e := range settled {
		if e.rec.Metered {
			ids = append(ids, e.rec.ID)
		}
	}
	if len(ids) == 0 {
		return nil
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
