package conversations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Conversations lists the viewer's conversations, or finds those that hold the
// filter's words. Scope: conversations.
func (s *Service) Conversations(
	ctx context.Context, v *models.Viewer, args models.PageArgs, order *models.ConversationOrder, filter *models.ConversationFilter,
) (*models.ConversationConnection, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if err := errors.Join(order.Validate(), filter.Validate()); err != nil {
		return nil, err
	}
	column := "id"
	if order != nil {
		args.Order = order.Direction
		if order.Field != nil && *order.Field == models.ConversationsByActivity {
			column = "activity"
		}
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if filter != nil && filter.Search != nil && strings.TrimSpace(*filter.Search) != "" {
		return s.search(ctx, v, page, filter)
	}
	key := func(c *models.Conversation) string { return c.ID }
	if column == "activity" {
		key = func(c *models.Conversation) string { return c.Activity }
		if page.Key, err = s.activity(ctx, v, page.Key); err != nil {
			return nil, err
		}
	}
	list, err := storage.List(ctx, s.db.Read(), page, column, key, narrowed(v, filter))
	if err != nil {
		return nil, fmt.Errorf("list conversations: %w", err)
	}
	batch(list.Nodes())
	return list, nil
}

// narrowed are the viewer's conversations that the filter lets through.
func narrowed(v *models.Viewer, f *models.ConversationFilter) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Apply(owned(v))
		if f == nil {
			return q
		}
		if f.Status != nil {
			q = q.Where("cv.status = ?", *f.Status)
		}
		if f.Model != nil {
			q = q.Where("cv.model = ?", *f.Model)
		}
		for name, value := range f.Metadata {
			q = q.Where("cv.id IN (SELECT conversation_id FROM conversation_metadata WHERE user_id = ? AND name = ? AND value = ?)", v.UserID, name, value)
		}
		return q
	}
}

// activity is the key in the list by activity of the conversation with this id: a
// client may page by ids there too.
func (s *Service) activity(ctx context.Context, v *models.Viewer, key string) (string, error) {
	if !strings.HasPrefix(key, models.ConversationPrefix) {
		return key, nil
	}
	var found string
	err := s.db.Read().NewSelect().Model((*models.Conversation)(nil)).Column("activity").
		Where("cv.user_id = ?", v.UserID).Where("cv.id = ?", key).Scan(ctx, &found)
	if errors.Is(err, sql.ErrNoRows) {
		return "", models.NotFound("conversation", key)
	}
	if err != nil {
		return "", fmt.Errorf("find conversation: %w", err)
	}
	return found, nil
}

// batch lets the conversations of a page load their messages together.
func batch(rows []*models.Conversation) {
	b := &models.Batch{IDs: make([]string, len(rows))}
	for i, c := range rows {
		b.IDs[i], c.Batch = c.ID, b
	}
}
