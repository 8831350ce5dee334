// Package budgets keeps what users and API keys may spend: a limit for a day, a
// month or for good, and prepaid balances. Holds and charges are made in the
// transaction of the usage record that they are for.
package budgets

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Book holds the budgets of some owners, locked until the transaction ends.
// What is done to them is in memory until [Book.Save].
type Book struct {
	budgets []*models.Budget // in the order of their keys, as they were locked
	changed map[*models.Budget]bool
}

// Lock reads the budgets of these owners and keeps other transactions from
// them. All who lock do so in the order of the primary key, so that nobody waits
// for one who waits for him.
func Lock(ctx context.Context, tx bun.IDB, dialect string, owners []string) (*Book, error) {
	b := &Book{changed: map[*models.Budget]bool{}}
	if len(owners) == 0 {
		return b, nil
	}
	q := tx.NewSelect().Model(&b.budgets).Where("owner IN (?)", bun.List(owners)).OrderExpr("owner, period")
	if dialect == storage.Postgres {
		q = q.For("UPDATE")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("lock budgets: %w", err)
	}
	return b, nil
}

// of are the budgets of one owner.
func (b *Book) of(owner string) []*models.Budget {
	first, _ := slices.BinarySearchFunc(b.budgets, owner, func(x *models.Budget, to string) int { return cmp.Compare(x.Owner, to) })
	last := first
	for last < len(b.budgets) && b.budgets[last].Owner == owner {
		last++
	}
	return b.budgets[first:last]
}

// Hold sets an amount aside in every budget of the record's user and key, or in
// none of them: when it does not fit into one, the error is a *models.Error of
// KindRateLimited with the code insufficient_quota or budget_exceeded. What is
// free fits always.
func (b *Book) Hold(r *models.UsageRecord) error {
	owners := [...]string{r.UserID, r.APIKeyID}
	for _, owner := range owners {
		for _, x := range b.of(owner) {
			b.roll(x, r.CreatedAt)
			if r.Held > 0 && x.Left() < r.Held {
				return refusal(x, r)
			}
		}
	}
	for _, owner := range owners {
		for _, x := range b.of(owner) {
			x.Held += r.Held
			b.changed[x] = true
		}
	}
	return nil
}

// Charge takes the record's hold back and charges its cost, to the period in
// which it began: one that is over is not charged any more.
func (b *Book) Charge(r *models.UsageRecord) {
	for _, owner := range [...]string{r.UserID, r.APIKeyID} {
		for _, x := range b.of(owner) {
			b.roll(x, r.CreatedAt)
			x.Held -= r.Held
			if !r.CreatedAt.Before(x.Since) {
				x.Spent += r.Cost
			}
			b.changed[x] = true
		}
	}
}

// roll begins the period that holds t, unless it has begun already.
func (b *Book) roll(x *models.Budget, t time.Time) {
	if start := x.Period.Start(t); start.After(x.Since) {
		x.Since, x.Spent = start, 0
		b.changed[x] = true
	}
}

// Save writes what has changed.
func (b *Book) Save(ctx context.Context, tx bun.IDB) error {
	for _, x := range b.budgets {
		if !b.changed[x] {
			continue
		}
		_, err := tx.NewUpdate().Model(x).Column("spent", "held", "since").WherePK().Exec(ctx)
		if err != nil {
			return fmt.Errorf("update budget: %w", err)
		}
	}
	return nil
}

func refusal(x *models.Budget, r *models.UsageRecord) *models.Error {
	e := &models.Error{Kind: models.KindRateLimited, Code: models.CodeBudgetExceeded, Final: true}
	if x.Period == models.PeriodBalance {
		e.Code = models.CodeInsufficientQuota
		e.Message = fmt.Sprintf("The account's balance of $%s does not suffice: $%s are held by requests that run, and this one may cost up to $%s.",
			x.Limit-x.Spent, x.Held, r.Held)
		return e
	}
	whose := "The account's"
	if strings.HasPrefix(x.Owner, models.APIKeyPrefix) {
		whose = "This API key's"
	}
	name := map[models.Period]string{models.PeriodDay: "daily", models.PeriodMonth: "monthly", models.PeriodTotal: "total", models.PeriodBalance: "prepaid"}[x.Period]
	e.Message = fmt.Sprintf("%s %s budget of $%s is exceeded: $%s are spent, $%s are held by requests that run, and this one may cost up to $%s.",
		whose, name, x.Limit, x.Spent, x.Held, r.Held)
	if at := x.ResetsAt(); at != nil {
		e.Message += " It resets at " + at.Format(time.RFC3339) + "."
		e.Retry = max(at.Sub(r.CreatedAt), time.Second)
	}
	return e
}
