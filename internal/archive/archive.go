// Package archive keeps the responses that clients may follow or read again.
package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Limits of a chain of responses that follow one another.
const (
	MaxDepth = 1000
	MaxSize  = 20 << 20 // bytes of all input and output
)

// maxOwners is how many responses one request may refer to items of.
const maxOwners = 100

const purgeSize = 500

// Archive keeps responses in the database. It is safe for concurrent use.
type Archive struct{ db *storage.DB }

// New makes an archive over the database.
func New(db *storage.DB) *Archive { return &Archive{db: db} }

// owned narrows a query of responses to the viewer's that are not past their time.
func owned(v *models.Viewer) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("rs.user_id = ?", v.UserID).Where("rs.expires_at > ?", time.Now().UTC())
	}
}

// Keep stores a response for [models.ResponseRetention].
func (a *Archive) Keep(ctx context.Context, r *models.Response) error {
	r.ExpiresAt = r.CreatedAt.Add(models.ResponseRetention)
	if _, err := a.db.Write().NewInsert().Model(r).Exec(ctx); err != nil {
		return fmt.Errorf("insert response: %w", err)
	}
	return nil
}

// Response is one of the viewer's responses. One that is deleted, expired, or
// somebody else's is not found.
func (a *Archive) Response(ctx context.Context, v *models.Viewer, id string) (*models.Response, error) {
	r := new(models.Response)
	if !storage.StorableID(id) {
		return nil, models.NotFound("response", id)
	}
	err := a.db.Read().NewSelect().Model(r).Apply(owned(v)).Where("rs.id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("response", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load response: %w", err)
	}
	return r, nil
}

// Delete removes one of the viewer's responses.
func (a *Archive) Delete(ctx context.Context, v *models.Viewer, id string) error {
	if !storage.StorableID(id) {
		return models.NotFound("response", id)
	}
	res, err := a.db.Write().NewDelete().Model((*models.Response)(nil)).
		Where("id = ?", id).Where("user_id = ?", v.UserID).Where("expires_at > ?", time.Now().UTC()).Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete response: %w", err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return models.NotFound("response", id)
	}
	return nil
}

// Owners are those of the viewer's responses that are among the ids, of which
// it looks at the first hundred.
func (a *Archive) Owners(ctx context.Context, v *models.Viewer, ids []string) ([]*models.Response, error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !storage.StorableID(id) })
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []*models.Response
	err := a.db.Read().NewSelect().Model(&rows).Apply(owned(v)).
		Where("rs.id IN (?)", bun.List(ids[:min(len(ids), maxOwners)])).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("load responses: %w", err)
	}
	return rows, nil
}

// link is a response's place in a chain.
type link struct {
	ID         string
	PreviousID *string
	Depth      int
	Total      int64
}

// Chain is the viewer's response and all that it follows, the oldest first. A
// link that is deleted or expired breaks the chain: it is not found. A chain
// beyond [MaxDepth] or [MaxSize] is invalid.
func (a *Archive) Chain(ctx context.Context, v *models.Viewer, id string) ([]*models.Response, error) {
	const param = "previous_response_id"
	if !storage.StorableID(id) {
		return nil, absent(id)
	}
	var links []link
	now := time.Now().UTC()
	// The sizes are added up on the way, so that a chain that is too large is not read.
	err := a.db.Read().NewRaw(`WITH RECURSIVE chain (id, previous_id, depth, total) AS (
		SELECT id, previous_id, 1, size FROM responses WHERE id = ? AND user_id = ? AND expires_at > ?
		UNION ALL
		SELECT r.id, r.previous_id, c.depth + 1, c.total + r.size FROM responses r JOIN chain c ON r.id = c.previous_id
		WHERE r.user_id = ? AND r.expires_at > ? AND c.depth <= ? AND c.total <= ?
	) SELECT id, previous_id, depth, total FROM chain ORDER BY depth`,
		id, v.UserID, now, v.UserID, now, MaxDepth, MaxSize).Scan(ctx, &links)
	if err != nil {
		return nil, fmt.Errorf("follow responses: %w", err)
	}
	if len(links) == 0 {
		return nil, absent(id)
	}
	switch last := links[len(links)-1]; {
	case last.Depth > MaxDepth:
		return nil, models.Invalid(param, "The chain of '%s' has more than %d responses. Begin a new one with the items that still matter.", param, MaxDepth)
	case last.Total > MaxSize:
		return nil, models.Invalid(param, "The chain of '%s' has more than %d bytes. Begin a new one with the items that still matter.", param, MaxSize)
	case last.PreviousID != nil:
		return nil, absent(*last.PreviousID)
	}
	ids := make([]string, len(links))
	place := make(map[string]int, len(links))
	for i, l := range links {
		ids[i] = l.ID
		place[l.ID] = len(links) - 1 - i
	}
	var rows []*models.Response
	if err := a.db.Read().NewSelect().Model(&rows).Apply(owned(v)).Where("rs.id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("load responses: %w", err)
	}
	if len(rows) != len(links) { // one was deleted just now
		return nil, absent(id)
	}
	slices.SortFunc(rows, func(x, y *models.Response) int { return place[x.ID] - place[y.ID] })
	return rows, nil
}

// absent reports a response that cannot be followed.
func absent(id string) error {
	e := models.NotFound("response", id)
	e.Param = "previous_response_id"
	e.Message = strings.Replace(e.Message, "No response", "Previous response not found: no response", 1)
	return e
}

// Purge deletes the responses whose time was over by now, and says how many.
func (a *Archive) Purge(ctx context.Context, now time.Time) (int, error) {
	total := 0
	for {
		old := a.db.Write().NewSelect().Model((*models.Response)(nil)).Column("id").Where("expires_at < ?", now.UTC()).Limit(purgeSize)
		res, err := a.db.Write().NewDelete().Model((*models.Response)(nil)).Where("id IN (?)", old).Exec(ctx)
		if err != nil {
			return total, fmt.Errorf("delete expired responses: %w", err)
		}
		n, err := res.RowsAffected()
		total += int(n)
		if err != nil || n < purgeSize {
			return total, err //nolint:wrapcheck // a driver that cannot count
		}
	}
}
