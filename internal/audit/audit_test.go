package audit_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func admin() *models.Viewer {
	return &models.Viewer{UserID: "user_1", KeyID: "key_1", Role: models.RoleAdmin, Scopes: models.AllScopes()}
}

type thing struct {
	Name       string            `json:"name"`
	Credential string            `json:"credential"`
	Headers    map[string]string `json:"headers"`
	Tokens     int64             `json:"max_tokens"`
}

func entries(t *testing.T, l *audit.Log, f *models.AuditFilter) []*models.AuditEntry {
	t.Helper()
	page, err := l.Entries(t.Context(), admin(), models.PageArgs{}, f)
	if err != nil {
		t.Fatal(err)
	}
	return page.Nodes()
}

func TestEntriesTellWhatChanged(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		log := audit.New(db)
		ctx := models.WithClient(models.WithRequestID(t.Context(), "req_1"), &models.Client{Address: netip.MustParseAddr("192.0.2.1")})
		before := thing{Name: "one", Credential: "sk-very-secret", Headers: map[string]string{"X-Key": "hidden"}, Tokens: 1 << 60}
		after := thing{Name: "two", Credential: "****cret", Headers: map[string]string{"X-Key": "other"}, Tokens: 1 << 60}
		err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			return audit.Append(ctx, tx, admin(), "thing.updated", audit.Target{Type: "thing", ID: "thing_1"}, before, after)
		})
		if err != nil {
			t.Fatal(err)
		}
		e := entries(t, log, nil)[0]
		was, is := strings.ReplaceAll(string(e.Before), " ", ""), strings.ReplaceAll(string(e.After), " ", "")
		if e.ActorID != "user_1" || *e.APIKeyID != "key_1" || *e.Address != "192.0.2.1" || *e.RequestID != "req_1" ||
			e.Action != "thing.updated" || e.TargetType != "thing" || *e.TargetID != "thing_1" || e.CreatedAt.IsZero() {
			t.Errorf("entry %+v", e)
		}
		for _, part := range []string{`"name":"one"`, `"credential":"****"`, `"headers":{"X-Key":"****"}`} {
			if !strings.Contains(was, part) {
				t.Errorf("%s is not in what was: %s", part, was)
			}
		}
		if !strings.Contains(is, `"name":"two"`) || !strings.Contains(is, `"credential":"****cret"`) || strings.Contains(was+is, "hidden") || strings.Contains(was+is, "max_tokens") {
			t.Errorf("from %s to %s", was, is)
		}

		operator := &models.Viewer{UserID: "user_9", Operator: true}
		if err := audit.Append(t.Context(), db.Write(), operator, "thing.deleted", audit.Target{Type: "thing"}, after, nil); err != nil {
			t.Fatal(err)
		}
		e = entries(t, log, &models.AuditFilter{Action: new("thing.deleted")})[0]
		if e.ActorID != models.OperatorActor || e.After != nil || e.TargetID != nil || e.Address != nil || !strings.Contains(string(e.Before), `"two"`) {
			t.Errorf("entry %+v", e)
		}
	})
}

// An entry stands or falls with the change.
func TestEntryIsRolledBackWithItsChange(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		failure := errors.New("the change failed")
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if err := audit.Append(ctx, tx, admin(), "thing.updated", audit.Target{Type: "thing"}, nil, nil); err != nil {
				return err
			}
			return failure
		})
		if !errors.Is(err, failure) || len(entries(t, audit.New(db), nil)) != 0 {
			t.Errorf("%v; an entry is left", err)
		}
	})
}

func TestFiltersPagesAndPurge(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		log := audit.New(db)
		var at []time.Time
		for i, c := range []struct{ actor, action, kind, id string }{
			{"user_1", "a.made", "a", "a_1"}, {"user_2", "a.made", "a", "a_2"}, {"user_1", "b.made", "b", "b_1"},
		} {
			v := admin()
			v.UserID = c.actor
			if err := audit.Append(t.Context(), db.Write(), v, c.action, audit.Target{Type: c.kind, ID: c.id}, nil, map[string]int{"n": i}); err != nil {
				t.Fatal(err)
			}
			at = append(at, entries(t, log, &models.AuditFilter{TargetID: &c.id})[0].CreatedAt)
		}
		for name, c := range map[string]struct {
			f    *models.AuditFilter
			want int
		}{
			"actor":  {&models.AuditFilter{ActorID: new("user_1")}, 2},
			"action": {&models.AuditFilter{Action: new("a.made")}, 2},
			"type":   {&models.AuditFilter{TargetType: new("b")}, 1},
			"both":   {&models.AuditFilter{ActorID: new("user_2"), TargetType: new("b")}, 0},
			"since":  {&models.AuditFilter{Since: &at[1]}, 2},
			"until":  {&models.AuditFilter{Until: &at[1]}, 1},
			"range":  {&models.AuditFilter{Since: &at[1], Until: &at[2]}, 1},
		} {
			if n := len(entries(t, log, c.f)); n != c.want {
				t.Errorf("%s: %d entries, want %d", name, n, c.want)
			}
		}
		first := 2
		page, err := log.Entries(t.Context(), admin(), models.PageArgs{First: &first}, nil)
		if err != nil || len(page.Edges) != 2 || !page.PageInfo.HasNextPage {
			t.Fatalf("%+v, %v", page, err)
		}
		if rest, err := log.Entries(t.Context(), admin(), models.PageArgs{First: &first, After: page.PageInfo.EndCursor}, nil); err != nil || len(rest.Edges) != 1 {
			t.Errorf("%+v, %v", rest, err)
		}
		if n, err := log.Purge(t.Context(), at[2]); err != nil || n != 2 || len(entries(t, log, nil)) != 1 {
			t.Errorf("purged %d, %v", n, err)
		}
	})
}

func TestWhoMayRead(t *testing.T) {
	t.Parallel()
	log := audit.New(testdb.New(t, "sqlite"))
	for _, v := range []*models.Viewer{nil, {UserID: "user_2", Role: models.RoleUser, Scopes: models.AllScopes()}, {UserID: "user_1", Role: models.RoleAdmin, Scopes: models.DefaultScopes()}} {
		if _, err := log.Entries(t.Context(), v, models.PageArgs{}, nil); err == nil {
			t.Errorf("%+v reads the audit log", v)
		}
	}
	soon := time.Now()
	if _, err := log.Entries(t.Context(), admin(), models.PageArgs{}, &models.AuditFilter{Since: &soon, Until: &soon}); err == nil || !strings.Contains(err.Error(), "'until'") {
		t.Errorf("an empty range of time: %v", err)
	}
}
