package usage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Recover closes the attempts whose lease ran out before now, and those in a
// journal whose process has ended: it died, or gave them up. They are charged their last checkpoint, or what they
// carried when they began, and marked as estimated; what is held for them beyond
// that is given back. It gives their number, and may run in several processes at
// once.
func (l *Ledger) Recover(ctx context.Context, now time.Time) (int, error) {
	now = now.UTC().Truncate(time.Microsecond)
	n, err := l.recoverHolds(ctx, now)
	if err == nil && l.journal != nil {
		var noted int
		noted, err = l.recoverJournals(ctx, now)
		n += noted
	}
	if l.db.Dialect() == storage.SQLite {
		err = errors.Join(err, l.tellMissed(ctx, now))
	}
	return n, err
}

func (l *Ledger) recoverHolds(ctx context.Context, now time.Time) (int, error) {
	return l.chunked(ctx, func(ctx context.Context) (n int64, err error) {
		err = l.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			n, err = l.recover(ctx, tx, now)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("recover usage records: %w", err)
		}
		return n, nil
	})
}

func (l *Ledger) recover(ctx context.Context, tx bun.Tx, now time.Time) (int64, error) {
	var due []hold
	q := tx.NewSelect().Model(&due).Where("lease_until < ?", now).OrderExpr("id").Limit(purgeSize)
	if l.db.Dialect() == storage.Postgres {
		q = q.For("UPDATE SKIP LOCKED") // whoever has it locked settles it
	}
	if err := q.Scan(ctx); err != nil || len(due) == 0 {
		return 0, err
	}
	records, ids := make([]*models.UsageRecord, len(due)), make([]string, len(due))
	var owners []string
	for i := range due {
		records[i], ids[i] = recovered(due[i].record(), now), due[i].ID
		if due[i].Metered {
			owners = append(owners, due[i].UserID, due[i].APIKeyID)
		}
	}
	book, err := budgets.Lock(ctx, tx, l.db.Dialect(), owners)
	if err != nil {
		return 0, err
	}
	for _, r := range records {
		if r.Metered {
			book.Charge(r)
		}
	}
	if err := book.Save(ctx, tx); err != nil {
		return 0, err
	}
	if err := l.tell(ctx, tx, book); err != nil {
		return 0, err
	}
	if _, err := tx.NewInsert().Model(&records).On("CONFLICT (id) DO NOTHING").Exec(ctx); err != nil {
		return 0, fmt.Errorf("insert: %w", err)
	}
	_, err = tx.NewDelete().Model((*hold)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx)
	return int64(len(due)), err
}

// recoverJournals closes what is open in the journals of processes that have
// ended, and what callers of this one have given up.
func (l *Ledger) recoverJournals(ctx context.Context, now time.Time) (int, error) {
	own := l.forsaken(now)
	n, err := l.closeNoted(ctx, own, now)
	if err != nil {
		return n, err
	}
	l.ended(own)
	list, err := orphans(l.db.Path())
	for _, o := range list {
		closed, errClose := l.closeNoted(ctx, o.open, now)
		n += closed
		if errClose == nil {
			errClose = wrap("remove a journal", o.bury())
		} else {
			errClose = errors.Join(errClose, o.lock.Unlock())
		}
		err = errors.Join(err, errClose)
	}
	return n, wrap("recover usage records", err)
}

// forsaken are the records in this process's journal that nobody will settle.
func (l *Ledger) forsaken(now time.Time) []*models.UsageRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []*models.UsageRecord
	for _, o := range l.open {
		if o.rec != nil && o.lease.Before(now) {
			r := *o.rec
			if o.tokens > 0 || o.cost > 0 {
				r.CompletionTokens, r.Cost = o.tokens, o.cost
			}
			list = append(list, &r)
		}
	}
	return list
}

// closeNoted writes the records of attempts that began in a journal, and charges
// them to the budgets that there are, unless they were settled after all.
func (l *Ledger) closeNoted(ctx context.Context, open []*models.UsageRecord, now time.Time) (int, error) {
	n := 0
	for chunk := range slices.Chunk(open, batchSize) {
		records := make([]*models.UsageRecord, len(chunk))
		for i, r := range chunk {
			records[i] = recovered(*r, now)
		}
		err := l.db.Direct(ctx, func(d *storage.Direct) error {
			written, err := closeRecords(d, records)
			n += written
			return err
		})
		if err != nil {
			return n, fmt.Errorf("recover usage records: %w", err)
		}
	}
	return n, nil
}

// ended takes records that are final out of the journal.
func (l *Ledger) ended(records []*models.UsageRecord) {
	if len(records) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var entries []byte
	for _, r := range records {
		if o := l.open[r.ID]; o != nil && o.rec != nil {
			delete(l.open, r.ID)
			entries = appendEnd(entries, r.ID)
		}
	}
	l.end(entries)
}

// end appends to the journal what has ended. Should that fail, whoever recovers
// finds the records in the database.
func (l *Ledger) end(entries []byte) {
	if len(entries) == 0 || l.journal.lock == nil {
		return
	}
	if err := l.journal.write(entries, l.open); err != nil {
		l.log.Warn().Err(err).Msg("the ends of usage records were not written to the journal")
	}
}
