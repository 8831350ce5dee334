package conversations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	purgeSize = 100
	// logAge is how long watchers can look back.
	logAge = time.Hour
	// forgottenAfter is when nobody looks any more for what an interrupted answer cost.
	forgottenAfter = 24 * time.Hour
)

// Recover marks the answers whose process died before now as interrupted, with what
// was noted of them, and gives answers their usage that have been charged since. It
// says how many were interrupted, and may run in several processes at once.
func (s *Service) Recover(ctx context.Context, at time.Time) (int, error) {
	var dead []*models.ConversationMessage
	err := s.db.Read().NewSelect().Model(&dead).Where("cm.status = ?", models.MessageInProgress).
		Where("cm.lease_until < ?", at.UTC()).OrderExpr("cm.lease_until").Limit(10 * purgeSize).Scan(ctx)
	if err != nil {
		return 0, fmt.Errorf("find interrupted answers: %w", err)
	}
	n := 0
	for _, m := range dead {
		ended, err := s.interrupt(ctx, m, at)
		if err != nil {
			return n, err
		}
		if ended {
			n++
		}
	}
	return n, s.settleLate(ctx, at)
}

func (s *Service) interrupt(ctx context.Context, m *models.ConversationMessage, at time.Time) (ended bool, err error) {
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		c, err := s.lockAny(ctx, tx, m.ConversationID)
		if err != nil || c == nil {
			return err
		}
		still := new(models.ConversationMessage)
		err = tx.NewSelect().Model(still).Where("cm.id = ?", m.ID).Where("cm.status = ?", models.MessageInProgress).
			Where("cm.lease_until < ?", at.UTC()).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("load answer: %w", err)
		}
		still.Status, ended = models.MessageInterrupted, true
		if err := s.conclude(ctx, tx, c, still); err != nil {
			return err
		}
		return save(ctx, tx, c)
	})
	if ended && err == nil {
		s.wake(m.ConversationID)
	}
	return ended && err == nil, err
}

// lockAny locks a conversation, whoever owns it; nil when it is gone.
func (s *Service) lockAny(ctx context.Context, tx bun.IDB, id string) (*models.Conversation, error) {
	c := new(models.Conversation)
	q := tx.NewSelect().Model(c).Where("cv.id = ?", id)
	if s.db.Dialect() == storage.Postgres {
		q = q.For("UPDATE")
	}
	err := q.Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // gone
	}
	if err != nil {
		return nil, fmt.Errorf("lock conversation: %w", err)
	}
	return c, nil
}

// settleLate gives interrupted answers what the ledger has charged for them.
func (s *Service) settleLate(ctx context.Context, at time.Time) error {
	var rows []struct {
		ID, ConversationID, UsageID    string
		PromptTokens, CompletionTokens int64
		Cost                           models.Nanos
	}
	err := s.db.Read().NewRaw(`SELECT cm.id, cm.conversation_id, cm.usage_id, r.prompt_tokens, r.completion_tokens, r.cost
		FROM conversation_messages cm JOIN usage_records r ON r.id = cm.usage_id
		WHERE cm.usage_id <> '' AND cm.status = ? LIMIT ?`, models.MessageInterrupted, 10*purgeSize).Scan(ctx, &rows)
	if err != nil {
		return fmt.Errorf("find charged answers: %w", err)
	}
	for _, r := range rows {
		u := &models.Usage{
			PromptTokens: r.PromptTokens, CompletionTokens: r.CompletionTokens, TotalTokens: r.PromptTokens + r.CompletionTokens,
			Cost: &r.Cost, Estimated: true,
		}
		err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			c, err := s.lockAny(ctx, tx, r.ConversationID)
			if err != nil || c == nil {
				return err
			}
			m := &models.ConversationMessage{ID: r.ID, Usage: u}
			res, err := tx.NewUpdate().Model(m).Column("usage", "usage_id").WherePK().Where("usage_id = ?", r.UsageID).Exec(ctx)
			if err != nil {
				return fmt.Errorf("charge answer: %w", err)
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return err //nolint:wrapcheck // a driver that cannot count
			}
			charge(c, u)
			return save(ctx, tx, c)
		})
		if err != nil {
			return err
		}
	}
	_, err = s.db.Write().NewUpdate().Model((*models.ConversationMessage)(nil)).Set("usage_id = ''").
		Where("usage_id <> ''").Where("status = ?", models.MessageInterrupted).Where("updated_at < ?", at.UTC().Add(-forgottenAfter)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("forget uncharged answers: %w", err)
	}
	return nil
}

// Purge removes the conversations that were deleted before then, and what watchers
// no longer look at. It says how many conversations it removed.
func (s *Service) Purge(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for {
		var ids []string
		err := s.db.Read().NewSelect().Model((*models.Conversation)(nil)).Column("id").Where("cv.deleted_at < ?", before.UTC()).
			Limit(purgeSize).Scan(ctx, &ids)
		if err != nil {
			return total, fmt.Errorf("find deleted conversations: %w", err)
		}
		if len(ids) == 0 {
			break
		}
		err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			// By hand, so that the search index is kept in step.
			for _, table := range []string{"conversation_search", "conversation_messages"} {
				if _, err := tx.NewRaw("DELETE FROM ? WHERE conversation_id IN (?)", bun.Ident(table), bun.List(ids)).Exec(ctx); err != nil {
					return err
				}
			}
			_, err := tx.NewDelete().Model((*models.Conversation)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("remove deleted conversations: %w", err)
		}
		if total += len(ids); len(ids) < purgeSize {
			break
		}
	}
	_, err := s.db.Write().NewDelete().Model((*models.ConversationEvent)(nil)).Where("created_at < ?", now().Add(-logAge)).Exec(ctx)
	if err != nil {
		return total, fmt.Errorf("delete old log: %w", err)
	}
	return total, nil
}
