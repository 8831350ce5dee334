package conversations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// lookBeat is the time between two looks for what other processes have changed.
	lookBeat = time.Second
	// lookSize is how many conversations are looked at in one statement.
	lookSize = 500
	// watchSize is how many events a watcher takes in one go.
	watchSize = 100
)

// tell writes down for watchers what happens to a conversation that is locked: so
// the numbers of its events have no gaps, and come in the order of the commits.
func tell(ctx context.Context, tx bun.IDB, c *models.Conversation, kind models.ConversationEventType, messageID *string) error {
	c.Revision++
	e := &models.ConversationEvent{ConversationID: c.ID, Revision: c.Revision, Type: kind, MessageID: messageID, CreatedAt: now()}
	if _, err := tx.NewInsert().Model(e).Exec(ctx); err != nil {
		return fmt.Errorf("log change: %w", err)
	}
	return nil
}

// Watch gives the events of a conversation as they happen. It is for one goroutine.
type Watch struct {
	s      *Service
	ctx    context.Context
	viewer *models.Viewer
	id     string
	seen   int64 // the revision of the last event
	woken  chan struct{}
	ready  []*models.ConversationEvent
	done   bool
}

// Watch begins to watch one of the viewer's conversations: changes of this process
// are seen at once, those of others within a second. The look-out is one statement
// a second for all watchers of the process. Scope: conversations.
func (s *Service) Watch(ctx context.Context, v *models.Viewer, id string) (*Watch, error) {
	w := &Watch{s: s, ctx: ctx, viewer: v, id: id, woken: make(chan struct{}, 1)}
	s.mu.Lock()
	if s.watchers[id] == nil {
		s.watchers[id] = map[*Watch]struct{}{}
	}
	s.watchers[id][w] = struct{}{}
	s.mu.Unlock()
	c, err := s.Conversation(ctx, v, id)
	if err != nil {
		_ = w.Close()
		return nil, err
	}
	w.seen = c.Revision
	return w, nil
}

// Next waits for the next event. It gives io.EOF after the conversation's end, and
// when the watcher's context has ended.
func (w *Watch) Next() (*models.ConversationEvent, error) {
	for len(w.ready) == 0 {
		if w.done {
			return nil, io.EOF
		}
		if err := w.read(); err != nil {
			return nil, err
		}
		if len(w.ready) > 0 {
			break
		}
		select {
		case <-w.woken:
		case <-w.ctx.Done():
			return nil, io.EOF
		case <-w.s.ctx.Done():
			return nil, io.EOF
		}
	}
	e := w.ready[0]
	w.ready = w.ready[1:]
	w.done = w.done || e.Type == models.ConversationDeleted
	return e, nil
}

// Poll is [Watch.Next] when an event is there, else it gives nothing.
func (w *Watch) Poll() (*models.ConversationEvent, error) {
	if len(w.ready) == 0 {
		return nil, nil //nolint:nilnil // nothing yet, and nothing wrong
	}
	return w.Next()
}

// Close ends the watch.
func (w *Watch) Close() error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	delete(w.s.watchers[w.id], w)
	if len(w.s.watchers[w.id]) == 0 {
		delete(w.s.watchers, w.id)
	}
	return nil
}

// read takes the events since the last, with what they are about as it is now.
func (w *Watch) read() error {
	var list []*models.ConversationEvent
	db := w.s.db.Read()
	err := db.NewSelect().Model(&list).Where("cl.conversation_id = ?", w.id).Where("cl.revision > ?", w.seen).
		OrderExpr("cl.revision").Limit(watchSize).Scan(w.ctx)
	switch {
	case w.ctx.Err() != nil:
		return nil //nolint:nilerr // nobody watches any more
	case err != nil:
		return fmt.Errorf("read changes: %w", err)
	case len(list) == 0:
		return nil
	}
	w.seen = list[len(list)-1].Revision
	c, err := w.s.load(w.ctx, db, w.viewer, w.id, false)
	if err != nil {
		if e := new(models.Error); !errors.As(err, &e) {
			return err
		}
		c = nil
	}
	messages := map[string]*models.ConversationMessage{}
	for _, e := range list {
		e.Conversation = c
		if e.MessageID == nil || c == nil {
			continue
		}
		m, ok := messages[*e.MessageID]
		if !ok {
			m = new(models.ConversationMessage)
			err := db.NewSelect().Model(m).Where("cm.id = ?", *e.MessageID).Scan(w.ctx)
			if errors.Is(err, sql.ErrNoRows) {
				m, err = nil, nil
			}
			if err != nil {
				return fmt.Errorf("load message: %w", err)
			}
			messages[*e.MessageID] = m
		}
		e.Message = m
	}
	w.ready = list
	return nil
}

// wake tells the watchers of a conversation to look.
func (s *Service) wake(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers[id] {
		select {
		case w.woken <- struct{}{}:
		default: // it is to look already
		}
	}
}

// look wakes the watchers of conversations that have changed, here or elsewhere.
func (s *Service) look() {
	s.mu.Lock()
	ids := make([]string, 0, len(s.watchers))
	for id := range s.watchers {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, noteTimeout)
	defer cancel()
	if s.revisions == nil || len(ids) == 0 {
		s.revisions = map[string]int64{}
	}
	for chunk := range slices.Chunk(ids, lookSize) {
		var rows []struct {
			ID       string
			Revision int64
		}
		err := s.db.Read().NewSelect().Model((*models.Conversation)(nil)).Column("id", "revision").Where("cv.id IN (?)", bun.List(chunk)).Scan(ctx, &rows)
		if err != nil {
			if s.ctx.Err() == nil {
				s.log.Warn().Err(err).Msg("conversations that are watched were not looked at")
			}
			return
		}
		for _, r := range rows {
			if was, ok := s.revisions[r.ID]; !ok || was != r.Revision {
				s.revisions[r.ID] = r.Revision
				s.wake(r.ID)
			}
		}
	}
}
