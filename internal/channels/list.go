package channels

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Channels lists the channels, in the order of their creation where by is nil.
// Admins only.
func (r *Registry) Channels(
	ctx context.Context, v *models.Viewer, args models.PageArgs, filter *models.ChannelFilter, by *models.ChannelOrderField,
) (*models.Connection[models.Channel], error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if err := filter.Validate(); err != nil {
		return nil, err
	}
	narrow := func(q *bun.SelectQuery) *bun.SelectQuery { return r.filter(q, filter) }
	var list *models.Connection[models.Channel]
	if by == nil || *by == models.ChannelsByCreation {
		list, err = storage.List(ctx, r.db.Read(), page, "id", channelID, narrow)
	} else if err = by.Validate(); err == nil {
		list, err = r.sortedPage(ctx, page, *by, narrow)
	}
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	for _, c := range list.Nodes() {
		r.fillHealth(c)
	}
	return list, nil
}

func channelID(c *models.Channel) string { return c.ID }

// sortedPage cuts a page out of the channels in another order than that of their
// ids. There are few enough of them to sort them here.
func (r *Registry) sortedPage(
	ctx context.Context, p models.Page, by models.ChannelOrderField, narrow func(*bun.SelectQuery) *bun.SelectQuery,
) (*models.Connection[models.Channel], error) {
	var all []*models.Channel
	if err := narrow(r.db.Read().NewSelect().Model(&all).Column("id", "name", "priority")).Scan(ctx); err != nil {
		return nil, fmt.Errorf("read the order: %w", err)
	}
	slices.SortFunc(all, func(a, b *models.Channel) int {
		n := cmp.Compare(a.ID, b.ID)
		if by == models.ChannelsByName {
			n = cmp.Or(strings.Compare(a.Name, b.Name), n)
		} else {
			n = cmp.Or(cmp.Compare(a.Priority, b.Priority), n)
		}
		if p.Descending {
			return -n
		}
		return n
	})
	total := len(all)
	cut, more, err := cutPage(all, p)
	if err != nil {
		return nil, err
	}
	rows, err := r.inOrder(ctx, cut)
	if err != nil {
		return nil, err
	}
	return models.NewConnection(p, rows, more, channelID, func(context.Context) (int, error) { return total, nil }), nil
}

// cutPage finds the page's rows in a sorted list.
func cutPage(all []*models.Channel, p models.Page) (page []*models.Channel, more bool, err error) {
	at := -1
	if p.Key != "" {
		if at = slices.IndexFunc(all, func(c *models.Channel) bool { return c.ID == p.Key }); at < 0 {
			param := "after"
			if p.Backward {
				param = "before"
			}
			return nil, false, models.Invalid(param, "The channel of the cursor in '%s' is not in the list any more.", param)
		}
	}
	if p.Backward {
		if at >= 0 {
			all = all[:at]
		}
		if len(all) > p.Limit {
			return all[len(all)-p.Limit:], true, nil
		}
		return all, false, nil
	}
	all = all[min(max(at+1, p.Offset), len(all)):]
	if len(all) > p.Limit {
		return all[:p.Limit], true, nil
	}
	return all, false, nil
}

// inOrder reads channels whole. One that was deleted meanwhile is left out.
func (r *Registry) inOrder(ctx context.Context, short []*models.Channel) ([]*models.Channel, error) {
	ids := make([]string, len(short))
	for i, c := range short {
		ids[i] = c.ID
	}
	by, err := byIDs(ctx, r.db.Read(), ids, false)
	if err != nil {
		return nil, err
	}
	rows := make([]*models.Channel, 0, len(ids))
	for _, id := range ids {
		if c := by[id]; c != nil {
			rows = append(rows, c)
		}
	}
	return rows, nil
}

// byIDs reads channels; those that do not exist are absent.
func byIDs(ctx context.Context, db bun.IDB, ids []string, lock bool) (map[string]*models.Channel, error) {
	by := map[string]*models.Channel{}
	if len(ids) == 0 {
		return by, nil
	}
	var rows []*models.Channel
	q := db.NewSelect().Model(&rows).Where("id IN (?)", bun.List(ids)).Order("id") // locked in one order
	if lock {
		q = q.For("UPDATE")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("read channels: %w", err)
	}
	for _, c := range rows {
		by[c.ID] = c
	}
	return by, nil
}

func (r *Registry) filter(q *bun.SelectQuery, f *models.ChannelFilter) *bun.SelectQuery {
	if f == nil {
		return q
	}
	if f.Type != nil {
		q = q.Where("c.type = ?", *f.Type)
	}
	for _, l := range []struct {
		column string
		has    *string
	}{{"models", f.Model}, {"tags", f.Tag}, {"user_groups", f.Group}} {
		switch {
		case l.has == nil:
		case r.db.Dialect() == storage.Postgres:
			q = q.Where("c.? @> ?::jsonb", bun.Ident(l.column), []string{*l.has})
		default:
			q = q.Where("EXISTS (SELECT 1 FROM json_each(c.?) WHERE json_each.value = ?)", bun.Ident(l.column), *l.has)
		}
	}
	if f.Q != nil {
		pattern := "%" + likeEscaper.Replace(strings.ToLower(*f.Q)) + "%"
		q = q.Where(`(lower(c.name) LIKE ?0 ESCAPE '!' OR lower(c.base_url) LIKE ?0 ESCAPE '!' OR c.id = ?1)`, pattern, *f.Q)
	}
	return r.filterStatus(q, f.Status)
}

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_") //nolint:gochecknoglobals // a constant table

// filterStatus narrows by what admins decided, and what this process has seen.
func (r *Registry) filterStatus(q *bun.SelectQuery, s *models.ChannelStatus) *bun.SelectQuery {
	if s == nil {
		return q
	}
	q = q.Where("c.enabled = ?", *s != models.ChannelDisabled)
	if *s == models.ChannelDisabled {
		return q
	}
	unhealthy := []string{""} // no channel has this id, and an empty list is none in SQL
	for id, u := range r.snap.Load().byID {
		if u.broken != "" || u.health.report().State == models.HealthUnhealthy {
			unhealthy = append(unhealthy, id)
		}
	}
	if *s == models.ChannelUnhealthy {
		return q.Where("c.id IN (?)", bun.List(unhealthy))
	}
	return q.Where("c.id NOT IN (?)", bun.List(unhealthy))
}
