package models

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Page sizes of lists.
const (
	DefaultPageSize = 20
	MaxPageSize     = 100
	maxOffset       = 1_000_000
)

// OrderDirection sorts a list by the time of creation.
type OrderDirection string

// The directions.
const (
	OrderAsc  OrderDirection = "asc"
	OrderDesc OrderDirection = "desc"
)

// PageArgs are Relay's paging arguments, as a client gives them.
// https://relay.dev/graphql/connections.htm
type PageArgs struct {
	First  *int
	After  *string
	Last   *int
	Before *string
	Order  *OrderDirection
}

// Page is a checked [PageArgs]: Limit rows after (or, when Backward, before)
// the row with id Key, or after Offset rows.
type Page struct {
	Limit      int
	Key        string
	Offset     int
	Backward   bool
	Descending bool
}

// Page checks the arguments and fills in the defaults.
func (a PageArgs) Page() (Page, error) { return a.PageUpTo(MaxPageSize) }

// PageUpTo is Page for lists whose pages may have other than [MaxPageSize] rows.
func (a PageArgs) PageUpTo(most int) (Page, error) {
	p := Page{Limit: DefaultPageSize, Descending: true}
	cursor, param := a.After, "after"
	switch {
	case a.First != nil && a.Last != nil:
		return p, Invalid("last", "Give either 'first' or 'last', not both.")
	case a.After != nil && a.Before != nil:
		return p, Invalid("before", "Give either 'after' or 'before', not both.")
	case a.Last != nil || a.Before != nil && a.First == nil:
		p.Backward = true
	}
	if a.Before != nil {
		cursor, param, p.Backward = a.Before, "before", true
	}
	if a.After != nil && a.Last != nil {
		return p, Invalid("last", "'last' goes with 'before'; 'after' goes with 'first'.")
	}
	if n := a.First; n != nil {
		p.Limit = *n
	} else if a.Last != nil {
		p.Limit = *a.Last
	}
	if p.Limit < 1 || p.Limit > most {
		name := "first"
		if a.Last != nil {
			name = "last"
		}
		return p, Invalid(name, "'%s' must be between 1 and %d; got %d.", name, most, p.Limit)
	}
	if a.Order != nil {
		p.Descending = *a.Order != OrderAsc
	}
	if cursor != nil {
		kind, value, ok := decodeCursor(*cursor)
		switch {
		case ok && kind == "k":
			p.Key = value
		case ok && kind == "o" && !p.Backward:
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > maxOffset {
				return p, Invalid(param, "The cursor in '%s' is out of range.", param)
			}
			p.Offset = n
		default:
			return p, Invalid(param, "The cursor in '%s' is not one that this API gave out.", param)
		}
	}
	return p, nil
}

// KeyCursor is the opaque cursor of the row with this id.
func KeyCursor(id string) string { return encodeCursor("k", id) }

// OffsetCursor is the opaque cursor that skips n rows: REST's `offset`.
func OffsetCursor(n int) string { return encodeCursor("o", strconv.Itoa(n)) }

func encodeCursor(kind, value string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(kind + ":" + value))
}

func decodeCursor(c string) (kind, value string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(c)
	if err != nil || len(b) > 256 || !utf8.Valid(b) || strings.ContainsRune(string(b), 0) {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}

// PageInfo is Relay's.
type PageInfo struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// Edge is one row of a connection.
type Edge[T any] struct {
	Cursor string
	Node   *T
}

// Connection is a page of a list, in the order that was asked for.
type Connection[T any] struct {
	Edges    []Edge[T]
	PageInfo PageInfo
	// Count counts the whole list, filters applied, pages not. It runs only
	// when somebody asks.
	Count func(context.Context) (int, error)
}

// TotalCount is the length of the whole list.
func (c *Connection[T]) TotalCount(ctx context.Context) (int, error) { return c.Count(ctx) }

// Nodes are the rows without their cursors.
func (c *Connection[T]) Nodes() []*T {
	nodes := make([]*T, len(c.Edges))
	for i := range c.Edges {
		nodes[i] = c.Edges[i].Node
	}
	return nodes
}

// NewConnection makes the connection of a fetched page. more says that rows
// exist beyond the page in the direction of paging; id gives a row's key.
func NewConnection[T any](p Page, rows []*T, more bool, id func(*T) string, count func(context.Context) (int, error)) *Connection[T] {
	c := &Connection[T]{Edges: make([]Edge[T], len(rows)), Count: count}
	for i, row := range rows {
		c.Edges[i] = Edge[T]{Cursor: KeyCursor(id(row)), Node: row}
	}
	if n := len(c.Edges); n > 0 {
		c.PageInfo.StartCursor, c.PageInfo.EndCursor = &c.Edges[0].Cursor, &c.Edges[n-1].Cursor
	}
	if p.Backward {
		c.PageInfo.HasPreviousPage, c.PageInfo.HasNextPage = more, p.Key != ""
	} else {
		c.PageInfo.HasNextPage, c.PageInfo.HasPreviousPage = more, p.Key != "" || p.Offset > 0
	}
	return c
}
