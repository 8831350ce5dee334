package rest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
)

func TestListsPage(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		var ids []string
		for i := range 5 {
			res := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{"name": fmt.Sprint("c", i), "type": "echo", "models": []string{"m"}})
			var c struct{ ID string }
			res.JSON(t, &c)
			ids = append(ids, c.ID)
		}
		slices.Sort(ids) // those of one millisecond come in any order
		for i, id := range ids {
			p.Do("PATCH", "/v1/channels/"+id, coaitest.AdminKey, object{"name": fmt.Sprint("c", i)})
		}
		// The seeded channel is there too, but serves another model.
		for _, c := range []struct {
			query, names string
			more         bool
			limit        int
			offset       int
		}{
			{"", "c4 c3 c2 c1 c0", false, 20, 0},
			{"order=desc", "c4 c3 c2 c1 c0", false, 20, 0},
			{"order=asc", "c0 c1 c2 c3 c4", false, 20, 0},
			{"limit=2", "c4 c3", true, 2, 0},
			{"limit=5", "c4 c3 c2 c1 c0", false, 5, 0},
			{"limit=2&offset=2", "c2 c1", true, 2, 2},
			{"limit=2&offset=4", "c0", false, 2, 4},
			{"offset=50", "", false, 20, 50},
			{"limit=2&after=" + ids[3], "c2 c1", true, 2, 0},
			{"limit=2&after=" + ids[1], "c0", false, 2, 0},
			{"after=" + ids[0], "", false, 20, 0},
			{"limit=2&before=" + ids[1], "c3 c2", true, 2, 0},
			{"limit=2&before=" + ids[3], "c4", false, 2, 0},
			{"limit=2&order=asc&after=" + ids[1], "c2 c3", true, 2, 0},
			{"limit=2&order=asc&before=" + ids[4], "c2 c3", true, 2, 0},
			{"unknown=1&limit=1", "c4", true, 1, 0}, // SDKs may add parameters
		} {
			t.Run(c.query, func(t *testing.T) {
				l := get[list](t, p, coaitest.AdminKey, "/v1/channels?model=m&"+c.query)
				if l.Object != "list" || l.names() != c.names || *l.HasMore != c.more || *l.Total != 5 || *l.Limit != c.limit || *l.Offset != c.offset {
					t.Errorf("got %q, more %v, total %d, limit %d, offset %d", l.names(), *l.HasMore, *l.Total, *l.Limit, *l.Offset)
				}
				if n := len(l.Data); n == 0 && (l.FirstID != nil || l.LastID != nil) || n > 0 && (*l.FirstID != l.Data[0].ID || *l.LastID != l.Data[n-1].ID) {
					t.Errorf("first and last id: %+v", l)
				}
			})
		}
		for _, c := range []struct{ query, param string }{
			{"limit=0", "limit"}, {"limit=101", "limit"}, {"limit=-1", "limit"}, {"limit=x", "limit"}, {"limit=1.5", "limit"},
			{"limit=99999999999999999999", "limit"}, {"offset=-1", "offset"}, {"offset=1000001", "offset"}, {"offset=x", "offset"},
			{"order=up", "order"}, {"order=DESC", "order"}, {"after=a&before=b", "before"}, {"after=a&offset=1", "offset"}, {"before=a&offset=0", "offset"},
			{"after=%00", "after"}, {"after=%ff", "after"}, {"before=a%0ab", "before"}, {"after=" + strings.Repeat("x", 300), "after"},
		} {
			t.Run("bad "+c.query[:min(len(c.query), 20)], func(t *testing.T) {
				for _, what := range []string{"/v1/channels", "/v1/api-keys", "/v1/models"} {
					refused(t, p.Do("GET", what+"?"+c.query, coaitest.AdminKey, nil), 400, "invalid_value", c.param)
				}
			})
		}
	})
}

func TestAllModelsAreListedUnlessTheClientPages(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprintf("m/%03d", i))
	}
	if res := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{"name": "many", "type": "echo", "models": names}); res.Status != 200 {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	const total = 251 // and echo
	all := get[list](t, p, coaitest.AdminKey, "/v1/models")
	seen := map[string]bool{}
	for _, m := range all.Data {
		seen[m.ID] = true
	}
	if len(all.Data) != total || len(seen) != total || *all.HasMore || *all.Total != total || all.Data[0].ID != "echo" || *all.LastID != "m/249" {
		t.Errorf("%d models, %d different, has_more %v, total %d, last %s", len(all.Data), len(seen), *all.HasMore, *all.Total, *all.LastID)
	}
	for _, c := range []struct {
		query, first, last string
		rows               int
		more               bool
	}{
		{"order=asc", "echo", "m/249", total, false},
		{"limit=3", "echo", "m/001", 3, true},
		{"limit=2&after=m/001", "m/002", "m/003", 2, true},
		{"limit=100&after=m/200", "m/201", "m/249", 49, false},
		{"limit=2&before=m/001", "echo", "m/000", 2, false},
		{"limit=1&offset=250", "m/249", "m/249", 1, false},
		{"after=m/100", "m/101", "m/120", 20, true},
	} {
		t.Run(c.query, func(t *testing.T) {
			l := get[list](t, p, coaitest.AdminKey, "/v1/models?"+c.query)
			if len(l.Data) != c.rows || *l.FirstID != c.first || *l.LastID != c.last || *l.HasMore != c.more || *l.Total != total {
				t.Errorf("%d rows from %v to %v, more %v, total %d", len(l.Data), *l.FirstID, *l.LastID, *l.HasMore, *l.Total)
			}
		})
	}
	refused(t, p.Do("GET", "/v1/models?order=desc", coaitest.AdminKey, nil), 400, "invalid_value", "order")
}
