package jobs

import (
	"slices"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// Usage of hours that are over is packed by a job.
func TestUsageIsRolledUp(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		for i, age := range []time.Duration{0, 3 * time.Hour, 30 * 24 * time.Hour} {
			at := now.Add(-age)
			id := []string{"req_a", "req_b", "req_c"}[i]
			r := &models.UsageRecord{ID: id, RequestID: id, UserID: "user_1", Model: "echo", Status: models.UsageSettled, CreatedAt: at, SettledAt: &at}
			if _, err := db.Write().NewInsert().Model(r).Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		a := usage.NewAnalytics(db, 0)
		defer func() { _ = a.Close(t.Context()) }()
		list := schedule(db, Deps{Analytics: a})
		at := slices.IndexFunc(list, func(j job) bool { return j.name == "roll-up-usage" })
		if at < 0 {
			t.Fatal("no job rolls usage up")
		}
		hours, deadline := int64(0), time.Now().Add(20*time.Second)
		for hours < 2 && time.Now().Before(deadline) { // transactions elsewhere on the server may run
			if err := list[at].run(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			var err error
			if hours, err = db.Read().NewSelect().Table("usage_hours").Count(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if hours != 2 {
			t.Errorf("%d hours are packed, want those of two records", hours)
		}
	})
}
