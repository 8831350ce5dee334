package usage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// writeTimeout bounds one try at a transaction.
	writeTimeout = 10 * time.Second
	// While the database is away, tries are so far apart at first and at last.
	backoffFirst, backoffLast = 50 * time.Millisecond, time.Second
	triesOfOne                = 3
)

// run is the writer. It commits what callers have queued, in batches, until the
// queue is closed and empty. In between it extends leases, a chunk at a time:
// two transactions that touch the same rows in different orders would lock each
// other out.
func (l *Ledger) run() {
	defer close(l.done)
	ticker := time.NewTicker(leaseBeat)
	defer ticker.Stop()
	batch := make([]*entry, 0, batchSize)
	var leases [][]string
	always := make(chan struct{})
	close(always)
	for {
		var extend chan struct{}
		if len(leases) > 0 {
			extend = always
		}
		select {
		case e, ok := <-l.queue:
			if !ok {
				return
			}
			batch = l.gather(append(batch[:0], e))
			l.commit(batch)
		case <-ticker.C:
			leases = slices.Collect(slices.Chunk(l.openIDs(), batchSize))
		case <-extend:
			if err := l.extend(leases[0]); err != nil {
				l.log.Warn().Err(err).Msg("leases of usage records were not extended")
			}
			leases = leases[1:]
		}
	}
}

// gather fills the batch with what waits in the queue.
func (l *Ledger) gather(batch []*entry) []*entry {
	for len(batch) < batchSize {
		select {
		case e, ok := <-l.queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// commit writes the batch and answers its callers. While the database is away
// it tries again for as long as somebody waits.
func (l *Ledger) commit(batch []*entry) {
	for backoff := backoffFirst; ; backoff = min(2*backoff, backoffLast) {
		err := l.insert(batch)
		if err == nil {
			answer(batch, nil)
			return
		}
		if errProbe := l.probe(); errProbe != nil {
			err = errProbe
		} else if batch, err = l.commitEach(batch); len(batch) == 0 {
			return
		}
		if l.ctx.Err() != nil || allGone(batch) {
			l.log.Error().Err(err).Int("records", len(batch)).
				Msg("usage records given up: the database is away and nobody waits for them")
			answer(batch, fmt.Errorf("write usage records: %w", err))
			return
		}
		l.log.Warn().Err(err).Int("records", len(batch)).Dur("retry_in", backoff).
			Msg("usage records wait for the database")
		select {
		case <-time.After(backoff):
		case <-l.ctx.Done():
		}
	}
}

// commitEach writes each record on its own, so that one that the database
// refuses does not take its neighbours with it. When the database goes away
// meanwhile, it gives back those that are not written.
func (l *Ledger) commitEach(batch []*entry) (left []*entry, err error) {
	for i, e := range batch {
		refused, err := l.commitOne(e)
		if err != nil {
			return batch[i:], err
		}
		if refused != nil {
			l.log.Error().Err(refused).Str("record", e.rec.ID).Msg("usage record refused by the database")
			refused = fmt.Errorf("write usage record: %w", refused)
		}
		e.done <- refused
	}
	return nil, nil
}

// commitOne writes one record, and tells a record that the database refuses
// from a database that is away. Connections that broke fail once each, so it
// takes several tries before it blames the record.
func (l *Ledger) commitOne(e *entry) (refused, away error) {
	for range triesOfOne {
		if refused = l.insert([]*entry{e}); refused == nil {
			return nil, nil
		}
		if away = l.probe(); away != nil {
			return nil, away
		}
	}
	return refused, nil
}

// probe is a write that changes nothing: if it fails too, the database is at
// fault and not the record.
func (l *Ledger) probe() error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	_, err := l.db.Write().NewUpdate().Model((*models.UsageRecord)(nil)).
		Set("lease_until = lease_until").Where("id = ''").Exec(ctx)
	return err
}

func answer(batch []*entry, err error) {
	for _, e := range batch {
		e.done <- err
	}
}

func allGone(batch []*entry) bool {
	return !slices.ContainsFunc(batch, func(e *entry) bool { return !e.gone.Load() })
}

// insert writes the records in one transaction.
func (l *Ledger) insert(batch []*entry) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	begun, settled := split(batch)
	return l.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if len(begun) > 0 {
			// A conflict is a retry of a commit whose answer was lost.
			if _, err := tx.NewInsert().Model(&begun).On("CONFLICT (id) DO NOTHING").Exec(ctx); err != nil {
				return fmt.Errorf("insert pending usage records: %w", err)
			}
		}
		if len(settled) > 0 {
			q := tx.NewInsert().Model(&settled).On("CONFLICT (id) DO UPDATE")
			for _, column := range []string{
				"status", "error_code", "prompt_tokens", "completion_tokens", "cached_tokens",
				"reasoning_tokens", "estimated", "cost", "latency_ms", "ttft_ms", "settled_at",
			} {
				q = q.Set("? = EXCLUDED.?", bun.Ident(column), bun.Ident(column))
			}
			if _, err := q.Where("r.status = ?", models.UsagePending).Exec(ctx); err != nil {
				return fmt.Errorf("settle usage records: %w", err)
			}
		}
		return nil
	})
}

// split sorts a batch into pending and settled records, each id once: the first
// settlement counts, and takes the place of a begin of the same id.
func split(batch []*entry) (begun, settled []models.UsageRecord) {
	final := make(map[string]bool, len(batch))
	for _, e := range batch {
		if e.rec.Status == models.UsageSettled && !final[e.rec.ID] {
			final[e.rec.ID] = true
			settled = append(settled, e.rec)
		}
	}
	for _, e := range batch {
		if e.rec.Status == models.UsagePending && !final[e.rec.ID] {
			begun = append(begun, e.rec)
		}
	}
	return begun, settled
}
