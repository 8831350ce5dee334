package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/models"
)

// setKeyBudgets changes the budgets of one of the viewer's keys.
func (s *Service) setKeyBudgets(ctx context.Context, tx bun.Tx, v *models.Viewer, key *models.APIKey, limits map[models.Period]*models.Nanos, now time.Time) error {
	if len(limits) == 0 {
		return nil
	}
	if err := unbudgeted(ctx, tx, v, now); err != nil {
		return err
	}
	return budgets.Set(ctx, tx, s.db.Dialect(), budgets.Owner{UserID: key.UserID, KeyID: key.ID}, limits, now)
}

// unbudgeted fails for a key that has budgets or limits of its own, unless it is an
// admin's: by raising them, or through another key, it could use what was kept from it.
func unbudgeted(ctx context.Context, tx bun.Tx, v *models.Viewer, now time.Time) error {
	if v.IsAdmin() || v.KeyID == "" {
		return nil
	}
	if v.Limits.OfKey() {
		return models.Forbidden(models.CodeInsufficientScope, "A key that has limits of its own cannot make or rotate keys, nor change budgets or limits.")
	}
	by, err := budgets.Of(ctx, tx, now, v.KeyID)
	if err != nil {
		return err
	}
	if len(by) > 0 {
		return models.Forbidden(models.CodeInsufficientScope, "A key that has a budget cannot make or rotate keys, nor change budgets.")
	}
	return nil
}

// KeyBudgets are the budgets of an API key that the viewer has been shown.
func (s *Service) KeyBudgets(ctx context.Context, key *models.APIKey) ([]*models.Budget, error) {
	return s.budgetsOf(ctx, key.ID, false)
}

// UserBudgets are the budgets of a user that the viewer has been shown.
func (s *Service) UserBudgets(ctx context.Context, u *models.User) ([]*models.Budget, error) {
	return s.budgetsOf(ctx, u.ID, false)
}

// Balance is the prepaid credit of a user that the viewer has been shown; nil
// for one that is not prepaid.
func (s *Service) Balance(ctx context.Context, u *models.User) (*models.Money, error) {
	list, err := s.budgetsOf(ctx, u.ID, true)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	m := models.USD(list[0].Limit - list[0].Spent)
	return &m, nil
}

func (s *Service) budgetsOf(ctx context.Context, owner string, balance bool) ([]*models.Budget, error) {
	by, err := budgets.Of(ctx, s.db.Read(), s.now(), owner)
	if err != nil {
		return nil, err
	}
	list := []*models.Budget{}
	for _, b := range by[owner] {
		if balance == (b.Period == models.PeriodBalance) {
			list = append(list, b)
		}
	}
	return list, nil
}

// UpdateUserBudgets changes what a user may spend with all keys together. Scope:
// admin.
func (s *Service) UpdateUserBudgets(ctx context.Context, v *models.Viewer, userID string, in models.BudgetsInput) (*models.UpdateUserBudgetsPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	p := new(models.UpdateUserBudgetsPayload)
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if p.User, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		before, err := s.limitsOf(ctx, tx, userID)
		if err != nil {
			return err
		}
		if err := budgets.Set(ctx, tx, s.db.Dialect(), budgets.Owner{UserID: userID}, in.Limits(), s.time()); err != nil {
			return err
		}
		after, err := s.limitsOf(ctx, tx, userID)
		if err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "user.budgets_updated", userTarget(userID), before, after)
	})
	if err != nil {
		return nil, wrap("update budgets", err)
	}
	return p, nil
}

// AdjustBalance adds to a user's prepaid credit, or takes from it, and keeps an
// entry of who did so and why. The first one makes the user prepaid. Scope: admin.
func (s *Service) AdjustBalance(ctx context.Context, v *models.Viewer, userID string, in models.AdjustBalanceInput) (*models.AdjustBalancePayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	p := &models.AdjustBalancePayload{Entry: &models.BalanceEntry{
		ID: models.NewID(models.EntryPrefix), UserID: userID, ActorID: v.UserID, Amount: in.Amount, CreatedAt: s.time(),
	}}
	if in.Note != nil {
		p.Entry.Note = *in.Note
	}
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if p.User, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		p.Entry.Balance, err = budgets.Credit(ctx, tx, s.db.Dialect(), userID, in.Amount, s.time())
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(p.Entry).Exec(ctx); err != nil {
			return fmt.Errorf("insert balance entry: %w", err)
		}
		return audit.Append(ctx, tx, v, "user.balance_adjusted", userTarget(userID), nil, map[string]any{
			"amount": p.Entry.AmountMoney(), "balance": p.Entry.BalanceMoney(), "note": p.Entry.Note, "entry_id": p.Entry.ID,
		})
	})
	if err != nil {
		return nil, wrap("adjust balance", err)
	}
	return p, nil
}

// BalanceEntries are the latest changes of a user's balance, the newest first.
// Scope: admin, or profile for one's own.
func (s *Service) BalanceEntries(ctx context.Context, u *models.User, first *int) ([]*models.BalanceEntry, error) {
	n := models.DefaultPageSize
	if first != nil {
		n = *first
	}
	if n < 1 || n > models.MaxPageSize {
		return nil, models.Invalid("first", "'first' must be between 1 and %d.", models.MaxPageSize)
	}
	list := []*models.BalanceEntry{}
	err := s.db.Read().NewSelect().Model(&list).Where("user_id = ?", u.ID).OrderExpr("id DESC").Limit(int64(n)).Scan(ctx)
	return list, wrap("list balance entries", err)
}
