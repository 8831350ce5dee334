package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// List reads a page of a table, ordered by a column of unique text. Rows that
// are added or deleted meanwhile neither repeat nor hide others, unless the page
// is found by an offset. id gives a row's value of the column; filter, which may
// be nil, narrows the list and its total count.
//
// The count is a query of its own, made on db when somebody asks for it.
func List[T any](
	ctx context.Context, db bun.IDB, p models.Page, column string, id func(*T) string,
	filter func(*bun.SelectQuery) *bun.SelectQuery,
) (*models.Connection[T], error) {
	if filter == nil {
		filter = func(q *bun.SelectQuery) *bun.SelectQuery { return q }
	}
	if p.Limit < 1 {
		p.Limit = models.DefaultPageSize
	}
	rows := []*T{}
	q := filter(db.NewSelect().Model(&rows))
	// Backward reads from the far end of the page.
	descending := p.Descending != p.Backward
	if p.Key != "" {
		q = q.Where("?TableAlias.? "+after(descending)+" ?", bun.Ident(column), p.Key)
	}
	q = q.OrderExpr("?TableAlias.? "+direction(descending), bun.Ident(column))
	q = q.Limit(int64(p.Limit) + 1) // one more tells whether the list goes on
	if p.Offset > 0 {
		q = q.Offset(int64(p.Offset))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list rows: %w", err)
	}
	more := len(rows) > p.Limit
	if more {
		rows = rows[:p.Limit]
	}
	if p.Backward {
		slices.Reverse(rows)
	}
	count := func(ctx context.Context) (int, error) {
		n, err := filter(db.NewSelect().Model((*T)(nil))).Count(ctx)
		if err != nil {
			return 0, fmt.Errorf("count rows: %w", err)
		}
		return int(n), nil
	}
	return models.NewConnection(p, rows, more, id, count), nil
}

func after(descending bool) string {
	if descending {
		return "<"
	}
	return ">"
}

func direction(descending bool) string {
	if descending {
		return "DESC"
	}
	return "ASC"
}
