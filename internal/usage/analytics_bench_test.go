package usage_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// fill makes records of 1000 users, 20 models and 10 channels over 90 days, all
// at random: hardly two of an hour are alike, which is the worst there can be.
func fill(b *testing.B, db *storage.DB, n int, now time.Time) {
	b.Helper()
	row := "'req_' || i, 'r', 'user_' || (i % 991), 'key_' || (i % 991), 'ch_' || (i * 31 % 10), 'model-' || (i * 17 % 20), 'm', FALSE, 'settled', " +
		"'', i % 2000, i % 500, i % 100, i % 50, FALSE, i * 1000::bigint, i * 37 % 20000, i * 13 % 900, "
	rest := " 0, 0, 'chat'"
	columns := "id, request_id, user_id, api_key_id, channel_id, model, upstream_model, stream, status, error_code, prompt_tokens, completion_tokens, " +
		"cached_tokens, reasoning_tokens, estimated, cost, latency_ms, ttft_ms, created_at, estimated_prompt_tokens, estimated_completion_tokens, operation"
	step := 90 * 24 * 3600 * 1e6 / int64(n)
	from := now.AddDate(0, 0, -90)
	query := fmt.Sprintf("INSERT INTO usage_records (%s) SELECT %s '%s'::timestamptz + i * interval '%d microseconds', %s FROM generate_series(0, %d) i",
		columns, row, from.Format(time.RFC3339), step, rest, n-1)
	if db.Dialect() == storage.SQLite {
		row = strings.ReplaceAll(row, "::bigint", "")
		query = fmt.Sprintf("WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < %d) "+
			"INSERT INTO usage_records (%s) SELECT %s strftime('%%Y-%%m-%%d %%H:%%M:%%S', %d + i * %d / 1000000, 'unixepoch') || '+00:00', %s FROM s",
			n-1, columns, row, from.Unix(), step, rest)
	}
	if _, err := db.Write().NewRaw(query).Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := db.Write().NewRaw("ANALYZE").Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReport measures queries over COAI_BENCH_ROWS records (a million).
func BenchmarkReport(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("COAI_BENCH_ROWS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	for _, dialect := range testdb.Dialects() {
		b.Run(dialect, func(b *testing.B) {
			db := testdb.New(b, dialect)
			now := time.Now().UTC().Truncate(time.Hour)
			began := time.Now()
			fill(b, db, n, now)
			b.Logf("filled in %s", time.Since(began))
			a := usage.NewAnalytics(db, 0)
			b.Cleanup(func() { _ = a.Close(context.WithoutCancel(b.Context())) })
			began = time.Now()
			rollUp(b, db, a, now)
			b.Logf("rolled up in %s", time.Since(began))
			start, hour, month := now.AddDate(0, 0, -90).Format(time.RFC3339), models.UsageHour, models.UsageMonth
			recent := now.AddDate(0, 0, -30).Format(time.RFC3339)
			for _, c := range []struct {
				name string
				q    models.UsageQuery
			}{
				{"cold", models.UsageQuery{StartDate: &start}},
				{"days", models.UsageQuery{StartDate: &start}},
				{"days in Kolkata", models.UsageQuery{StartDate: &start, Timezone: ptr("Asia/Kolkata")}},
				{"by model", models.UsageQuery{StartDate: &start, GroupBy: []models.UsageDimension{models.UsageByModel}}},
				{"by user and month", models.UsageQuery{StartDate: &start, Granularity: &month, GroupBy: []models.UsageDimension{models.UsageByUser}}},
				{"hours", models.UsageQuery{StartDate: &recent, Granularity: &hour}},
				{"one user by model", models.UsageQuery{StartDate: &start, UserIDs: []string{"user_7"}, GroupBy: []models.UsageDimension{models.UsageByModel}}},
				{"compared", models.UsageQuery{StartDate: ptr(now.AddDate(0, 0, -45).Format(time.RFC3339)), Compare: ptr(models.UsagePreviousPeriod)}},
			} {
				b.Run(c.name, func(b *testing.B) {
					before := cpu(b)
					for range b.N {
						if c.name == "cold" {
							a = usage.NewAnalytics(db, 0)
						}
						if _, err := a.Report(b.Context(), admin(), c.q); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(cpu(b)-before)/1000/float64(b.N), "cpu-ms/op")
				})
			}
		})
	}
}
