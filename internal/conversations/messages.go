package conversations

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// message is a message of a conversation.
func message(ctx context.Context, db bun.IDB, conversationID, id, param string) (*models.ConversationMessage, error) {
	missing := models.NotFound("message", id)
	missing.Param = param
	if !storage.StorableID(id) {
		return nil, missing
	}
	m := new(models.ConversationMessage)
	err := db.NewSelect().Model(m).Where("cm.id = ?", id).Where("cm.conversation_id = ?", conversationID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, missing
	}
	if err != nil {
		return nil, fmt.Errorf("load message: %w", err)
	}
	return m, nil
}

// Message is a message of one of the viewer's conversations. Scope: conversations.
func (s *Service) Message(ctx context.Context, v *models.Viewer, id string) (*models.ConversationMessage, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if !storage.StorableID(id) {
		return nil, models.NotFound("message", id)
	}
	m := new(models.ConversationMessage)
	err := s.db.Read().NewSelect().Model(m).Join("JOIN conversations AS cv ON cv.id = cm.conversation_id").Apply(owned(v)).
		Where("cm.id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("message", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load message: %w", err)
	}
	return m, nil
}

// MessageIn is [Service.Message] for one that must be in this conversation.
func (s *Service) MessageIn(ctx context.Context, v *models.Viewer, conversationID, id string) (*models.ConversationMessage, error) {
	m, err := s.Message(ctx, v, id)
	if err == nil && m.ConversationID != conversationID {
		return nil, models.NotFound("message", id)
	}
	return m, err
}

// add inserts messages one behind the other into a conversation that is locked,
// and makes their branch the active one.
func (s *Service) add(ctx context.Context, tx bun.IDB, c *models.Conversation, parent *models.ConversationMessage, rows []*models.ConversationMessage) error {
	at := now()
	if c.MessageCount+len(rows) > models.MaxConversationMessages {
		return models.Conflict("", "A conversation has at most %d messages. Begin another one.", models.MaxConversationMessages)
	}
	for _, m := range rows {
		if len(m.Body) > models.MaxMessageBytes {
			return models.Invalid("content", "A message must have at most %d bytes; got %d.", models.MaxMessageBytes, len(m.Body))
		}
		m.ID, m.ConversationID, m.CreatedAt, m.UpdatedAt = models.NewIDAfter(models.MessagePrefix, c.LastID), c.ID, at, at
		m.ParentID, m.Depth = nil, 0
		if parent != nil {
			m.ParentID, m.Depth = &parent.ID, parent.Depth+1
		}
		if m.Depth >= models.MaxConversationDepth {
			return models.Conflict("parent_id", "A branch has at most %d messages. Begin another conversation.", models.MaxConversationDepth)
		}
		c.LastID, parent = m.ID, m
		if m.Status == "" {
			m.Status = models.MessageCompleted
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return fmt.Errorf("insert messages: %w", err)
	}
	for _, m := range rows {
		if m.Status == models.MessageCompleted {
			if err := indexWords(ctx, tx, c, m.ID, m.Text()); err != nil {
				return err
			}
		}
		if m.Role == models.RoleMessageUser && c.Titled == models.TitledNot {
			if err := s.setTitle(ctx, tx, c, firstWords(m.Text()), models.TitledWords); err != nil {
				return err
			}
		}
		if err := tell(ctx, tx, c, models.ConversationMessageAdded, &m.ID); err != nil {
			return err
		}
	}
	c.LeafID, c.LastMessageAt, c.Activity = &parent.ID, &at, models.NewID("")
	c.MessageCount += len(rows)
	return nil
}

// parentOf is the message that a new one is to follow: the one that is named, or
// the leaf. A turn that came to nothing is left aside: its place is taken where it
// began. One that is still answered cannot be followed.
func parentOf(ctx context.Context, db bun.IDB, c *models.Conversation, named models.Omittable[*string], param string) (*models.ConversationMessage, error) {
	id, explicit := named.ValueOK()
	if !explicit {
		id = c.LeafID
	}
	if id == nil {
		return nil, nil //nolint:nilnil // the beginning
	}
	m, err := message(ctx, db, c.ID, *id, param)
	if err != nil {
		return nil, err
	}
	switch {
	case m.Status == models.MessageInProgress:
		return nil, models.Conflict(param, "The conversation '%s' is being answered. Wait for the end, or name another parent to branch from.", c.ID)
	case explicit || m.Role != models.RoleMessageAssistant || m.Status == models.MessageCompleted || !m.Empty():
		return m, nil
	case m.TurnParentID == nil:
		return nil, nil //nolint:nilnil // as above
	}
	return message(ctx, db, c.ID, *m.TurnParentID, param)
}

func open(c *models.Conversation) error {
	if c.Status == models.ConversationCompleted {
		return models.Conflict("", "The conversation '%s' has ended. Set its status to active to go on.", c.ID)
	}
	return nil
}

// Add adds a message without asking a model. Scope: conversations.
func (s *Service) Add(ctx context.Context, v *models.Viewer, in models.AddMessageInput) (*models.AddMessagePayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	row, err := rowOf(&in.Message)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, v, in.ConversationID, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		if err := open(c); err != nil {
			return err
		}
		parent, err := parentOf(ctx, tx, c, in.ParentID, "parent_id")
		if err != nil {
			return err
		}
		return s.add(ctx, tx, c, parent, []*models.ConversationMessage{row})
	})
	if err != nil {
		return nil, err
	}
	return &models.AddMessagePayload{Message: row}, nil
}

