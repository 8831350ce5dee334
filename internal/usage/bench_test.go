package usage_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

// BenchmarkPair measures Begin and Settle of one record by 64 callers at a time:
// processor time of this process, and allocations. -benchtime=20000x.
func BenchmarkPair(b *testing.B) {
	for _, dialect := range testdb.Dialects() {
		b.Run(dialect, func(b *testing.B) {
			ledger := usage.New(testdb.New(b, dialect), zerolog.Nop())
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
		})
	}
}

func pair(ctx context.Context, l *usage.Ledger, i int) error {
	rec := &models.UsageRecord{
		ID: models.NewID(models.RequestPrefix), RequestID: models.NewID(models.RequestPrefix),
		UserID: fmt.Sprintf("user_01JD0000000000000000000%03d", i%100), APIKeyID: "key_01JD00000000000000000000000", ChannelID: "ch_01JD00000000000000000000000",
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
