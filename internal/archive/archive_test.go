package archive_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/archive"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func TestArchive(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
		a := archive.New(db)
		ada, bob := user(t, db, "ada"), user(t, db, "bob")
		keep := func(v *models.Viewer, id, previous, input string, at time.Time) {
			t.Helper()
			r := &models.Response{
				ID: id, UserID: v.UserID, Model: "m", Status: models.ResponseCompleted, CreatedAt: at,
				Input: models.JSON(input), Output: models.JSON(`["\u0000",{"z":1,"a":2}]`), Raw: models.JSON(`{}`),
			}
			if previous != "" {
				r.PreviousID = &previous
			}
			if err := a.Keep(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		missing := func(what string, err error) {
			t.Helper()
			var e *models.Error
			if !errors.As(err, &e) || e.Kind != models.KindNotFound {
				t.Errorf("%s: %v", what, err)
			}
		}
		keep(ada, "resp_1", "", `["one"]`, now)
		keep(ada, "resp_2", "resp_1", `["two"]`, now)
		keep(ada, "resp_3", "resp_2", `["three"]`, now)
		keep(ada, "resp_old", "", `[]`, now.Add(-31*24*time.Hour))
		keep(ada, "resp_after_old", "resp_old", `[]`, now)
		keep(bob, "resp_bob", "resp_1", `[]`, now)

		r, err := a.Response(ctx, ada, "resp_2")
		if err != nil || string(r.Input) != `["two"]` || string(r.Output) != `["\u0000",{"z":1,"a":2}]` || *r.PreviousID != "resp_1" {
			t.Errorf("%+v, %v", r, err)
		}
		chain, err := a.Chain(ctx, ada, "resp_3")
		if err != nil || len(chain) != 3 || chain[0].ID != "resp_1" || chain[2].ID != "resp_3" {
			t.Errorf("%v, %v", chain, err)
		}
		owners, err := a.Owners(ctx, ada, []string{"resp_1", "resp_bob", "resp_none", "a\x00b"})
		if err != nil || len(owners) != 1 {
			t.Errorf("%v, %v", owners, err)
		}
		_, err = a.Response(ctx, bob, "resp_1")
		missing("somebody else's", err)
		_, err = a.Response(ctx, ada, "resp_old")
		missing("an expired one", err)
		_, err = a.Response(ctx, ada, "a\x00b")
		missing("no id", err)
		_, err = a.Chain(ctx, ada, "resp_after_old")
		missing("a chain to an expired one", err)
		_, err = a.Chain(ctx, bob, "resp_bob")
		missing("a chain to somebody else's", err)
		missing("deleting somebody else's", a.Delete(ctx, bob, "resp_1"))

		if n, err := a.Purge(ctx, now); err != nil || n != 1 {
			t.Errorf("%d purged, %v", n, err)
		}
		if err := a.Delete(ctx, ada, "resp_1"); err != nil {
			t.Error(err)
		}
		_, err = a.Chain(ctx, ada, "resp_3")
		missing("a chain with a hole", err)
	})
}

// A chain that is too long or too large is refused, and not read.
func TestChainLimits(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
		a, ada := archive.New(db), user(t, db, "ada")
		rows := make([]*models.Response, archive.MaxDepth+2)
		for i := range rows {
			rows[i] = &models.Response{
				ID: models.NewID(models.ResponsePrefix), UserID: ada.UserID, Model: "m", Status: models.ResponseCompleted,
				Input: models.JSON("[]"), Output: models.JSON("[]"), Raw: models.JSON("{}"), CreatedAt: now, ExpiresAt: now.Add(time.Hour),
			}
			if i > 0 {
				rows[i].PreviousID = &rows[i-1].ID
			}
		}
		if _, err := db.Write().NewInsert().Model(&rows).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		if chain, err := a.Chain(ctx, ada, rows[archive.MaxDepth-1].ID); err != nil || len(chain) != archive.MaxDepth {
			t.Errorf("%d, %v", len(chain), err)
		}
		if _, err := a.Chain(ctx, ada, rows[archive.MaxDepth].ID); err == nil || !strings.Contains(err.Error(), "more than 1000 responses") {
			t.Errorf("%v", err)
		}
		first := rows[0]
		first.Input = models.JSON(`["` + strings.Repeat("x", archive.MaxSize) + `"]`)
		first.ID = "resp_large"
		if err := a.Keep(ctx, first); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Chain(ctx, ada, "resp_large"); err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("%v", err)
		}
	})
}

func user(t *testing.T, db *storage.DB, name string) *models.Viewer {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	u := &models.User{
		ID: models.NewID(models.UserPrefix), Email: name + "@example.com", Name: name, Role: models.RoleUser,
		Tier: models.TierFree, Status: models.UserActive, CreatedAt: now, UpdatedAt: now,
	}
	if _, err := db.Write().NewInsert().Model(u).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &models.Viewer{UserID: u.ID}
}
