package conversations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/sjson"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// leaseTTL is how long an answer belongs to its process without a sign of life.
	leaseTTL = 15 * time.Second
	// noteBeat is the time between two notes of what answers have become so far;
	// leaseBeat that between two signs of life of one that stands still.
	noteBeat  = time.Second
	leaseBeat = 4 * time.Second
	// noteTimeout bounds the transaction of the notes.
	noteTimeout = 5 * time.Second
)

// Turn is a turn in a conversation: what is said, and the answer while a model is at
// work on it. But for the notes of the background it is for one goroutine.
type Turn struct {
	// History are the messages of the branch that the turn follows, the system prompt
	// before them, in the shape of chat completions.
	History []models.JSON
	// Model is the conversation's own; empty when it has none.
	Model string

	s        *Service
	viewer   *models.Viewer
	id       string // of the conversation
	parent   *models.ConversationMessage
	leaf     *string // that was found, unless a parent was named
	explicit bool
	first    bool // nobody has answered in the branch before

	row *models.ConversationMessage // the answer; nil until the turn is open

	mu     sync.Mutex // against the notes
	answer answer
	usage  string // the id of the running attempt's record
	dirty  bool
	noted  time.Time
	ended  bool
}

// Turn prepares a turn: it finds the branch that the turn follows, and reads it.
// Without a parent that is the active one, and nobody else may be at a turn there:
// that is a conflict, as it is in a conversation that has ended. A named parent
// branches, whatever goes on elsewhere. Nothing is written yet. Scope:
// conversations.
func (s *Service) Turn(ctx context.Context, v *models.Viewer, id string, parent models.Omittable[*string]) (*Turn, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	c, err := s.load(ctx, s.db.Read(), v, id, false)
	if err != nil {
		var e *models.Error
		if errors.As(err, &e) {
			e.Param = "conversation_id"
		}
		return nil, err
	}
	if err := open(c); err != nil {
		return nil, err
	}
	t := &Turn{s: s, viewer: v, id: id, leaf: c.LeafID, explicit: parent.IsSet(), first: true}
	if c.Model != nil {
		t.Model = *c.Model
	}
	if t.parent, err = parentOf(ctx, s.db.Read(), c, parent, "parent_message_id"); err != nil {
		return nil, err
	}
	rows, err := branch(ctx, s.db.Read(), t.parent)
	if err != nil {
		return nil, err
	}
	if c.SystemPrompt != nil && *c.SystemPrompt != "" {
		prompt, err := rowOf(&models.ChatMessage{Role: models.RoleMessageSystem, Content: models.TextContent(*c.SystemPrompt)})
		if err != nil {
			return nil, err
		}
		t.History = append(t.History, prompt.Body)
	}
	for _, m := range rows {
		if m.Role == models.RoleMessageAssistant {
			if m.Empty() {
				continue // a turn that came to nothing
			}
			t.first = false
		}
		body := m.Body
		if m.ReasoningContent() != nil { // upstreams refuse to be told their own thoughts
			if body, err = sjson.DeleteBytes(slices.Clone(body), "reasoning_content"); err != nil {
				return nil, fmt.Errorf("read message: %w", err)
			}
		}
		t.History = append(t.History, body)
	}
	return t, nil
}

// Open writes down what was said, and the answer as in progress, before a model is
// asked. messages are in the shape of chat completions; with none the parent is
// answered once more.
func (t *Turn) Open(ctx context.Context, messages []models.JSON, model string) error {
	lease := now().Add(leaseTTL)
	rows := make([]*models.ConversationMessage, 0, len(messages)+1)
	for _, body := range messages {
		m := &models.ConversationMessage{Body: body}
		m.Role = m.Message().Role
		rows = append(rows, m)
	}
	if len(rows) == 0 && t.parent == nil {
		return models.Missing("messages")
	}
	t.row = &models.ConversationMessage{
		Role: models.RoleMessageAssistant, Body: t.answer.body(), Status: models.MessageInProgress, Model: &model, LeaseUntil: &lease,
	}
	if t.parent != nil {
		t.row.TurnParentID = &t.parent.ID
	}
	rows = append(rows, t.row)
	_, err := t.s.change(ctx, t.viewer, t.id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		if err := open(c); err != nil {
			return err
		}
		if !t.explicit && !same(c.LeafID, t.leaf) {
			return models.Conflict("conversation_id", "The conversation '%s' was added to meanwhile. Try again, or name a parent to branch from.", t.id)
		}
		return t.s.add(ctx, tx, c, t.parent, rows)
	})
	if err != nil {
		t.row = nil
		return err
	}
	t.noted = time.Now()
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.turns[t] = struct{}{}
	return nil
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// AnswerID is the id of the stored answer.
func (t *Turn) AnswerID() string { return t.row.ID }