func rowOf(m *models.ChatMessage) (*models.ConversationMessage, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return &models.ConversationMessage{Role: m.Role, Body: body}, nil
}

// Edit says a message in another way, in a branch beside it. Scope: conversations.
func (s *Service) Edit(ctx context.Context, v *models.Viewer, in models.EditMessageInput) (*models.EditMessagePayload, error) {
	was, err := s.Message(ctx, v, in.MessageID)
	if err != nil {
		return nil, err
	}
	again := *was.Message()
	again.Content = &in.Content
	done, err := s.Add(ctx, v, models.AddMessageInput{
		ConversationID: was.ConversationID, ParentID: models.OmittableOf(was.ParentID), Message: again,
	})
	if err != nil {
		return nil, err
	}
	return &models.EditMessagePayload{Message: done.Message}, nil
}

// DeleteMessage deletes a message of one of the viewer's conversations. What
// followed it follows what was before it. What it cost stays counted. Scope:
// conversations.
func (s *Service) DeleteMessage(ctx context.Context, v *models.Viewer, id string) (*models.DeleteMessagePayload, error) {
	m, err := s.Message(ctx, v, id)
	if err != nil {
		return nil, err
	}
	c, err := s.change(ctx, v, m.ConversationID, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		if m, err = message(ctx, tx, c.ID, id, "id"); err != nil {
			return err
		}
		if m.Status == models.MessageInProgress {
			return models.Conflict("id", "The message '%s' is being answered. Wait for the end.", id)
		}
		for _, column := range []string{"parent_id", "turn_parent_id"} {
			_, err := tx.NewUpdate().Model((*models.ConversationMessage)(nil)).Set("? = ?", bun.Ident(column), m.ParentID).
				Where("conversation_id = ?", c.ID).Where("? = ?", bun.Ident(column), m.ID).Exec(ctx)
			if err != nil {
				return fmt.Errorf("lift messages: %w", err)
			}
		}
		if _, err := tx.NewDelete().Model(m).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("delete message: %w", err)
		}
		if err := forgetWords(ctx, tx, c.ID, m.ID); err != nil {
			return err
		}
		c.MessageCount--
		if c.LeafID != nil && *c.LeafID == m.ID {
			c.LeafID = m.ParentID
		}
		return tell(ctx, tx, c, models.ConversationMessageDeleted, &m.ID)
	})
	if err != nil {
		return nil, err
	}
	return &models.DeleteMessagePayload{DeletedMessageID: &id, Conversation: c}, nil
}

// Messages lists messages of one of the viewer's conversations. Scope:
// conversations.
func (s *Service) Messages(ctx context.Context, v *models.Viewer, id string, args models.MessagesArgs) (*models.ConversationMessageConnection, error) {
	c, err := s.Conversation(ctx, v, id)
	if err != nil {
		return nil, err
	}
	return s.MessagesOf(ctx, v, c, args)
}

// batchKey names equal pages of the conversations of a page.
type batchKey struct {
	page   models.Page
	branch models.MessageBranch
}

// MessagesOf lists messages of a conversation that the viewer has got. For those of
// a page of conversations they are read together.
func (s *Service) MessagesOf(ctx context.Context, v *models.Viewer, c *models.Conversation, args models.MessagesArgs) (*models.ConversationMessageConnection, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	branch := models.BranchActive
	if args.Branch != nil {
		branch = *args.Branch
	}
	choice := choose{branch: branch, page: page}
	if args.LeafID != nil {
		m, err := message(ctx, s.db.Read(), c.ID, *args.LeafID, "leaf_id")
		if err != nil {
			return nil, err
		}
		choice.leaf = m.ID
	}
	ids := []string{c.ID}
	load := func(ids []string) (any, error) {
		choice := choice
		choice.ids = ids
		return s.chosen(ctx, choice)
	}
	var found any
	if c.Batch != nil && choice.leaf == "" {
		found, err = c.Batch.Load(batchKey{page, branch}, load)
	} else {
		found, err = load(ids)
	}
	if err != nil {
		return nil, err
	}
	pages, _ := found.(map[string][]*models.ConversationMessage)
	rows := pages[c.ID]
	more := len(rows) > page.Limit
	if more {
		rows = rows[:page.Limit]
	}
	if page.Backward {
		rows = slices.Clone(rows)
		slices.Reverse(rows)
	}
	count := func(ctx context.Context) (int, error) {
		choice := choice
		choice.ids = ids
		return s.count(ctx, choice)
	}
	return models.NewConnection(page, rows, more, func(m *models.ConversationMessage) string { return m.ID }, count), nil
}
