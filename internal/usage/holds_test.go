package usage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

const (
	alice = "user_alice"
	key   = models.APIKeyPrefix + "alice"
)

func open(t *testing.T, db *storage.DB) *usage.Ledger {
	t.Helper()
	l := usage.New(db, zerolog.Nop())
	t.Cleanup(func() { _ = l.Close(context.WithoutCancel(t.Context())) })
	return l
}

func limit(t *testing.T, db *storage.DB, o budgets.Owner, period models.Period, amount models.Nanos, now time.Time) {
	t.Helper()
	limits := make(map[models.Period]*models.Nanos)
	limits[period] = &amount
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		return budgets.Set(ctx, tx, db.Dialect(), o, limits, now)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func credit(t *testing.T, db *storage.DB, amount models.Nanos) {
	t.Helper()
	err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := budgets.Credit(ctx, tx, db.Dialect(), alice, amount, time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func budget(t *testing.T, db *storage.DB, owner string, period models.Period, now time.Time) *models.Budget {
	t.Helper()
	by, err := budgets.Of(t.Context(), db.Read(), now, owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range by[owner] {
		if b.Period == period {
			return b
		}
	}
	t.Fatalf("%s has no %s budget", owner, period)
	return nil
}

func metered(at time.Time, held models.Nanos) *models.UsageRecord {
	return &models.UsageRecord{
		ID: models.NewID(models.RequestPrefix), UserID: alice, APIKeyID: key, Model: "m", Operation: models.OperationChat,
		Metered: true, Held: held, CreatedAt: at,
	}
}

func code(err error) string {
	var e *models.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Two nodes and a hundred callers: exactly as many as the budget has room for
// get in, and nobody is served by an error of a neighbour.
func TestHoldsAreNotRacedPast(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		nodes := []*usage.Ledger{open(t, db), open(t, db)}
		now := time.Now()
		limit(t, db, budgets.Owner{UserID: alice, KeyID: key}, models.PeriodDay, 10*models.Dollar, now)
		credit(t, db, 1000*models.Dollar)
		var callers sync.WaitGroup
		var in, refused, free atomic.Int64
		for i := range 100 {
			callers.Go(func() {
				switch err := nodes[i%2].Begin(t.Context(), metered(now, models.Dollar)); {
				case err == nil:
					in.Add(1)
				case code(err) == models.CodeBudgetExceeded:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
			callers.Go(func() { // neighbours in the same batches
				other := metered(now, 0)
				other.Metered, other.UserID, other.APIKeyID = false, "user_other", "key_other"
				if err := nodes[i%2].Begin(t.Context(), other); err != nil {
					t.Error(err)
				}
				free.Add(1)
			})
		}
		callers.Wait()
		if in.Load() != 10 || refused.Load() != 90 || free.Load() != 100 {
			t.Errorf("%d got in, %d were refused, %d had no budget", in.Load(), refused.Load(), free.Load())
		}
		b := budget(t, db, key, models.PeriodDay, now)
		if b.Held != 10*models.Dollar || b.Spent != 0 || b.Left() != 0 {
			t.Errorf("budget = %+v", b)
		}
		if b := budget(t, db, alice, models.PeriodBalance, now); b.Held != 10*models.Dollar {
			t.Errorf("a refusal by one budget is held in another: %+v", b)
		}
	})
}

func TestSettleGivesBackTheDifference(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		l, now := open(t, db), time.Now()
		credit(t, db, 5*models.Dollar)
		r := metered(now, 4*models.Dollar)
		if err := l.Begin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := l.Begin(t.Context(), metered(now, 2*models.Dollar)); code(err) != models.CodeInsufficientQuota {
			t.Errorf("a balance that is held was given again: %v", err)
		}
		if err := l.Begin(t.Context(), metered(now, 0)); err != nil {
			t.Errorf("what costs nothing was refused: %v", err)
		}
		r.Cost = models.Dollar
		for range 2 { // the second counts for nothing
			if err := l.Settle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if b := budget(t, db, alice, models.PeriodBalance, now); b.Held != 0 || b.Spent != models.Dollar {
			t.Errorf("balance = %+v", b)
		}
		if n, err := l.Recover(t.Context(), now.Add(time.Hour)); err != nil || n != 1 {
			t.Errorf("recovered %d, %v", n, err)
		}
	})
}

func TestPeriodsBeginAnew(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		l := open(t, db)
		evening := time.Date(2026, 1, 31, 23, 59, 0, 0, time.UTC)
		morning := evening.Add(2 * time.Minute)
		owner := budgets.Owner{UserID: alice, KeyID: key}
		limit(t, db, owner, models.PeriodDay, models.Dollar, evening)
		limit(t, db, owner, models.PeriodTotal, 10*models.Dollar, evening)
		late := metered(evening, models.Dollar)
		if err := l.Begin(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		err := l.Begin(t.Context(), metered(evening, 1))
		var e *models.Error
		if !errors.As(err, &e) || e.Code != models.CodeBudgetExceeded || !e.Final || e.Retry != time.Minute ||
			!strings.Contains(e.Message, "daily budget of $1") || !strings.Contains(e.Message, "2026-02-01T00:00:00Z") {
			t.Errorf("refusal = %#v", e)
		}
		// It ends on the next day, and is charged to its own.
		next := metered(morning, 0)
		if err := l.Begin(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		late.Cost, next.Cost = models.Dollar, models.Dollar/4
		for _, r := range []*models.UsageRecord{late, next} {
			if err := l.Settle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if b := budget(t, db, key, models.PeriodDay, morning); b.Spent != models.Dollar/4 || b.Held != 0 || !b.Since.Equal(models.PeriodDay.Start(morning)) {
			t.Errorf("the new day: %+v", b)
		}
		if b := budget(t, db, key, models.PeriodTotal, morning); b.Spent != models.Dollar+models.Dollar/4 {
			t.Errorf("the total: %+v", b)
		}
		if b := budget(t, db, key, models.PeriodDay, morning.AddDate(0, 0, 1)); b.Spent != 0 {
			t.Errorf("the day after: %+v", b)
		}
	})
}

// A dead process's holds are given back, and its last checkpoint is charged, but
// never more than was held.
func TestRecoverChargesTheCheckpoint(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		l, now := open(t, db), time.Now()
		credit(t, db, 100*models.Dollar)
		small, large := metered(now, 2*models.Dollar), metered(now, 2*models.Dollar)
		for _, r := range []*models.UsageRecord{small, large} {
			if err := l.Begin(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		l.Checkpoint(small.ID, 10, models.Dollar)
		l.Checkpoint(large.ID, 1000, 50*models.Dollar)
		if err := l.SaveCheckpoints(); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Recover(t.Context(), now.Add(time.Hour)); err != nil || n != 2 {
			t.Fatalf("recovered %d, %v", n, err)
		}
		if b := budget(t, db, alice, models.PeriodBalance, now); b.Held != 0 || b.Spent != 3*models.Dollar {
			t.Errorf("balance = %+v", b)
		}
		// The process was only slow: what it says now is too late.
		small.Cost = 2 * models.Dollar
		if err := l.Settle(t.Context(), small); err != nil {
			t.Fatal(err)
		}
		if b := budget(t, db, alice, models.PeriodBalance, now); b.Held != 0 || b.Spent != 3*models.Dollar {
			t.Errorf("balance after a late settlement = %+v", b)
		}
		r := new(models.UsageRecord)
		if err := db.Read().NewSelect().Model(r).Where("id = ?", small.ID).Scan(t.Context()); err != nil || r.Status != models.UsageRecovered || r.CompletionTokens != 10 || !r.Estimated {
			t.Errorf("record = %+v, %v", r, err)
		}
	})
}

// A first budget counts what was spent in its period before, and what runs.
func TestNewBudgetKnowsThePast(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		l, now := open(t, db), time.Now()
		record := func(at time.Time) *models.UsageRecord {
			r := metered(at, 0)
			r.Metered, r.Cost = false, models.Dollar
			if err := l.Begin(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		settle := func(r *models.UsageRecord) {
			if err := l.Settle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		settle(record(now))
		settle(record(now.AddDate(-1, 0, 0)))
		running := record(now)
		limit(t, db, budgets.Owner{UserID: alice}, models.PeriodMonth, 5*models.Dollar, now)
		limit(t, db, budgets.Owner{UserID: alice, KeyID: key}, models.PeriodTotal, 5*models.Dollar, now)
		limit(t, db, budgets.Owner{UserID: alice, KeyID: "key_else"}, models.PeriodTotal, 5*models.Dollar, now)
		settle(running)
		for owner, want := range map[string]models.Nanos{alice: 2, key: 3, "key_else": 0} {
			period := models.PeriodTotal
			if owner == alice {
				period = models.PeriodMonth
			}
			if b := budget(t, db, owner, period, now); b.Spent != want*models.Dollar || b.Held != 0 {
				t.Errorf("%s: %+v", owner, b)
			}
		}
		limit(t, db, budgets.Owner{UserID: alice}, models.PeriodMonth, 3*models.Dollar, now)
		if b := budget(t, db, alice, models.PeriodMonth, now); b.Spent != 2*models.Dollar || b.Limit != 3*models.Dollar {
			t.Errorf("after a change of the limit: %+v", b)
		}
	})
}

// Whatever happens in whatever order, what is spent is the sum of the records'
// costs, and what is held is the sum of the open holds.
func TestMoneyAddsUp(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		now := time.Now()
		credit(t, db, 40*models.Dollar)
		limit(t, db, budgets.Owner{UserID: alice, KeyID: key}, models.PeriodMonth, 30*models.Dollar, now)
		nodes := []*usage.Ledger{open(t, db), open(t, db)}
		var workers sync.WaitGroup
		for w := range 8 {
			workers.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(w)))
				for range 60 {
					l := nodes[random.IntN(len(nodes))]
					r := metered(now, models.Nanos(random.Int64N(int64(models.Dollar))))
					err := l.Begin(t.Context(), r)
					if err != nil {
						if c := code(err); c != models.CodeBudgetExceeded && c != models.CodeInsufficientQuota {
							t.Error(err)
						}
						continue
					}
					r.Cost = models.Nanos(random.Int64N(int64(r.Held) + 1))
					switch random.IntN(4) {
					case 0: // the process dies
						l.Checkpoint(r.ID, 1, r.Cost)
					case 1: // and is taken for dead while it settles
						workers.Go(func() {
							if _, err := nodes[0].Recover(t.Context(), now.Add(time.Hour)); err != nil {
								t.Error(err)
							}
						})
						fallthrough
					default:
						for range 1 + random.IntN(2) {
							if err := l.Settle(t.Context(), r); err != nil {
								t.Error(err)
							}
						}
					}
				}
			})
		}
		workers.Wait()
		sums := func(when string) {
			t.Helper()
			var cost, held int64
			if err := db.Read().NewRaw("SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM usage_records").Scan(t.Context(), &cost); err != nil {
				t.Fatal(err)
			}
			if err := db.Read().NewRaw("SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM usage_holds").Scan(t.Context(), &held); err != nil {
				t.Fatal(err)
			}
			for owner, period := range map[string]models.Period{alice: models.PeriodBalance, key: models.PeriodMonth} {
				b := budget(t, db, owner, period, now)
				if int64(b.Spent) != cost || int64(b.Held) != held || b.Left() < 0 {
					t.Errorf("%s, %s: records cost %d and %d are held: %+v", when, period, cost, held, b)
				}
			}
			if cost == 0 {
				t.Errorf("%s: nothing was spent", when)
			}
		}
		sums("before recovery")
		if _, err := nodes[1].Recover(t.Context(), now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		sums("after recovery")
	})
}

func TestPriceOfEveryPart(t *testing.T) {
	n := func(v models.Nanos) *models.Nanos { return &v }
	p := &models.Pricing{
		Prompt: 3 * models.Dollar, Completion: 15 * models.Dollar, CachedRead: n(models.Dollar), CacheWrite: n(4 * models.Dollar),
		Reasoning: n(20 * models.Dollar), ImageInput: n(5 * models.Dollar), AudioInput: n(6 * models.Dollar), AudioOutput: n(7 * models.Dollar),
		Image: n(models.Dollar / 25), PerCharacter: n(15_000), PerMinute: n(6_000_000), PerRequest: n(models.Dollar / 100),
	}
	free := *p
	free.PerRequest = nil
	for name, c := range map[string]struct {
		pricing *models.Pricing
		usage   models.Usage
		want    models.Nanos
	}{
		"nothing used": {p, models.Usage{}, 0},
		"tokens":       {&free, models.Usage{PromptTokens: 1000, CompletionTokens: 10}, 3_150_000},
		"request":      {p, models.Usage{PromptTokens: 1000, CompletionTokens: 10}, 13_150_000},
		"parts of the prompt": {&free, models.Usage{PromptTokens: 1000, PromptTokensDetails: &models.PromptTokensDetails{
			CachedTokens: 100, CacheWriteTokens: 200, AudioTokens: 300, ImageTokens: 50,
		}}, 100*1000 + 200*4000 + 300*6000 + 50*5000 + 350*3000},
		"more parts than prompt": {&free, models.Usage{PromptTokens: 100, PromptTokensDetails: &models.PromptTokensDetails{CachedTokens: 80, CacheWriteTokens: 80}}, 80*1000 + 20*4000},
		"parts of the answer":    {&free, models.Usage{CompletionTokens: 100, CompletionTokensDetails: &models.CompletionTokensDetails{ReasoningTokens: 10, AudioTokens: 20}}, 10*20000 + 20*7000 + 70*15000},
		"images":                 {&free, models.Usage{Images: 3}, 120_000_000},
		"speech":                 {&free, models.Usage{Characters: 7}, 105_000},
		"transcription":          {&free, models.Usage{AudioMS: 90_001}, 9_000_100},
		"rounded once":           {&models.Pricing{Prompt: 250_000, Completion: 250_000}, models.Usage{PromptTokens: 1, CompletionTokens: 1}, 1},
		"beyond all bounds":      {p, models.Usage{PromptTokens: 1 << 62, CompletionTokens: 1 << 62, Images: 1 << 62}, 1<<63 - 1},
	} {
		u := c.usage
		if usage.Price(c.pricing, &u); name != "beyond all bounds" && *u.Cost != c.want || u.CostDetails.PromptCost+u.CostDetails.CompletionCost != *u.Cost {
			t.Errorf("%s costs %d, want %d (%+v)", name, *u.Cost, c.want, *u.CostDetails)
		}
	}
	if got := usage.HoldFor(p, models.Usage{PromptTokens: 1000, CompletionTokens: 100}); got != 1000*6000+100*20000+models.Dollar/100 {
		t.Errorf("hold = %d", got)
	}
	if got := usage.HoldFor(nil, models.Usage{PromptTokens: 1000, CompletionTokens: 100}); got != 0 {
		t.Errorf("hold without a price = %d", got)
	}
}

// Many at once, with and without budgets, are in the ledger once each.
func TestOneRecordForEach(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		l, now := open(t, db), time.Now()
		credit(t, db, 1_000_000*models.Dollar)
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				r := metered(now, models.Dollar)
				r.RequestID = fmt.Sprint(i)
				if i%2 == 1 {
					r.Metered, r.Held, r.UserID, r.APIKeyID = false, 0, "user_other", "key_other"
				}
				if err := l.Begin(t.Context(), r); err != nil {
					t.Error(err)
				}
				r.Cost, r.CompletionTokens, r.CachedTokens, r.ErrorCode = 7, int64(i), 3, "x"
				if err := l.Settle(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		var rows []models.UsageRecord
		if err := db.Read().NewSelect().Model(&rows).Scan(t.Context()); err != nil || len(rows) != 200 {
			t.Fatalf("%d records, %v", len(rows), err)
		}
		for _, r := range rows {
			if fmt.Sprint(r.CompletionTokens) != r.RequestID || r.Cost != 7 || r.CachedTokens != 3 || r.ErrorCode != "x" || r.Status != models.UsageSettled ||
				!r.CreatedAt.Equal(now.UTC().Truncate(time.Microsecond)) || r.SettledAt == nil {
				t.Errorf("record = %+v", r)
			}
		}
		if n, err := db.Read().NewSelect().Table("usage_holds").Count(t.Context()); err != nil || n != 0 {
			t.Errorf("%d holds are left, %v", n, err)
		}
		if b := budget(t, db, alice, models.PeriodBalance, now); b.Spent != 700 || b.Held != 0 {
			t.Errorf("balance = %+v", b)
		}
	})
}