// Attempt says which usage record the running attempt has.
func (t *Turn) Attempt(usageID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.usage, t.dirty = usageID, true
}

// Read takes a chunk of the answer, or the whole of it.
func (t *Turn) Read(raw []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer.read(raw)
	t.dirty = true
}

// End writes down how the answer has ended, what it used, and the code of its
// failure. It counts once.
func (t *Turn) End(ctx context.Context, status models.MessageStatus, u *models.Usage, code string) error {
	t.mu.Lock()
	over := t.ended || t.row == nil
	t.ended = true
	t.mu.Unlock()
	if over {
		return nil
	}
	t.s.mu.Lock()
	delete(t.s.turns, t)
	t.s.mu.Unlock()
	m := t.row
	m.Body, m.Status, m.ErrorCode = t.answer.body(), status, code
	m.Size = int64(len(m.Body))
	if f := models.FinishReason(t.answer.finish); f != "" && status == models.MessageCompleted {
		m.FinishReason = &f
	}
	if u != nil && u.TotalTokens > 0 {
		m.Usage = u
	}
	_, err := t.s.change(ctx, t.viewer, t.id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		return t.s.conclude(ctx, tx, c, m)
	})
	var e *models.Error
	if errors.As(err, &e) && e.Kind == models.KindNotFound {
		return nil // it was deleted meanwhile
	}
	return err
}

// conclude writes the end of an answer into a conversation that is locked.
func (s *Service) conclude(ctx context.Context, tx bun.IDB, c *models.Conversation, m *models.ConversationMessage) error {
	m.LeaseUntil, m.UpdatedAt = nil, now()
	if m.Status != models.MessageInterrupted || m.Usage != nil {
		m.UsageID = "" // else the record is looked at later
	}
	res, err := tx.NewUpdate().Model(m).WherePK().
		Column("body", "size", "status", "finish_reason", "error_code", "usage", "updated_at", "lease_until", "usage_id").Exec(ctx)
	if err != nil {
		return fmt.Errorf("end message: %w", err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return nil // it was deleted meanwhile
	}
	charge(c, m.Usage)
	if err := forgetWords(ctx, tx, c.ID, m.ID); err != nil {
		return err
	}
	fresh := models.ConversationMessage{Body: m.Body}
	if err := indexWords(ctx, tx, c, m.ID, fresh.Text()); err != nil {
		return err
	}
	return tell(ctx, tx, c, models.ConversationMessageCompleted, &m.ID)
}

func charge(c *models.Conversation, u *models.Usage) {
	if u == nil {
		return
	}
	c.PromptTokens += u.PromptTokens
	c.CompletionTokens += u.CompletionTokens
	if u.Cost != nil {
		c.Cost += *u.Cost
	}
}

// Untitled says whether the conversation may get a title from a model: it is the
// first answer.
func (t *Turn) Untitled() bool { return t.first }

// ConversationID is the conversation's id.
func (t *Turn) ConversationID() string { return t.id }

// Answered is the text of the answer.
func (t *Turn) Answered() string { return t.answer.content.String() }

// note writes down what running answers have become, in one transaction, so that it
// is kept when this process dies.
func (s *Service) note() {
	type entry struct {
		id, usage string
		body      models.JSON // nil: only a sign of life
	}
	s.mu.Lock()
	running := make([]*Turn, 0, len(s.turns))
	for t := range s.turns {
		running = append(running, t)
	}
	s.mu.Unlock()
	var list []entry
	at := time.Now()
	for _, t := range running {
		t.mu.Lock()
		switch {
		case t.ended:
		case t.dirty:
			list = append(list, entry{t.row.ID, t.usage, t.answer.body()})
			t.dirty, t.noted = false, at
		case at.Sub(t.noted) >= leaseBeat:
			list = append(list, entry{t.row.ID, t.usage, nil})
			t.noted = at
		}
		t.mu.Unlock()
	}
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b entry) int { // in one order, or two processes lock each other out
		if a.id < b.id {
			return -1
		}
		return 1
	})
	ctx, cancel := context.WithTimeout(s.ctx, noteTimeout)
	defer cancel()
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, e := range list {
			q := tx.NewUpdate().Model((*models.ConversationMessage)(nil)).Set("lease_until = ?", now().Add(leaseTTL)).
				Set("usage_id = ?", e.usage).Where("id = ?", e.id).Where("status = ?", models.MessageInProgress)
			if e.body != nil {
				q = q.Set("body = ?", []byte(e.body)).Set("size = ?", len(e.body))
			}
			if _, err := q.Exec(ctx); err != nil {
				return fmt.Errorf("note answers: %w", err)
			}
		}
		return nil
	})
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn().Err(err).Msg("what answers have become so far was not saved")
	}
}
