package usage_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// BenchmarkLedger measures Begin and Settle of one record by 64 callers at a time:
// processor time of this process, and allocations; in an empty ledger, and in one
// of a million records. -benchtime=20000x.
func BenchmarkLedger(b *testing.B) {
	for _, dialect := range testdb.Dialects() {
		b.Run(dialect, func(b *testing.B) { pairs(b, testdb.New(b, dialect)) })
		b.Run(dialect+"/million", func(b *testing.B) {
			db := testdb.New(b, dialect)
			crowd(b, db, 1_000_000)
			pairs(b, db)
		})
	}
}

// crowd writes records of the last 30 days, of a thousand users.
func crowd(b *testing.B, db *storage.DB, n int) {
	b.Helper()
	at, numbers := "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now', '-' || (n % 2592000) || ' seconds')",
		"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
	if db.Dialect() == storage.Postgres {
		at, numbers = "now() - (n % 2592000) * interval '1 second'", "WITH numbers AS (SELECT generate_series(1, ?) AS n)"
	}
	_, err := db.Write().NewRaw(`INSERT INTO usage_records
		(id, request_id, user_id, api_key_id, channel_id, model, upstream_model, operation, stream, status, error_code,
		 prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated, cost, latency_ms, ttft_ms,
		 created_at, settled_at, estimated_prompt_tokens, estimated_completion_tokens)
		`+numbers+` SELECT 'req_00' || (100000000000000000 + n), 'req_00' || n, 'user_01JD0000000000000000000' || (100 + n % 900),
		'key_01JD00000000000000000000000', 'ch_01JD00000000000000000000000', 'gpt-5-mini', 'gpt-5-mini-2026-01-01', 'chat', TRUE,
		'settled', '', 100, 50, 0, 0, FALSE, 456, 200, 30, `+at+`, `+at+`, 90, 40 FROM numbers`, n).Exec(b.Context())
	if err != nil {
		b.Fatal(err)
	}
}

func pairs(b *testing.B, db *storage.DB) {
	ledger := usage.New(db, zerolog.Nop())
	b.Cleanup(func() { _ = ledger.Close(context.WithoutCancel(b.Context())) })
	b.ReportAllocs()
	work := make(chan int)
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for i := range work {
				if err := pair(b.Context(), ledger, i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	before := cpu(b)
	b.ResetTimer()
	for i := range b.N {
		work <- i
	}
	close(work)
	callers.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-µs/op")
}

func pair(ctx context.Context, l *usage.Ledger, i int) error {
	rec := &models.UsageRecord{
		ID: models.NewID(models.RequestPrefix), RequestID: models.NewID(models.RequestPrefix),
		UserID: fmt.Sprintf("user_01JD0000000000000000000%03d", 100+i%100), APIKeyID: "key_01JD00000000000000000000000", ChannelID: "ch_01JD00000000000000000000000",
		Model: "gpt-5-mini", UpstreamModel: "gpt-5-mini-2026-01-01", Operation: models.OperationChat, Stream: true, PromptTokens: 100, Cost: 123,
	}
	if err := l.Begin(ctx, rec); err != nil {
		return err
	}
	rec.CompletionTokens, rec.Cost, rec.LatencyMS, rec.TTFTMS = 50, 456, 200, 30
	return l.Settle(ctx, rec)
}

// cpu is the processor time of this process in microseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Microseconds()
}
