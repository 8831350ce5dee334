// Package conversations keeps what was said: conversations as trees of messages,
// the turns that add to them while a model answers, their search, links and
// exports.
package conversations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Service keeps conversations in the database. It is safe for concurrent use.
type Service struct {
	db  *storage.DB
	log zerolog.Logger

	ctx    context.Context // of the background's statements; ended by Close
	cancel context.CancelFunc
	done   chan struct{} // closed when the background has ended

	mu       sync.Mutex
	turns    map[*Turn]struct{}             // that a model is at work on
	watchers map[string]map[*Watch]struct{} // by conversation

	revisions map[string]int64 // the background's: of watched conversations, at the last look
}

// New starts the service, and in the background the notes of running turns and
// the look-out for those who watch conversations. End it with [Service.Close].
func New(db *storage.DB, log zerolog.Logger) *Service {
	s := &Service{
		db: db, log: log, done: make(chan struct{}),
		turns: map[*Turn]struct{}{}, watchers: map[string]map[*Watch]struct{}{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // it outlives every request; Close ends it
	go s.run()
	return s
}

// Close ends the background. Turns that still run are left to [Service.Recover].
func (s *Service) Close(context.Context) error {
	s.cancel()
	<-s.done
	return nil
}

// run notes what turns have produced, and looks for changes that other processes
// made.
func (s *Service) run() {
	defer close(s.done)
	note, look := time.NewTicker(noteBeat), time.NewTicker(lookBeat)
	defer note.Stop()
	defer look.Stop()
	for {
		select {
		case <-note.C:
			s.note()
		case <-look.C:
			s.look()
		case <-s.ctx.Done():
			return
		}
	}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// owned narrows a query of conversations to the viewer's that are not deleted.
func owned(v *models.Viewer) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("cv.user_id = ?", v.UserID).Where("cv.deleted_at IS NULL")
	}
}

// load reads one of the viewer's conversations.
func (s *Service) load(ctx context.Context, db bun.IDB, v *models.Viewer, id string, lock bool) (*models.Conversation, error) {
	if !storage.StorableID(id) {
		return nil, models.NotFound("conversation", id)
	}
	c := new(models.Conversation)
	q := db.NewSelect().Model(c).Apply(owned(v)).Where("cv.id = ?", id)
	if lock && s.db.Dialect() == storage.Postgres {
		q = q.For("UPDATE")
	}
	err := q.Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("conversation", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load conversation: %w", err)
	}
	return c, nil
}

// change changes one of the viewer's conversations in a transaction, in which
// nobody else changes it, and tells those who watch it.
func (s *Service) change(ctx context.Context, v *models.Viewer, id string, fn func(ctx context.Context, tx bun.Tx, c *models.Conversation) error) (*models.Conversation, error) {
	var c *models.Conversation
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if c, err = s.load(ctx, tx, v, id, true); err != nil {
			return err
		}
		if err := fn(ctx, tx, c); err != nil {
			return err
		}
		return save(ctx, tx, c)
	})
	if err != nil {
		return nil, err
	}
	s.wake(id)
	return c, nil
}

func save(ctx context.Context, tx bun.IDB, c *models.Conversation) error {
	c.UpdatedAt = now()
	if _, err := tx.NewUpdate().Model(c).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("update conversation: %w", err)
	}
	return nil
}

// announce appends an event about a conversation to the outbox.
func announce(ctx context.Context, tx bun.IDB, kind models.EventType, c *models.Conversation) error {
	_, err := events.AppendFor(ctx, tx, c.UserID, kind, models.ConversationChanged{ConversationView: c.View(), UserID: c.UserID})
	return err //nolint:wrapcheck // wrapped there
}

// Conversation is one of the viewer's conversations. One that is deleted, or
// somebody else's, is not found. Scope: conversations.
func (s *Service) Conversation(ctx context.Context, v *models.Viewer, id string) (*models.Conversation, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	return s.load(ctx, s.db.Read(), v, id, false)
}

