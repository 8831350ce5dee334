package storage_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func addUsers(t *testing.T, db *storage.DB, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		id := fmt.Sprintf("user_%03d", n)
		u := user(id, id+"@example.com")
		if n%2 == 1 {
			u.Role = models.RoleAdmin
		}
		insert(t, db, u)
	}
}

func userID(u *models.User) string { return u.ID }

func list(t *testing.T, db *storage.DB, p models.Page, filter func(*bun.SelectQuery) *bun.SelectQuery) *models.Connection[models.User] {
	t.Helper()
	c, err := storage.List(t.Context(), db.Read(), p, "id", userID, filter)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func numbers(t *testing.T, c *models.Connection[models.User]) []int {
	t.Helper()
	got := []int{}
	for i, u := range c.Nodes() {
		var n int
		if _, err := fmt.Sscanf(u.ID, "user_%d", &n); err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
		if c.Edges[i].Cursor != models.KeyCursor(u.ID) {
			t.Errorf("the cursor of %s is %s", u.ID, c.Edges[i].Cursor)
		}
	}
	return got
}

func TestList(t *testing.T) {
	admins := func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("role = ?", models.RoleAdmin) }
	key := func(n int) string { return fmt.Sprintf("user_%03d", n) }
	cases := map[string]struct {
		page           models.Page
		filter         func(*bun.SelectQuery) *bun.SelectQuery
		want           []int
		next, previous bool
		total          int
	}{
		"first":              {models.Page{Limit: 3}, nil, []int{1, 2, 3}, true, false, 7},
		"first, newest":      {models.Page{Limit: 3, Descending: true}, nil, []int{7, 6, 5}, true, false, 7},
		"after":              {models.Page{Limit: 3, Key: key(3)}, nil, []int{4, 5, 6}, true, true, 7},
		"after, newest":      {models.Page{Limit: 3, Key: key(5), Descending: true}, nil, []int{4, 3, 2}, true, true, 7},
		"to the end":         {models.Page{Limit: 3, Key: key(4)}, nil, []int{5, 6, 7}, false, true, 7},
		"the end, newest":    {models.Page{Limit: 5, Key: key(3), Descending: true}, nil, []int{2, 1}, false, true, 7},
		"beyond the end":     {models.Page{Limit: 3, Key: key(7)}, nil, []int{}, false, true, 7},
		"after a lost row":   {models.Page{Limit: 2, Key: "user_003x"}, nil, []int{4, 5}, true, true, 7},
		"last":               {models.Page{Limit: 3, Backward: true}, nil, []int{5, 6, 7}, false, true, 7},
		"last, newest":       {models.Page{Limit: 3, Backward: true, Descending: true}, nil, []int{3, 2, 1}, false, true, 7},
		"before":             {models.Page{Limit: 3, Backward: true, Key: key(6)}, nil, []int{3, 4, 5}, true, true, 7},
		"before, newest":     {models.Page{Limit: 3, Backward: true, Key: key(3), Descending: true}, nil, []int{6, 5, 4}, true, true, 7},
		"to the start":       {models.Page{Limit: 3, Backward: true, Key: key(3)}, nil, []int{1, 2}, true, false, 7},
		"before the start":   {models.Page{Limit: 3, Backward: true, Key: key(1)}, nil, []int{}, true, false, 7},
		"all":                {models.Page{Limit: 7}, nil, []int{1, 2, 3, 4, 5, 6, 7}, false, false, 7},
		"offset":             {models.Page{Limit: 3, Offset: 2}, nil, []int{3, 4, 5}, true, true, 7},
		"offset, newest":     {models.Page{Limit: 3, Offset: 5, Descending: true}, nil, []int{2, 1}, false, true, 7},
		"offset too far":     {models.Page{Limit: 3, Offset: 9}, nil, []int{}, false, true, 7},
		"filter":             {models.Page{Limit: 3}, admins, []int{1, 3, 5}, true, false, 4},
		"filter, after":      {models.Page{Limit: 3, Key: key(4)}, admins, []int{5, 7}, false, true, 4},
		"filter, last":       {models.Page{Limit: 2, Backward: true}, admins, []int{5, 7}, false, true, 4},
		"no limit is twenty": {models.Page{}, nil, []int{1, 2, 3, 4, 5, 6, 7}, false, false, 7},
		"a key of an attack": {models.Page{Limit: 3, Key: "' OR 1=1 --"}, nil, []int{1, 2, 3}, true, true, 7},
	}
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		addUsers(t, db, 4, 1, 7, 3, 6, 2, 5)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				got := list(t, db, c.page, c.filter)
				if n := numbers(t, got); !slices.Equal(n, c.want) {
					t.Errorf("rows %v; want %v", n, c.want)
				}
				if info := got.PageInfo; info.HasNextPage != c.next || info.HasPreviousPage != c.previous {
					t.Errorf("next %v, previous %v; want %v, %v", info.HasNextPage, info.HasPreviousPage, c.next, c.previous)
				}
				if total, err := got.TotalCount(t.Context()); err != nil || total != c.total {
					t.Errorf("total = %d, %v; want %d", total, err, c.total)
				}
			})
		}
	})
}

