package usage

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// opened is a record that somebody is still to settle.
type opened struct {
	at     time.Time
	tokens int64 // produced so far, and what they cost with the prompt
	cost   models.Nanos
	dirty  bool // since the last heartbeat

	// Of one that began in the journal, where no row has it: the record, the end of
	// its lease, and whether nobody will settle it any more.
	rec      *models.UsageRecord
	lease    time.Time
	forsaken bool
}

func (o *opened) checkpoint(id string) checkpoint { return checkpoint{id, o.tokens, o.cost} }

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

// checkpoints are those that are new, but for what the journal has: there they
// are written at once.
func (l *Ledger) checkpoints() []checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []checkpoint
	var entries []byte
	for id, o := range l.open {
		if !o.dirty {
			continue
		}
		o.dirty = false
		if o.rec != nil {
			entries = appendCheckpoint(entries, o.checkpoint(id))
		} else {
			list = append(list, o.checkpoint(id))
		}
	}
	if len(entries) > 0 {
		if err := l.journal.write(entries, l.open); err != nil {
			l.log.Warn().Err(err).Msg("checkpoints of usage records were not saved")
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

// openIDs are the records that callers are still to settle, but for those in the
// journal, whose leases it extends.
func (l *Ledger) openIDs() []string {
	now := l.time()
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := make([]string, 0, len(l.open))
	for id, o := range l.open {
		old := now.Sub(o.at) > openAtMost
		switch {
		case o.rec == nil && old:
			delete(l.open, id)
		case o.rec == nil:
			ids = append(ids, id)
		case old:
			o.forsaken = true
		case !o.forsaken:
			o.lease = now.Add(leaseTTL)
		}
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

func newHold(r *models.UsageRecord, lease time.Time) *hold {
	return &hold{
		ID: r.ID, RequestID: r.RequestID, UserID: r.UserID, APIKeyID: r.APIKeyID, ChannelID: r.ChannelID,
		Model: r.Model, UpstreamModel: r.UpstreamModel, Operation: r.Operation, Stream: r.Stream,
		PromptTokens: r.PromptTokens, CompletionTokens: r.CompletionTokens,
		Cost: r.Cost, Metered: r.Metered, Held: r.Held, CreatedAt: r.CreatedAt, LeaseUntil: lease,
	}
}

func (h *hold) record() models.UsageRecord {
	return models.UsageRecord{
		ID: h.ID, RequestID: h.RequestID, UserID: h.UserID, APIKeyID: h.APIKeyID, ChannelID: h.ChannelID,
		Model: h.Model, UpstreamModel: h.UpstreamModel, Operation: h.Operation, Stream: h.Stream,
		PromptTokens: h.PromptTokens, CompletionTokens: h.CompletionTokens,
		Cost: h.Cost, Metered: h.Metered, Held: h.Held, CreatedAt: h.CreatedAt,
	}
}

// recovered is the record of an attempt whose process died. It is charged its
// last checkpoint, and never more than was held for it.
func recovered(r models.UsageRecord, now time.Time) *models.UsageRecord {
	r.Status, r.Estimated, r.SettledAt = models.UsageRecovered, true, &now
	r.EstimatedPromptTokens, r.EstimatedCompletionTokens = r.PromptTokens, r.CompletionTokens
	if r.Metered && r.Held > 0 {
		r.Cost = min(r.Cost, r.Held)
	}
	return &r
}
