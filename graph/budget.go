package graph

import (
	"context"
	"time"

	"github.com/coaidev/coai/models"
)

func (r apiKey) Budgets(ctx context.Context, k *models.APIKey) ([]*models.Budget, error) {
	return r.accounts.KeyBudgets(ctx, k)
}

func (r user) Budgets(ctx context.Context, u *models.User) ([]*models.Budget, error) {
	return r.accounts.UserBudgets(ctx, u)
}

func (r user) Balance(ctx context.Context, u *models.User) (*models.Money, error) {
	return r.accounts.Balance(ctx, u)
}

func (r user) BalanceEntries(ctx context.Context, u *models.User, first *int) ([]*models.BalanceEntry, error) {
	return r.accounts.BalanceEntries(ctx, u, first)
}

func (r query) User(ctx context.Context, id string) (*models.User, error) {
	return r.accounts.User(ctx, viewer(ctx), id)
}

func (r query) UsageAudit(ctx context.Context, start, end time.Time, channelID *string) ([]*models.UsageAudit, error) {
	return r.usage.Audit(ctx, viewer(ctx), start, end, channelID)
}

func (r mutation) UpdateUserBudgets(ctx context.Context, userID string, in models.BudgetsInput) (*models.UpdateUserBudgetsPayload, error) {
	return settle(r.accounts.UpdateUserBudgets(ctx, viewer(ctx), userID, in))
}

func (r mutation) AdjustBalance(ctx context.Context, userID string, in models.AdjustBalanceInput) (*models.AdjustBalancePayload, error) {
	return settle(r.accounts.AdjustBalance(ctx, viewer(ctx), userID, in))
}
