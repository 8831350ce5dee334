package conversations

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// choose says which messages of which conversations are wanted.
type choose struct {
	ids    []string // of the conversations
	leaf   string   // of one conversation: the branch that ends there
	branch models.MessageBranch
	page   models.Page
}

// source is the SQL of the ids that are chosen, before they are cut into a page.
// A branch is followed from its leaf upwards by the primary key: it costs as many
// look-ups as it is read long. The newest messages, which are what is nearly always
// asked for, are the first on that way.
func (c choose) source() (query string, args []any) {
	if c.branch == models.BranchAll && c.leaf == "" {
		return "WITH path AS (SELECT id, conversation_id FROM conversation_messages WHERE conversation_id IN (?))", []any{bun.List(c.ids)}
	}
	deepest := models.MaxConversationDepth + 1
	if c.page.Key == "" && c.page.Limit > 0 && c.page.Descending != c.page.Backward {
		deepest = min(deepest, c.page.Offset+c.page.Limit+1)
	}
	start := "JOIN conversations cv ON cm.id = cv.leaf_id WHERE cv.id IN (?)"
	if args = []any{bun.List(c.ids), deepest}; c.leaf != "" {
		start = "WHERE cm.id = ?"
		args[0] = c.leaf
	}
	return `WITH RECURSIVE path (id, parent_id, conversation_id, n) AS (
		SELECT cm.id, cm.parent_id, cm.conversation_id, 1 FROM conversation_messages cm ` + start + `
		UNION ALL
		SELECT cm.id, cm.parent_id, cm.conversation_id, p.n + 1 FROM path p JOIN conversation_messages cm ON cm.id = p.parent_id WHERE p.n < ?
	)`, args
}

// chosen reads a page of each conversation in one statement, with a row more where
// the list goes on. Ids sort by the order in which messages were added.
func (s *Service) chosen(ctx context.Context, c choose) (map[string][]*models.ConversationMessage, error) {
	query, args := c.source()
	direction, after := "ASC", ">"
	if c.page.Descending != c.page.Backward {
		direction, after = "DESC", "<"
	}
	where := ""
	if c.page.Key != "" {
		where = " WHERE id " + after + " ?"
		args = append(args, c.page.Key)
	}
	query += `, numbered AS (SELECT id, row_number() OVER (PARTITION BY conversation_id ORDER BY id ` + direction + `) AS place FROM path` + where + `)
		SELECT cm.* FROM numbered JOIN conversation_messages cm ON cm.id = numbered.id WHERE place > ? AND place <= ? ORDER BY cm.id ` + direction
	args = append(args, c.page.Offset, c.page.Offset+c.page.Limit+1)
	var rows []*models.ConversationMessage
	if err := s.db.Read().NewRaw(query, args...).Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	pages := map[string][]*models.ConversationMessage{}
	for _, m := range rows {
		pages[m.ConversationID] = append(pages[m.ConversationID], m)
	}
	return pages, nil
}

func (s *Service) count(ctx context.Context, c choose) (n int, err error) {
	c.page = models.Page{}
	query, args := c.source()
	if err := s.db.Read().NewRaw(query+" SELECT count(*) FROM path", args...).Scan(ctx, &n); err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	return n, nil
}

// branch reads a whole branch, the oldest first. One that is too long for a model's
// request is not read.
func branch(ctx context.Context, db bun.IDB, leaf *models.ConversationMessage) ([]*models.ConversationMessage, error) {
	if leaf == nil {
		return nil, nil
	}
	var rows []*models.ConversationMessage
	err := db.NewRaw(`WITH RECURSIVE path (id, parent_id, n, total) AS (
		SELECT id, parent_id, 1, size FROM conversation_messages WHERE id = ?
		UNION ALL
		SELECT cm.id, cm.parent_id, p.n + 1, p.total + cm.size FROM path p JOIN conversation_messages cm ON cm.id = p.parent_id
		WHERE p.n <= ? AND p.total <= ?
	) SELECT cm.* FROM path JOIN conversation_messages cm ON cm.id = path.id ORDER BY cm.id`,
		leaf.ID, models.MaxConversationDepth, models.MaxTranscriptBytes).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("follow messages: %w", err)
	}
	total := int64(0)
	for _, m := range rows {
		total += m.Size
	}
	if total > models.MaxTranscriptBytes || len(rows) > models.MaxConversationDepth {
		return nil, models.Invalid("conversation_id", "The branch has more than %d bytes or %d messages. Begin another conversation, or branch from an earlier message.",
			models.MaxTranscriptBytes, models.MaxConversationDepth)
	}
	return rows, nil
}
