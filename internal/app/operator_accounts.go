package app

import (
	"context"
	"crypto/rand"

	"github.com/coaidev/coai/models"
)

// CreateUser makes an account.
func (o *Operator) CreateUser(ctx context.Context, in models.CreateUserInput) (*models.User, error) {
	return o.accounts.MakeUser(ctx, in)
}

// UpdateUser changes the account with this e-mail address.
func (o *Operator) UpdateUser(ctx context.Context, email string, in models.UpdateUserInput) (*models.User, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return nil, err
	}
	p, err := mended(o.accounts.UpdateUser(ctx, o.admin, u.ID, in))
	if err != nil {
		return nil, err
	}
	return p.User, nil
}

// DeleteUser deletes the account with this e-mail address, and gives its id.
func (o *Operator) DeleteUser(ctx context.Context, email string) (string, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return "", err
	}
	_, err = mended(o.accounts.DeleteUser(ctx, o.admin, u.ID))
	return u.ID, err
}

// Users lists the accounts that the filter lets through, the oldest first.
func (o *Operator) Users(ctx context.Context, filter models.UserFilter) ([]*models.User, error) {
	oldest := models.OrderAsc
	return all(func(page models.PageArgs) (*models.Connection[models.User], error) {
		return o.accounts.Users(ctx, o.admin, page, &models.UserOrder{Direction: &oldest}, &filter)
	})
}

// ResetPassword gives the account with this e-mail address a new password, made
// up if it is empty, and ends all its sessions. It gives the password.
func (o *Operator) ResetPassword(ctx context.Context, email, password string) (string, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return "", err
	}
	if password == "" {
		password = rand.Text()
	}
	_, err = o.accounts.SetPassword(ctx, u.ID, password)
	return password, err
}

// Budgets changes what the account with this e-mail address may spend, if there is
// something to change, and gives its budgets and its balance.
func (o *Operator) Budgets(ctx context.Context, email string, in models.BudgetsInput) ([]*models.Budget, *models.Money, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return nil, nil, err
	}
	if len(in.Limits()) > 0 {
		if _, err := mended(o.accounts.UpdateUserBudgets(ctx, o.admin, u.ID, in)); err != nil {
			return nil, nil, err
		}
	}
	budgets, err := o.accounts.UserBudgets(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	balance, err := o.accounts.Balance(ctx, u)
	return budgets, balance, err
}

// AdjustBalance adds to the prepaid credit of the account with this e-mail
// address, or takes from it.
func (o *Operator) AdjustBalance(ctx context.Context, email string, in models.AdjustBalanceInput) (*models.BalanceEntry, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return nil, err
	}
	p, err := mended(o.accounts.AdjustBalance(ctx, o.admin, u.ID, in))
	if err != nil {
		return nil, err
	}
	return p.Entry, nil
}

// BalanceEntries are the latest changes of a balance, the newest first.
func (o *Operator) BalanceEntries(ctx context.Context, email string, first int) ([]*models.BalanceEntry, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return nil, err
	}
	return o.accounts.BalanceEntries(ctx, u, &first)
}