// Create begins a conversation, which is an event. Scope: conversations.
func (s *Service) Create(ctx context.Context, v *models.Viewer, in models.CreateConversationInput) (*models.CreateConversationPayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	rows, err := fromItems(in.Items, nil)
	if err != nil {
		return nil, err
	}
	at := now()
	c := &models.Conversation{
		ID: models.NewID(models.ConversationPrefix), UserID: v.UserID, Model: in.Model, SystemPrompt: in.SystemPrompt,
		Status: models.ConversationActive, Metadata: in.Metadata, CreatedAt: at, UpdatedAt: at,
	}
	c.Activity = strings.TrimPrefix(c.ID, models.ConversationPrefix)
	if in.Title != nil && *in.Title != "" {
		c.Title, c.Titled = *in.Title, models.TitledPerson
	}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(c).Exec(ctx); err != nil {
			return fmt.Errorf("insert conversation: %w", err)
		}
		if err := setMetadata(ctx, tx, c); err != nil {
			return err
		}
		if err := indexWords(ctx, tx, c, "", c.Title); err != nil {
			return err
		}
		if len(rows) > 0 {
			if err := s.add(ctx, tx, c, nil, rows); err != nil {
				return err
			}
			if err := save(ctx, tx, c); err != nil {
				return err
			}
		}
		return announce(ctx, tx, models.EventConversationCreated, c)
	})
	if err != nil {
		return nil, err
	}
	return &models.CreateConversationPayload{Conversation: c}, nil
}

// Update changes one of the viewer's conversations. To end it is an event. One
// that has ended can be opened again. Scope: conversations.
func (s *Service) Update(ctx context.Context, v *models.Viewer, id string, in models.UpdateConversationInput) (*models.UpdateConversationPayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	c, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		if m, ok := in.Model.ValueOK(); ok {
			c.Model = m
		}
		if p, ok := in.SystemPrompt.ValueOK(); ok {
			c.SystemPrompt = p
		}
		if m, ok := in.Metadata.ValueOK(); ok {
			c.Metadata = m
			if err := setMetadata(ctx, tx, c); err != nil {
				return err
			}
		}
		if leaf, ok := in.LeafID.ValueOK(); ok {
			m, err := message(ctx, tx, c.ID, *leaf, "leaf_id")
			if err != nil {
				return err
			}
			c.LeafID = &m.ID
		}
		if err := s.retitle(ctx, tx, c, in.Title); err != nil {
			return err
		}
		return s.turnStatus(ctx, tx, c, in.Status.Value())
	})
	if err != nil {
		return nil, err
	}
	return &models.UpdateConversationPayload{Conversation: c}, nil
}

func (s *Service) retitle(ctx context.Context, tx bun.Tx, c *models.Conversation, title models.Omittable[*string]) error {
	t, ok := title.ValueOK()
	switch {
	case !ok:
		return nil
	case t != nil:
		return s.setTitle(ctx, tx, c, *t, models.TitledPerson)
	}
	first := new(models.ConversationMessage)
	err := tx.NewSelect().Model(first).Where("cm.conversation_id = ?", c.ID).Where("cm.role = ?", models.RoleMessageUser).
		OrderExpr("cm.id").Limit(1).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return s.setTitle(ctx, tx, c, "", models.TitledNot)
	case err != nil:
		return fmt.Errorf("load first message: %w", err)
	}
	return s.setTitle(ctx, tx, c, firstWords(first.Text()), models.TitledWords)
}

func (s *Service) turnStatus(ctx context.Context, tx bun.Tx, c *models.Conversation, status *models.ConversationStatus) error {
	if status == nil || *status == c.Status {
		return nil
	}
	c.Status = *status
	if err := tell(ctx, tx, c, models.ConversationStatusChanged, nil); err != nil {
		return err
	}
	if c.Status != models.ConversationCompleted {
		return nil
	}
	return announce(ctx, tx, models.EventConversationCompleted, c)
}

// Delete deletes one of the viewer's conversations: it can no longer be read, its
// link neither, and [Service.Purge] removes it. Scope: conversations.
func (s *Service) Delete(ctx context.Context, v *models.Viewer, id string) (*models.DeleteConversationPayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	_, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		at := now()
		c.DeletedAt, c.SharedAt = &at, nil
		if err := unshare(ctx, tx, c.ID); err != nil {
			return err
		}
		return tell(ctx, tx, c, models.ConversationDeleted, nil)
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteConversationPayload{DeletedConversationID: &id}, nil
}

// setMetadata writes the pairs down once more, where filters find them.
func setMetadata(ctx context.Context, tx bun.IDB, c *models.Conversation) error {
	if _, err := tx.NewRaw("DELETE FROM conversation_metadata WHERE conversation_id = ?", c.ID).Exec(ctx); err != nil {
		return fmt.Errorf("delete metadata: %w", err)
	}
	for name, value := range c.Metadata {
		_, err := tx.NewRaw("INSERT INTO conversation_metadata (conversation_id, user_id, name, value) VALUES (?, ?, ?, ?)",
			c.ID, c.UserID, name, value).Exec(ctx)
		if err != nil {
			return fmt.Errorf("insert metadata: %w", err)
		}
	}
	return nil
}
