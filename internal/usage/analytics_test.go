package usage_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// admin may see everybody's usage.
func admin() *models.Viewer {
	return &models.Viewer{UserID: "user_admin", Role: models.RoleAdmin, Scopes: []models.Scope{models.ScopeAnalyticsRead, models.ScopeAdmin}}
}

func someone(id string) *models.Viewer {
	return &models.Viewer{UserID: id, Role: models.RoleUser, Scopes: []models.Scope{models.ScopeAnalyticsRead}}
}

func analytics(t testing.TB, db *storage.DB, now time.Time) *usage.Analytics {
	t.Helper()
	a := usage.NewAnalytics(db, 0)
	a.SetNow(func() time.Time { return now })
	t.Cleanup(func() { _ = a.Close(context.WithoutCancel(t.Context())) })
	return a
}

// rollUp rolls up all that is over: on PostgreSQL, once the transactions that
// happen to run elsewhere have ended.
func rollUp(t testing.TB, db *storage.DB, a *usage.Analytics, now time.Time) (hours int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		n, err := a.RollUp(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		hours += n
		var left bool
		if err := db.Read().NewRaw("SELECT rolled_until < sealed_until FROM usage_rollup").Scan(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
		if !left {
			return hours
		}
		if time.Now().After(deadline) {
			t.Fatal("the roll-up does not come to its end")
		}
	}
}

// used makes n records at random times of a range.
func used(rnd *rand.Rand, n int, from, to time.Time) []*models.UsageRecord {
	list := make([]*models.UsageRecord, n)
	for i := range list {
		at := from.Add(time.Duration(rnd.Int64N(int64(to.Sub(from))))).Truncate(time.Microsecond)
		user := rnd.IntN(5)
		r := &models.UsageRecord{
			ID: models.NewID(models.RequestPrefix), UserID: fmt.Sprint("user_", user), APIKeyID: fmt.Sprint("key_", user, rnd.IntN(2)),
			ChannelID: fmt.Sprint("ch_", rnd.IntN(3)), Model: fmt.Sprint("model-", rnd.IntN(4)), Operation: models.OperationChat,
			Status: models.UsageSettled, PromptTokens: rnd.Int64N(2000), CompletionTokens: rnd.Int64N(500), Cost: models.Nanos(rnd.Int64N(1e9)),
			LatencyMS: rnd.Int64N(30_000), TTFTMS: rnd.Int64N(500), CreatedAt: at, SettledAt: &at,
		}
		r.CachedTokens, r.ReasoningTokens = r.PromptTokens/3, r.CompletionTokens/4
		if rnd.IntN(10) == 0 {
			r.ErrorCode, r.TTFTMS = "upstream_error", 0
		}
		list[i] = r
	}
	return list
}

func insert(t testing.TB, db *storage.DB, list []*models.UsageRecord) {
	t.Helper()
	for part := range slices.Chunk(list, 500) {
		if _, err := db.Write().NewInsert().Model(&part).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// sum is what a result must be, counted the simple way.
func sum(list []*models.UsageRecord, keep func(*models.UsageRecord) bool) *models.UsageResult {
	out := new(models.UsageResult)
	for _, r := range list {
		if !keep(r) {
			continue
		}
		out.NumModelRequests++
		if r.ErrorCode != "" {
			out.NumErrors++
		}
		out.InputTokens += r.PromptTokens
		out.OutputTokens += r.CompletionTokens
		out.InputCachedTokens += r.CachedTokens
		out.ReasoningTokens += r.ReasoningTokens
		out.Nanos += r.Cost
	}
	return out
}

func same(t *testing.T, what string, got, want *models.UsageResult) {
	t.Helper()
	plain := func(r *models.UsageResult) models.UsageResult {
		c := *r
		c.Model, c.UserID, c.ChannelID, c.APIKeyID = nil, nil, nil, nil
		c.LatencyMS, c.TTFTMS = models.UsageLatency{}, models.UsageTTFT{}
		return c
	}
	if plain(got) != plain(want) {
		t.Errorf("%s: got %+v, want %+v", what, plain(got), plain(want))
	}
}

func ptr[T any](v T) *T { return &v }

// Whatever is rolled up, late, deleted or new: sums are those of the records.
func TestSumsAreThoseOfTheRecords(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in each run
		now := time.Date(2026, 11, 20, 13, 37, 0, 0, time.UTC)
		a := analytics(t, db, now)
		var all []*models.UsageRecord
		add := func(n int, from, to time.Time) {
			list := used(rnd, n, from, to)
			insert(t, db, list)
			all = append(all, list...)
		}
		roll := func(at time.Time, want bool) {
			t.Helper()
			if n := rollUp(t, db, a, at); (n > 0) != want {
				t.Errorf("RollUp = %d; want some: %v", n, want)
			}
		}
		steps := []struct {
			name string
			do   func()
		}{
			{"nothing", func() {}},
			{"only records", func() { add(800, now.AddDate(0, 0, -30), now) }},
			{"rolled up", func() { roll(now, true) }},
			{"rolled up again", func() { roll(now, false) }},
			{"late and new records", func() { add(200, now.AddDate(0, 0, -40), now) }},
			{"late ones rolled up", func() { roll(now, true) }},
			{"deleted", func() {
				gone := all[:100]
				all = all[100:]
				ids := make([]string, len(gone))
				for i, r := range gone {
					ids[i] = "'" + r.ID + "'"
				}
				if _, err := db.Write().NewRaw("DELETE FROM usage_records WHERE id IN (" + strings.Join(ids, ",") + ")").Exec(t.Context()); err != nil {
					t.Fatal(err)
				}
			}},
			{"deletions rolled up", func() { roll(now, true) }},
			{"hours later", func() { roll(now.Add(3*time.Hour), true) }},
		}
		for _, s := range steps {
			s.do()
			for _, zone := range []string{"UTC", "Asia/Kolkata", "America/New_York"} {
				for _, g := range []models.UsageGranularity{models.UsageHour, models.UsageDay, models.UsageWeek, models.UsageMonth} {
					t.Run(fmt.Sprint(s.name, "/", zone, "/", g), func(t *testing.T) {
						checkReport(t, a, all, zone, g)
					})
				}
			}
		}
	})
}

func checkReport(t *testing.T, a *usage.Analytics, all []*models.UsageRecord, zone string, g models.UsageGranularity) {
	t.Helper()
	q := models.UsageQuery{
		StartDate: ptr("2026-10-20T10:07:33Z"), EndDate: ptr("2026-11-20T13:30:00Z"), Timezone: &zone, Granularity: &g,
		Models: []string{"model-1", "model-2"}, GroupBy: []models.UsageDimension{models.UsageByModel, models.UsageByUser}, Compare: ptr(models.UsagePreviousPeriod),
	}
	r, err := a.Report(t.Context(), admin(), q)
	if err != nil {
		t.Fatal(err)
	}
	wanted := func(from, to time.Time) func(*models.UsageRecord) bool {
		return func(u *models.UsageRecord) bool {
			return !u.CreatedAt.Before(from) && u.CreatedAt.Before(to) && (u.Model == "model-1" || u.Model == "model-2")
		}
	}
	same(t, "totals", r.Totals, sum(all, wanted(r.Start, r.End)))
	same(t, "previous totals", r.Previous.Totals, sum(all, wanted(r.Previous.Start, r.Previous.End)))
	last := r.Start
	for _, b := range r.Buckets {
		if !b.Start.Equal(last) || !b.End.After(b.Start) {
			t.Fatalf("a bucket begins at %s, after one that ended at %s", b.Start, last)
		}
		last = b.End
		n := int64(0)
		for _, res := range b.Results {
			in := wanted(b.Start, b.End)
			same(t, b.Start.String(), res, sum(all, func(u *models.UsageRecord) bool { return in(u) && u.Model == *res.Model && u.UserID == *res.UserID }))
			n += res.NumModelRequests
		}
		if want := sum(all, wanted(b.Start, b.End)); n != want.NumModelRequests {
			t.Errorf("the bucket at %s has %d requests, want %d", b.Start, n, want.NumModelRequests)
		}
	}
	if !last.Equal(r.End) {
		t.Errorf("the last bucket ends at %s, want %s", last, r.End)
	}
}

func TestPercentilesAreWithinOnePercent(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, storage.SQLite)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	a := analytics(t, db, now)
	all := used(rand.New(rand.NewPCG(3, 4)), 2000, now.Add(-48*time.Hour), now) //nolint:gosec // the same in each run
	insert(t, db, all)
	rollUp(t, db, a, now)
	var latency, ttft []int64
	total := int64(0)
	for _, r := range all {
		latency, total = append(latency, r.LatencyMS), total+r.LatencyMS
		if r.TTFTMS > 0 {
			ttft = append(ttft, r.TTFTMS)
		}
	}
	slices.Sort(latency)
	slices.Sort(ttft)
	r, err := a.Report(t.Context(), admin(), models.UsageQuery{StartDate: ptr("2026-11-18"), EndDate: ptr("2026-11-21")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		got   *float64
		list  []int64
		share float64
	}{
		{"latency p50", r.Totals.LatencyMS.P50, latency, 0.5}, {"latency p95", r.Totals.LatencyMS.P95, latency, 0.95}, {"latency p99", r.Totals.LatencyMS.P99, latency, 0.99},
		{"ttft p50", r.Totals.TTFTMS.P50, ttft, 0.5}, {"ttft p95", r.Totals.TTFTMS.P95, ttft, 0.95},
	} {
		exact := float64(c.list[int(c.share*float64(len(c.list)-1))])
		if c.got == nil || math.Abs(*c.got-exact) > exact*0.0101+0.5 {
			t.Errorf("%s: got %v, exactly %v", c.name, *c.got, exact)
		}
	}
	if avg := *r.Totals.LatencyMS.Avg; math.Abs(avg-float64(total)/float64(len(all))) > 0.1 {
		t.Errorf("avg %v", avg)
	}
	if len(r.Groups) != 0 || len(r.Buckets) != 3 || len(r.Buckets[0].Results) != 1 {
		t.Errorf("%d groups, %d buckets", len(r.Groups), len(r.Buckets))
	}
}

func TestWhoSeesWhat(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		a := analytics(t, db, now)
		all := used(rand.New(rand.NewPCG(5, 6)), 300, now.Add(-48*time.Hour), now) //nolint:gosec // the same in each run
		insert(t, db, all)
		rollUp(t, db, a, now)
		of := func(id string) func(*models.UsageRecord) bool {
			return func(r *models.UsageRecord) bool { return id == "" || r.UserID == id }
		}
		keyOnly := admin()
		keyOnly.Scopes = []models.Scope{models.ScopeAnalyticsRead}
		for _, c := range []struct {
			name       string
			v          *models.Viewer
			q          models.UsageQuery
			sees, code string
		}{
			{"an admin", admin(), models.UsageQuery{}, "", ""},
			{"an admin, one user", admin(), models.UsageQuery{UserIDs: []string{"user_2"}}, "user_2", ""},
			{"an admin, an unknown user", admin(), models.UsageQuery{UserIDs: []string{"user_x"}}, "user_x", ""},
			{"a user", someone("user_1"), models.UsageQuery{}, "user_1", ""},
			{"a user, by name", someone("user_1"), models.UsageQuery{UserIDs: []string{"user_1"}, GroupBy: []models.UsageDimension{models.UsageByUser}}, "user_1", ""},
			{"a user, another", someone("user_1"), models.UsageQuery{UserIDs: []string{"user_2"}}, "", "resource_not_found"},
			{"a user, both", someone("user_1"), models.UsageQuery{UserIDs: []string{"user_1", "user_2"}}, "", "resource_not_found"},
			{"a user, another's key", someone("user_1"), models.UsageQuery{APIKeyIDs: []string{"key_20"}}, "nobody", ""},
			{"a user, channels", someone("user_1"), models.UsageQuery{GroupBy: []models.UsageDimension{models.UsageByChannel}}, "", "insufficient_scope"},
			{"a user, a channel", someone("user_1"), models.UsageQuery{ChannelIDs: []string{"ch_1"}}, "", "insufficient_scope"},
			{"an admin by a key without the scope", keyOnly, models.UsageQuery{}, "user_admin", ""},
			{"without the scope", &models.Viewer{UserID: "user_1"}, models.UsageQuery{}, "", "insufficient_scope"},
			{"nobody", nil, models.UsageQuery{}, "", "missing_api_key"},
		} {
			t.Run(c.name, func(t *testing.T) {
				r, err := a.Report(t.Context(), c.v, c.q)
				if e, _ := models.AsError(err); err != nil || c.code != "" {
					if err == nil || e.Code != c.code {
						t.Errorf("got %v, want %s", err, c.code)
					}
					return
				}
				same(t, "totals", r.Totals, sum(all, of(c.sees)))
			})
		}
	})
}

