package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// opened is a record that somebody is still to settle.
type opened struct {
	at     time.Time
	tokens int64 // produced so far, and what they cost with the prompt
	cost   models.Nanos
	dirty  bool // since the last heartbeat
}

// checkpoint is what an attempt has produced so far.
type checkpoint struct {
	id     string
	tokens int64
	cost   models.Nanos
}

// Checkpoint notes what a begun record has produced so far and what it costs
// with its prompt. The heartbeat writes it down every few seconds: [Ledger.Recover]
// charges it when this process dies.
func (l *Ledger) Checkpoint(id string, completionTokens int64, cost models.Nanos) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.open[id]; o != nil {
		o.tokens, o.cost, o.dirty = completionTokens, cost, true
	}
}

// checkpoints are those that are new.
func (l *Ledger) checkpoints() []checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []checkpoint
	for id, o := range l.open {
		if o.dirty {
			o.dirty = false
			list = append(list, checkpoint{id, o.tokens, o.cost})
		}
	}
	return list
}

// save writes checkpoints down, in one transaction.
func (l *Ledger) save(list []checkpoint) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	return l.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, c := range list {
			_, err := tx.NewRaw("UPDATE usage_holds SET completion_tokens = ?, cost = ? WHERE id = ?", c.tokens, c.cost, c.id).Exec(ctx)
			if err != nil {
				return fmt.Errorf("save checkpoints: %w", err)
			}
		}
		return nil
	})
}

// extend tells the database that these records have a process that works on
// them.
func (l *Ledger) extend(ids []string) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
	defer cancel()
	_, err := l.db.Write().NewRaw("UPDATE usage_holds SET lease_until = ? WHERE id IN (?)", l.time().Add(leaseTTL), bun.List(ids)).Exec(ctx)
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
	for id, o := range l.open {
		if now.Sub(o.at) > openAtMost {
			delete(l.open, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// hold is a row of usage_holds: an attempt that an upstream works on.
type hold struct {
	bun.BaseModel `bun:"table:usage_holds,alias:h"`

	ID               string           `bun:"id,pk"`
	RequestID        string           `bun:"request_id"`
	UserID           string           `bun:"user_id"`
	APIKeyID         string           `bun:"api_key_id"`
	ChannelID        string           `bun:"channel_id"`
	Model            string           `bun:"model"`
	UpstreamModel    string           `bun:"upstream_model"`
	Operation        models.Operation `bun:"operation"`
	Stream           bool             `bun:"stream"`
	PromptTokens     int64            `bun:"prompt_tokens"`
	CompletionTokens int64            `bun:"completion_tokens"`
	Cost             models.Nanos     `bun:"cost"`
	Metered          bool             `bun:"metered"`
	Held             models.Nanos     `bun:"held"`
	CreatedAt        time.Time        `bun:"created_at"`
	LeaseUntil       time.Time        `bun:"lease_until"`
}

// recovered is the record of an attempt whose process died. It is charged its
// last checkpoint, and never more than was held for it.
func (h *hold) recovered(now time.Time) *models.UsageRecord {
	r := &models.UsageRecord{
		ID: h.ID, RequestID: h.RequestID, UserID: h.UserID, APIKeyID: h.APIKeyID, ChannelID: h.ChannelID,
		Model: h.Model, UpstreamModel: h.UpstreamModel, Operation: h.Operation, Stream: h.Stream,
		Status: models.UsageRecovered, Estimated: true, PromptTokens: h.PromptTokens, CompletionTokens: h.CompletionTokens,
		EstimatedPromptTokens: h.PromptTokens, EstimatedCompletionTokens: h.CompletionTokens,
		Cost: h.Cost, Metered: h.Metered, Held: h.Held, CreatedAt: h.CreatedAt, SettledAt: &now,
	}
	if r.Metered && r.Held > 0 {
		r.Cost = min(r.Cost, r.Held)
	}
	return r
}

// Recover closes the attempts whose lease ran out before now: their process
// died, or gave them up. They are charged their last checkpoint, or what they
// carried when they began, and marked as estimated; what is held for them beyond
// that is given back. It gives their number, and may run in several processes at
// once.
func (l *Ledger) Recover(ctx context.Context, now time.Time) (int, error) {
	now = now.UTC().Truncate(time.Microsecond)
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
		records[i], ids[i] = due[i].recovered(now), due[i].ID
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
