package usage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// What SQLite is asked on the way of every request is written by hand and stays
// prepared: one row at a time, since it takes no round trip.
const (
	recordColumns = "id, request_id, user_id, api_key_id, channel_id, model, upstream_model, operation, stream, " +
		"status, error_code, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated, cost, " +
		"latency_ms, ttft_ms, created_at, settled_at, estimated_prompt_tokens, estimated_completion_tokens"
	holdColumns = "id, request_id, user_id, api_key_id, channel_id, model, upstream_model, operation, stream, " +
		"prompt_tokens, completion_tokens, cost, metered, held, created_at, lease_until"

	insertRecord = "INSERT INTO usage_records (" + recordColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
	insertHold   = "INSERT INTO usage_holds (" + holdColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	deleteHold   = "DELETE FROM usage_holds WHERE id = ? RETURNING held"
	findAttempt  = "SELECT 1 FROM usage_holds WHERE id = ? UNION ALL SELECT 1 FROM usage_records WHERE id = ?"
)

// insertLite writes a batch into SQLite, whose only writer needs no locks. Unlike
// on PostgreSQL, where a hold in the table is told of a budget that is new, every
// settlement is charged to the budgets that there are when it comes.
func (l *Ledger) insertLite(ctx context.Context, begun, settled []*entry) error {
	var reached []budgets.Reached
	err := l.db.Direct(ctx, func(d *storage.Direct) error {
		book, err := budgets.Read(d, owners(begun, settled))
		if err != nil {
			return err
		}
		for _, e := range settled {
			if err := settleLite(d, book, &e.rec, e.noted); err != nil {
				return err
			}
		}
		lease := l.time().Add(leaseTTL)
		for _, e := range begun {
			if err := beginLite(d, book, e, lease); err != nil {
				return err
			}
		}
		reached = book.Reached(l.percents())
		return book.Write(d)
	})
	if err != nil {
		return fmt.Errorf("write usage records: %w", err)
	}
	if err := l.tellLater(ctx, reached); err != nil { // what is written is written
		l.log.Error().Err(err).Msg("budgets that are nearly spent are told of later")
	}
	l.cross(settled)
	return nil
}

// cross takes what is settled out of the journal.
func (l *Ledger) cross(settled []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends := l.journal.buf[:0]
	for _, e := range settled {
		if e.noted {
			delete(l.open, e.rec.ID)
			ends = appendEnd(ends, e.rec.ID)
		}
	}
	l.journal.buf = ends
	l.end(ends)
}

func settleLite(d *storage.Direct, book *budgets.Book, r *models.UsageRecord, noted bool) error {
	n, err := d.Exec(insertRecord, recordArgs(r)...)
	if err != nil {
		return fmt.Errorf("insert a usage record: %w", err)
	}
	if n == 0 {
		return nil // the first settlement counts
	}
	r.Held = 0
	if !noted {
		err := d.Query(deleteHold, func(row []driver.Value) error {
			held, _ := row[0].(int64)
			r.Held = models.Nanos(held)
			return nil
		}, r.ID)
		if err != nil {
			return fmt.Errorf("delete a hold: %w", err)
		}
	}
	book.Charge(r)
	return nil
}

func beginLite(d *storage.Direct, book *budgets.Book, e *entry, lease time.Time) error {
	e.refused, e.known = nil, false
	if e.tried {
		err := d.Query(findAttempt, func([]driver.Value) error {
			e.known = true
			return nil
		}, e.rec.ID, e.rec.ID)
		if err != nil || e.known {
			return wrap("find an attempt", err)
		}
	}
	if e.rec.Metered {
		e.refused = book.Hold(&e.rec)
	}
	if e.refused != nil {
		return nil //nolint:nilerr // the caller is told, the batch goes on
	}
	if _, err := d.Exec(insertHold, holdArgs(&e.rec, lease)...); err != nil {
		return fmt.Errorf("insert a hold: %w", err)
	}
	return nil
}

// closeRecords writes what is recovered, unless it is there, and gives how much
// of it was not.
func closeRecords(d *storage.Direct, records []*models.UsageRecord) (int, error) {
	var by []string
	for _, r := range records {
		by = append(by, r.UserID, r.APIKeyID)
	}
	book, err := budgets.Read(d, by)
	if err != nil {
		return 0, err
	}
	written := 0
	for _, r := range records {
		n, err := d.Exec(insertRecord, recordArgs(r)...)
		if err != nil {
			return 0, fmt.Errorf("insert: %w", err)
		}
		if n > 0 {
			written++
			book.Charge(r)
		}
	}
	return written, book.Write(d)
}

// owners are those whose budgets a batch may concern.
func owners(begun, settled []*entry) []string {
	list := make([]string, 0, 2*(len(begun)+len(settled)))
	for _, entries := range [...][]*entry{begun, settled} {
		for _, e := range entries {
			list = append(list, e.rec.UserID, e.rec.APIKeyID)
		}
	}
	return list
}

// stamp writes a time as bun does, in a form that both databases read.
func stamp(t time.Time) string { return t.Format(storage.TimeLayout) }

func holdArgs(r *models.UsageRecord, lease time.Time) []any {
	return []any{
		r.ID, r.RequestID, r.UserID, r.APIKeyID, r.ChannelID, r.Model, r.UpstreamModel, string(r.Operation), r.Stream,
		r.PromptTokens, r.CompletionTokens, int64(r.Cost), r.Metered, int64(r.Held), stamp(r.CreatedAt), stamp(lease),
	}
}

func recordArgs(r *models.UsageRecord) []any {
	return []any{
		r.ID, r.RequestID, r.UserID, r.APIKeyID, r.ChannelID, r.Model, r.UpstreamModel, string(r.Operation), r.Stream,
		string(r.Status), r.ErrorCode, r.PromptTokens, r.CompletionTokens, r.CachedTokens, r.ReasoningTokens, r.Estimated, int64(r.Cost),
		r.LatencyMS, r.TTFTMS, stamp(r.CreatedAt.UTC()), stamp(*r.SettledAt), r.EstimatedPromptTokens, r.EstimatedCompletionTokens,
	}
}

// affected is how many rows a statement has changed.
func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
