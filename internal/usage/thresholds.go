package usage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/models"
)

// maxTold bounds what a process remembers having told.
const maxTold = 10_000

// threshold is one that a budget has reached in a period.
type threshold struct {
	bun.BaseModel `bun:"table:usage_thresholds"`

	Owner   string        `bun:"owner,pk"`
	Period  models.Period `bun:"period,pk"`
	Since   time.Time     `bun:"since,pk"`
	Percent int           `bun:"percent,pk"`
}

// notices are the thresholds of budgets that are told of, and those that are known
// to have been: asking the database again is spared.
type notices struct {
	mu       sync.Mutex
	percents []int
	told     map[threshold]bool
}

// TellAt sets the shares of budgets, in percent, at which the event
// usage.threshold_reached is appended: once in each period, by all processes
// together. Without a call there is none.
func (l *Ledger) TellAt(percents []int) {
	l.notices.mu.Lock()
	defer l.notices.mu.Unlock()
	l.notices.percents = percents
}

// tell appends the events of the thresholds that the charges in this transaction
// have reached. Their budgets are locked, and charged already.
func (l *Ledger) tell(ctx context.Context, tx bun.IDB, book *budgets.Book) error {
	l.notices.mu.Lock()
	defer l.notices.mu.Unlock()
	return l.tellOf(ctx, tx, book.Reached(l.notices.percents))
}

// tellOf is tell under the lock of the notices.
func (l *Ledger) tellOf(ctx context.Context, tx bun.IDB, list []budgets.Reached) error {
	for _, r := range list {
		at := thresholdOf(r)
		if l.notices.told[at] {
			continue
		}
		res, err := tx.NewInsert().Model(&at).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return fmt.Errorf("note a budget's threshold: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return fmt.Errorf("note a budget's threshold: %w", err)
		}
		if n == 0 {
			// Told, and committed: the row is there.
			if len(l.notices.told) >= maxTold || l.notices.told == nil {
				l.notices.told = make(map[threshold]bool)
			}
			l.notices.told[at] = true
			continue
		}
		if err := reached(ctx, tx, r); err != nil {
			return err
		}
	}
	return nil
}

func thresholdOf(r budgets.Reached) threshold {
	return threshold{Owner: r.Budget.Owner, Period: r.Budget.Period, Since: r.Budget.Since.UTC(), Percent: r.Percent}
}

// tellLater is tell for SQLite, where charges are written below the layer that
// appends events: right after their transaction. What a process that dies in between
// leaves untold, tellMissed finds.
func (l *Ledger) tellLater(ctx context.Context, list []budgets.Reached) error {
	l.notices.mu.Lock()
	defer l.notices.mu.Unlock()
	fresh := slices.DeleteFunc(list, func(r budgets.Reached) bool { return l.notices.told[thresholdOf(r)] })
	if len(fresh) == 0 {
		return nil
	}
	return l.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return l.tellOf(ctx, tx, fresh) })
}

// tellMissed tells of all thresholds that are reached and were not told of.
func (l *Ledger) tellMissed(ctx context.Context, now time.Time) error {
	percents := l.percents()
	if len(percents) == 0 {
		return nil
	}
	var list []*models.Budget
	err := l.db.Read().NewSelect().Model(&list).Where("b.period <> ? AND b.spent > 0 AND b.amount > 0", models.PeriodBalance).
		Where("b.spent >= b.amount / 100 * ?", slices.Min(percents)).Scan(ctx)
	if err != nil {
		return fmt.Errorf("find budgets that are nearly spent: %w", err)
	}
	list = slices.DeleteFunc(list, func(b *models.Budget) bool { return b.Period.Start(now).After(b.Since) })
	return l.tellLater(ctx, budgets.ReachedBy(list, percents))
}

func (l *Ledger) percents() []int {
	l.notices.mu.Lock()
	defer l.notices.mu.Unlock()
	return l.notices.percents
}

// reached appends the event, and forgets the periods before.
func reached(ctx context.Context, tx bun.IDB, r budgets.Reached) error {
	b := r.Budget
	_, err := tx.NewDelete().Model((*threshold)(nil)).Where("owner = ?", b.Owner).Where("period = ?", b.Period).Where("since < ?", b.Since).Exec(ctx)
	if err != nil {
		return fmt.Errorf("forget thresholds: %w", err)
	}
	data := models.UsageThreshold{
		Object: "budget", UserID: b.Owner, Period: b.Period, Percent: r.Percent,
		Limit: models.USD(b.Limit), Spent: models.USD(b.Spent), ResetsAt: b.ResetsAt(),
	}
	if strings.HasPrefix(b.Owner, models.APIKeyPrefix) {
		data.APIKeyID = &b.Owner
		err := tx.NewSelect().Table("api_keys").Column("user_id").Where("id = ?", b.Owner).Scan(ctx, &data.UserID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // the key is gone, and nobody to tell
		}
		if err != nil {
			return fmt.Errorf("find a key's owner: %w", err)
		}
	}
	_, err = events.AppendFor(ctx, tx, data.UserID, models.EventUsageThresholdReached, data)
	return err
}
