package usage_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// Each share of a budget is told of once in its period, whatever charges cross it at
// the same time, and on however many nodes.
func TestThresholdsAreToldOnce(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		now := time.Now().UTC()
		for _, row := range []any{
			&models.User{ID: alice, Email: "a@example.com", Role: models.RoleUser, Tier: models.TierFree, Status: models.UserActive, CreatedAt: now, UpdatedAt: now},
			&models.APIKey{ID: key, UserID: alice, Name: "k", Hash: []byte("k"), CreatedAt: now},
		} {
			if _, err := db.Write().NewInsert().Model(row).Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		nodes := []*usage.Ledger{open(t, db), open(t, db)}
		for _, n := range nodes {
			n.TellAt([]int{50, 80, 100})
		}
		limit(t, db, budgets.Owner{UserID: alice}, models.PeriodTotal, 100*models.Dollar, now)
		limit(t, db, budgets.Owner{UserID: alice, KeyID: key}, models.PeriodMonth, 20*models.Dollar, now)
		credit(t, db, 1000*models.Dollar) // a balance has no thresholds
		charge := func(n int) {
			t.Helper()
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					rec := metered(now, models.Dollar)
					if err := nodes[i%2].Begin(t.Context(), rec); err != nil {
						t.Error(err)
						return
					}
					rec.Status, rec.Cost = models.UsageSettled, models.Dollar
					if err := nodes[i%2].Settle(t.Context(), rec); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		told := func() map[string]int {
			t.Helper()
			var rows []models.Event
			if err := db.Read().NewSelect().Model(&rows).Scan(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := map[string]int{}
			for _, e := range rows {
				var p models.UsageThreshold
				if err := json.Unmarshal(e.Payload, &p); err != nil || e.Type != models.EventUsageThresholdReached || p.UserID != alice || e.UserID != alice {
					t.Errorf("%+v: %s, %v", e, e.Payload, err)
				}
				name := string(p.Period)
				if p.APIKeyID != nil {
					name = *p.APIKeyID
				}
				n[name+" "+string(rune('0'+p.Percent/10))]++
			}
			return n
		}
		charge(9)
		if got := told(); len(got) != 0 {
			t.Errorf("below every threshold: %v", got)
		}
		charge(7) // 16 of 20
		if got := told(); len(got) != 2 || got[key+" 5"] != 1 || got[key+" 8"] != 1 {
			t.Errorf("at 80 percent of the key's: %v", got)
		}
		charge(4)
		if got := told(); len(got) != 3 || got[key+" :"] != 1 {
			t.Errorf("at 100 percent of the key's: %v", got)
		}
		limit(t, db, budgets.Owner{UserID: alice, KeyID: key}, models.PeriodMonth, 1000*models.Dollar, now)
		charge(40) // 60 of 100
		if got := told(); len(got) != 4 || got["total 5"] != 1 {
			t.Errorf("at 60 percent of the user's: %v", got)
		}
	})
}