func TestPagesOfBuckets(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	a := analytics(t, testdb.New(t, storage.SQLite), now)
	q := models.UsageQuery{StartDate: ptr("2026-11-01"), EndDate: ptr("2026-11-11"), Limit: ptr(4)}
	var starts []string
	for pages := 1; ; pages++ {
		r, err := a.Report(t.Context(), admin(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range r.Buckets {
			starts = append(starts, b.Start.Format("02"))
		}
		if !r.HasMore {
			if r.NextPage != nil || pages != 3 {
				t.Errorf("%d pages, then %v", pages, r.NextPage)
			}
			break
		}
		q.Page = r.NextPage
	}
	if got := strings.Join(starts, " "); got != "01 02 03 04 05 06 07 08 09 10" {
		t.Errorf("buckets %s", got)
	}
}

// The statements of a query find what they read by an index.
func TestAnalyticsUseIndexes(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		insert(t, db, used(rand.New(rand.NewPCG(7, 8)), 4000, now.AddDate(0, 0, -60), now)) //nolint:gosec // the same in each run
		a := analytics(t, db, now)
		rollUp(t, db, a, now)
		if _, err := db.Write().NewRaw("ANALYZE").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct{ text, index string }{
			"records of everybody": {usage.RecordQuery(db, now.Add(-time.Hour), now, ""), "usage_records_"},
			"records of a user":    {usage.RecordQuery(db, now.Add(-time.Hour), now, "user_1"), "usage_records_"},
			"packed hours":         {"SELECT hour, version, size FROM usage_hours WHERE hour >= 498000 AND hour < 498010", "usage_hours_"},
			"an hour":              {"SELECT data FROM usage_hours WHERE hour IN (498000, 498001)", "usage_hours"},
		} {
			explain := "EXPLAIN QUERY PLAN "
			if db.Dialect() == storage.Postgres {
				explain = "EXPLAIN "
			}
			rows, err := db.Read().QueryContext(t.Context(), explain+c.text)
			if err != nil {
				t.Fatal(err)
			}
			columns, _ := rows.Columns()
			var plan []string
			for rows.Next() {
				values := make([]any, len(columns))
				for i := range values {
					values[i] = new(any)
				}
				if err := rows.Scan(values...); err != nil {
					t.Fatal(err)
				}
				plan = append(plan, fmt.Sprint(*values[len(values)-1].(*any)))
			}
			_ = rows.Close()
			text := strings.Join(plan, "\n")
			t.Logf("%s:\n%s", name, text)
			if !strings.Contains(text, c.index) || !strings.Contains(strings.ToLower(text), "index") || strings.Contains(text, "Seq Scan") {
				t.Errorf("%s: no index %s in:\n%s", name, c.index, text)
			}
		}
	})
}
