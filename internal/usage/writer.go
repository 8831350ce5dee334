package usage

import (
	"context"
	"fmt"
	"slices"
	"time"
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
	note := time.NewTicker(checkpointBeat)
	defer note.Stop()
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
			l.pace.wait(l.ctx)
			batch = l.gather(append(batch[:0], e))
			l.pace.note(len(batch))
			l.commit(batch)
		case <-ticker.C:
			leases = slices.Collect(slices.Chunk(l.openIDs(), batchSize))
		case <-note.C:
			for list := range slices.Chunk(l.checkpoints(), batchSize) {
				if err := l.save(list); err != nil {
					l.log.Warn().Err(err).Msg("checkpoints of usage records were not saved")
				}
			}
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
			l.troubled.Store(false)
			for _, e := range batch {
				e.done <- e.refused
			}
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
		l.troubled.Store(true)
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
		if refused == nil {
			e.done <- e.refused
			continue
		}
		l.log.Error().Err(refused).Str("record", e.rec.ID).Msg("usage record refused by the database")
		e.done <- fmt.Errorf("write usage record: %w", refused)
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
	_, err := l.db.Write().ExecContext(ctx, "UPDATE usage_holds SET held = held WHERE id = ''")
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
