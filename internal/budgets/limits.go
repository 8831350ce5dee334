package budgets

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Owner is whose limits are changed: a user, or one of the user's keys.
type Owner struct{ UserID, KeyID string }

func (o Owner) id() string {
	if o.KeyID != "" {
		return o.KeyID
	}
	return o.UserID
}

// Set changes limits, where nil takes one away. A limit that is new counts what
// the owner has spent in its period already, as far as the usage records go back.
func Set(ctx context.Context, tx bun.IDB, dialect string, o Owner, limits map[models.Period]*models.Nanos, now time.Time) error {
	if len(limits) == 0 {
		return nil
	}
	if err := lockFamily(ctx, tx, dialect, o.UserID); err != nil {
		return err
	}
	for _, period := range []models.Period{models.PeriodDay, models.PeriodMonth, models.PeriodTotal} {
		limit, ok := limits[period]
		var err error
		switch {
		case !ok:
		case limit == nil:
			_, err = tx.NewDelete().Model((*models.Budget)(nil)).Where("owner = ?", o.id()).Where("period = ?", period).Exec(ctx)
		default:
			err = set(ctx, tx, o, &models.Budget{Owner: o.id(), Period: period, Limit: *limit, Since: period.Start(now)})
		}
		if err != nil {
			return fmt.Errorf("set %s budget: %w", period, err)
		}
	}
	return nil
}

func set(ctx context.Context, tx bun.IDB, o Owner, b *models.Budget) error {
	res, err := tx.NewUpdate().Model(b).Column("amount").WherePK().Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	column := "user_id"
	if o.KeyID != "" {
		column = "api_key_id"
	}
	// What runs now is charged when it ends. First: this waits for those that end
	// at this moment, so that the sum below has them.
	if _, err := tx.NewRaw("UPDATE usage_holds SET metered = TRUE WHERE ? = ? AND NOT metered", bun.Ident(column), o.id()).Exec(ctx); err != nil {
		return fmt.Errorf("meter running requests: %w", err)
	}
	if b.Period != models.PeriodBalance {
		// The user is named for a key too: there is an index of users' records.
		err = tx.NewRaw("SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM usage_records WHERE user_id = ? AND created_at >= ? AND ? = ?",
			o.UserID, b.Since, bun.Ident(column), o.id()).Scan(ctx, &b.Spent)
		if err != nil {
			return fmt.Errorf("sum up usage: %w", err)
		}
	}
	err = tx.NewRaw("SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM usage_holds WHERE ? = ?", bun.Ident(column), o.id()).Scan(ctx, &b.Held)
	if err != nil {
		return fmt.Errorf("sum up holds: %w", err)
	}
	_, err = tx.NewInsert().Model(b).Exec(ctx)
	return err
}

// lockFamily keeps holds from being taken on a user or any of its keys: whoever
// takes one locks a budget that exists first.
func lockFamily(ctx context.Context, tx bun.IDB, dialect, userID string) error {
	if dialect != storage.Postgres {
		return nil // there is one writer
	}
	_, err := tx.NewRaw(`SELECT 1 FROM budgets WHERE owner = ? OR owner IN (SELECT id FROM api_keys WHERE user_id = ?)
		ORDER BY owner, period FOR UPDATE`, userID, userID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("lock budgets: %w", err)
	}
	return nil
}

// Credit adds to a user's prepaid balance, or takes from it, and gives the
// balance afterwards. The first credit makes the user prepaid.
func Credit(ctx context.Context, tx bun.IDB, dialect, userID string, amount models.Nanos, now time.Time) (models.Nanos, error) {
	if err := lockFamily(ctx, tx, dialect, userID); err != nil {
		return 0, err
	}
	b := &models.Budget{Owner: userID, Period: models.PeriodBalance, Since: models.PeriodBalance.Start(now)}
	err := tx.NewSelect().Model(b).WherePK().Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read balance: %w", err)
	}
	if amount > 0 && b.Limit > math.MaxInt64-amount || amount < 0 && b.Limit < math.MinInt64/2-amount {
		return 0, models.Invalid("amount", "The balance would be out of range.")
	}
	b.Limit += amount
	if err := set(ctx, tx, Owner{UserID: userID}, b); err != nil {
		return 0, fmt.Errorf("change balance: %w", err)
	}
	return b.Limit - b.Spent, nil
}

// Of gives the budgets of these owners as they are now, by owner: shorter
// periods first, and a balance last.
func Of(ctx context.Context, db bun.IDB, now time.Time, owners ...string) (map[string][]*models.Budget, error) {
	var list []*models.Budget
	if len(owners) > 0 {
		if err := db.NewSelect().Model(&list).Where("owner IN (?)", bun.List(owners)).Scan(ctx); err != nil {
			return nil, fmt.Errorf("read budgets: %w", err)
		}
	}
	order := []models.Period{models.PeriodDay, models.PeriodMonth, models.PeriodTotal, models.PeriodBalance}
	slices.SortFunc(list, func(a, b *models.Budget) int { return slices.Index(order, a.Period) - slices.Index(order, b.Period) })
	by := make(map[string][]*models.Budget, len(owners))
	for _, b := range list {
		if start := b.Period.Start(now); start.After(b.Since) {
			b.Since, b.Spent = start, 0
		}
		by[b.Owner] = append(by[b.Owner], b)
	}
	return by, nil
}

// Forget deletes the budgets of owners that are gone.
func Forget(ctx context.Context, tx bun.IDB, owners []string) error {
	if len(owners) == 0 {
		return nil
	}
	_, err := tx.NewDelete().Model((*models.Budget)(nil)).Where("owner IN (?)", bun.List(owners)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete budgets: %w", err)
	}
	return nil
}
