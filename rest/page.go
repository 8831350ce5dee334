package rest

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/coaidev/coai/models"
)

const maxOffset = 1_000_000

// pageQuery are the paging parameters of lists: OpenAI's limit, after, before
// and order, and offset.
type pageQuery struct {
	limit  int
	given  bool // any of them was
	offset int
	after  string
	before string
	order  *models.OrderDirection
}

func parsePage(q url.Values) (pageQuery, error) {
	p := pageQuery{limit: models.DefaultPageSize, after: q.Get("after"), before: q.Get("before")}
	for _, name := range []string{"limit", "offset", "after", "before"} {
		p.given = p.given || q.Get(name) != ""
	}
	var err error
	if p.limit, err = intParam(q, "limit", models.DefaultPageSize, 1, models.MaxPageSize); err != nil {
		return p, err
	}
	if p.offset, err = intParam(q, "offset", 0, 0, maxOffset); err != nil {
		return p, err
	}
	switch {
	case p.after != "" && p.before != "":
		return p, models.Invalid("before", "Give either 'after' or 'before', not both.")
	case q.Get("offset") != "" && p.after+p.before != "":
		return p, models.Invalid("offset", "'offset' goes with neither 'after' nor 'before'.")
	}
	for _, c := range []struct{ name, id string }{{"after", p.after}, {"before", p.before}} {
		if !validCursor(c.id) {
			return p, models.Invalid(c.name, "'%s' must be the id of an object in the list.", c.name)
		}
	}
	switch o := models.OrderDirection(q.Get("order")); o {
	case "":
	case models.OrderAsc, models.OrderDesc:
		p.order = &o
	default:
		return p, models.Invalid("order", "'order' must be asc or desc.")
	}
	return p, nil
}

// validCursor holds for the ids and names that the API gives out.
func validCursor(id string) bool {
	const longest = 250
	return len(id) <= longest && cleanText(id)
}

func intParam(q url.Values, name string, absent, least, most int) (int, error) {
	s := q.Get(name)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, models.Invalid(name, "'%s' must be a whole number between %d and %d; got '%s'.", name, least, most, clip(s, 40))
	}
	return n, nil
}

// args are the parameters in Relay's words.
func (p pageQuery) args() (first *int, after *string, last *int, before *string) {
	switch {
	case p.before != "":
		c := models.KeyCursor(p.before)
		return nil, nil, &p.limit, &c
	case p.after != "":
		c := models.KeyCursor(p.after)
		return &p.limit, &c, nil, nil
	case p.offset > 0:
		c := models.OffsetCursor(p.offset)
		return &p.limit, &c, nil, nil
	}
	return &p.limit, nil, nil, nil
}

// list is a page as the API shows it.
type list struct {
	Object  string  `json:"object"`
	Data    []any   `json:"data"`
	HasMore bool    `json:"has_more"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	Total   int     `json:"total"`
	Limit   int     `json:"limit"`
	Offset  int     `json:"offset"`
}

// viewList shows a page: has_more looks into the direction of paging.
func viewList[T any](ctx context.Context, p pageQuery, c *models.Connection[T], id func(*T) string, view func(*T) any) (*list, error) {
	total, err := c.TotalCount(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // a resolver's
	}
	l := &list{Object: "list", Data: make([]any, 0, len(c.Edges)), Total: total, Limit: p.limit, Offset: p.offset}
	l.HasMore = c.PageInfo.HasNextPage
	if p.before != "" {
		l.HasMore = c.PageInfo.HasPreviousPage
	}
	for _, e := range c.Edges {
		l.Data = append(l.Data, view(e.Node))
	}
	if n := len(c.Edges); n > 0 {
		first, last := id(c.Edges[0].Node), id(c.Edges[n-1].Node)
		l.FirstID, l.LastID = &first, &last
	}
	return l, nil
}

// choiceParam reads a parameter that must be one of a few words; nil when absent.
func choiceParam[T ~string](q url.Values, name string, choices ...T) (*T, error) {
	got := T(q.Get(name))
	if got == "" {
		return nil, nil //nolint:nilnil // absent
	}
	words := make([]string, len(choices))
	for i, c := range choices {
		if c == got {
			return &got, nil
		}
		words[i] = string(c)
	}
	return nil, models.Invalid(name, "'%s' must be one of %s.", name, strings.Join(words, ", "))
}

// viewAll shows a list that has no pages: all of it. id gives what after and
// before would take; nil where rows have none.
func viewAll(data []any, id func(i int) string) *list {
	l := &list{Object: "list", Data: data, Total: len(data), Limit: len(data)}
	if n := len(data); n > 0 && id != nil {
		first, last := id(0), id(n-1)
		l.FirstID, l.LastID = &first, &last
	}
	return l
}