// A client that follows the cursors sees each row that was there when it began
// exactly once, in order, whatever is added or deleted around it.
func TestListIsStable(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		var old []int
		for n := 100; n < 200; n += 10 {
			old = append(old, n)
		}
		for _, descending := range []bool{false, true} {
			for _, backward := range []bool{false, true} {
				t.Run(fmt.Sprintf("descending=%v backward=%v", descending, backward), func(t *testing.T) {
					if _, err := db.Write().NewDelete().Model((*models.User)(nil)).Where("1 = 1").Exec(t.Context()); err != nil {
						t.Fatal(err)
					}
					addUsers(t, db, old...)
					// A row on each side of all, and one between each two.
					fresh := append([]int{50, 300}, 105, 115, 125, 135, 145, 155, 165, 175, 185)
					seen := follow(t, db, models.Page{Limit: 3, Descending: descending, Backward: backward}, func(page int) {
						if page*2+1 < len(fresh) {
							addUsers(t, db, fresh[page*2], fresh[page*2+1])
						}
					})
					var seenOld []int
					for _, n := range seen {
						if slices.Contains(old, n) {
							seenOld = append(seenOld, n)
						}
					}
					want := slices.Clone(old)
					if descending != backward {
						slices.Reverse(want)
					}
					if !slices.Equal(seenOld, want) {
						t.Errorf("the old rows were seen as %v; want %v", seenOld, want)
					}
					sorted := slices.IsSortedFunc(seen, func(a, b int) int {
						if descending != backward {
							return b - a
						}
						return a - b
					})
					if !sorted || len(slices.Compact(slices.Clone(seen))) != len(seen) {
						t.Errorf("seen %v; want each once, in order", seen)
					}
				})
			}
		}
	})
}

// follow reads page after page, the way that a client with cursors does, and
// gives the rows in the order of that way.
func follow(t *testing.T, db *storage.DB, p models.Page, between func(page int)) []int {
	t.Helper()
	var seen []int
	for page := 0; ; page++ {
		c := list(t, db, p, nil)
		rows := numbers(t, c)
		more := c.PageInfo.HasNextPage
		if p.Backward {
			slices.Reverse(rows)
			more = c.PageInfo.HasPreviousPage
		}
		seen = append(seen, rows...)
		if !more || page > 100 {
			return seen
		}
		p.Key = fmt.Sprintf("user_%03d", rows[len(rows)-1])
		between(page)
	}
}

func TestListOfAnEmptyTable(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		c := list(t, db, models.Page{Limit: 3}, nil)
		if c.Edges == nil || len(c.Edges) != 0 || c.PageInfo != (models.PageInfo{}) {
			t.Errorf("connection = %+v; want an empty one", c)
		}
		if n, err := c.TotalCount(t.Context()); err != nil || n != 0 {
			t.Errorf("total = %d, %v", n, err)
		}
		if _, err := storage.List(t.Context(), db.Read(), models.Page{}, "no_such_column", userID, nil); err == nil {
			t.Error("a list by a column that is not there")
		}
	})
}

func TestListOfNamesOrdersByTheKey(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		names := []string{"B", "a", "a-1", "ä", "z/1", "Ω"}
		for _, name := range names {
			insert(t, db, &models.Model{Name: name})
		}
		name := func(m *models.Model) string { return m.Name }
		var seen []string
		p := models.Page{Limit: 2}
		for range names {
			c, err := storage.List(t.Context(), db.Read(), p, "name", name, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.Nodes() {
				seen = append(seen, m.Name)
				p.Key = m.Name
			}
		}
		slices.Sort(seen)
		want := slices.Sorted(slices.Values(names))
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q; want each of %q once", seen, want)
		}
	})
}
