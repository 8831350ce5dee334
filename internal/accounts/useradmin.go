package accounts

import (
	"context"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Users lists the accounts that are not deleted. Scope: admin.
func (s *Service) Users(
	ctx context.Context, v *models.Viewer, args models.PageArgs, order *models.UserOrder, filter *models.UserFilter,
) (*models.Connection[models.User], error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	by := models.UserOrder{}
	if order != nil {
		by = *order
	}
	if err := by.Validate(); err != nil {
		return nil, err
	}
	if filter == nil {
		filter = new(models.UserFilter)
	}
	if err := filter.Validate(); err != nil {
		return nil, err
	}
	args.Order = by.Direction
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	column, key := "id", func(u *models.User) string { return u.ID }
	if by.Field == models.UserOrderEmail {
		column, key = "email", func(u *models.User) string { return u.Email }
		// REST names the rows by their ids whatever they are sorted by.
		if strings.HasPrefix(page.Key, models.UserPrefix) && !strings.Contains(page.Key, "@") {
			u, err := s.user(ctx, s.db.Read(), page.Key)
			if err != nil {
				return nil, err
			}
			page.Key = u.Email
		}
	}
	list, err := storage.List(ctx, s.db.Read(), page, column, key, func(q *bun.SelectQuery) *bun.SelectQuery {
		return narrowUsers(q.Where("u.deleted_at IS NULL"), filter)
	})
	return list, wrap("list users", err)
}

func narrowUsers(q *bun.SelectQuery, f *models.UserFilter) *bun.SelectQuery {
	if f.Q != nil && *f.Q != "" {
		part := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(*f.Q)) + "%"
		q = q.Where(`(u.email LIKE ? ESCAPE '\' OR LOWER(u.name) LIKE ? ESCAPE '\')`, part, part)
	}
	if f.Role != nil {
		q = q.Where("u.role = ?", *f.Role)
	}
	if f.Tier != nil {
		q = q.Where("u.tier = ?", *f.Tier)
	}
	if f.Status != nil {
		q = q.Where("u.status = ?", *f.Status)
	}
	if f.CreatedAfter != nil {
		q = q.Where("u.created_at >= ?", stored(*f.CreatedAfter))
	}
	if f.CreatedBefore != nil {
		q = q.Where("u.created_at < ?", stored(*f.CreatedBefore))
	}
	return q
}

// CreateUser makes an account, whose address counts as verified. Addresses are
// unique, upper and lower case being the same: a second account with one is a
// conflict with the param email. Scope: admin.
func (s *Service) CreateUser(ctx context.Context, v *models.Viewer, in models.CreateUserInput) (*models.CreateUserPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	u, err := s.makeUser(ctx, v, in)
	if err != nil {
		return nil, err
	}
	return &models.CreateUserPayload{User: u}, nil
}

// MakeUser is [Service.CreateUser] for the operator's command line.
func (s *Service) MakeUser(ctx context.Context, in models.CreateUserInput) (*models.User, error) {
	return s.makeUser(ctx, &models.Viewer{Operator: true}, in)
}

func (s *Service) makeUser(ctx context.Context, v *models.Viewer, in models.CreateUserInput) (*models.User, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	u := s.newUser(in)
	u.EmailVerifiedAt = &u.CreatedAt
	if in.Password != nil {
		hash, err := s.passwords.hash(ctx, *in.Password)
		if err != nil {
			return nil, wrap("create user", err)
		}
		u.PasswordHash = &hash
	}
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.register(ctx, tx, u); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "user.created", userTarget(u.ID), nil, u)
	})
	if err != nil {
		return nil, wrap("create user", err)
	}
	return u, nil
}

// UpdateUser changes an account: what it may do changes at once in this process,
// and within a second in others. The last active admin stays one. Scope: admin.
func (s *Service) UpdateUser(ctx context.Context, v *models.Viewer, id string, in models.UpdateUserInput) (*models.UpdateUserPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	var u *models.User
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if u, err = s.user(ctx, tx, id); err != nil {
			return err
		}
		was := *u
		s.applyUser(u, &in)
		if err := keepsAdmin(ctx, tx, &was, u); err != nil {
			return err
		}
		if u.Email != was.Email {
			// What was sent to the former address counts no more.
			if _, err := tx.NewDelete().Model((*accountToken)(nil)).Where("user_id = ?", u.ID).Exec(ctx); err != nil {
				return fmt.Errorf("delete tokens: %w", err)
			}
		}
		_, err = tx.NewUpdate().Model(u).Column("email", "email_verified_at", "pending_email", "name", "role", "tier", "status", "user_groups", "updated_at").
			WherePK().Exec(ctx)
		if storage.UniqueViolation(err) {
			return taken(u.Email)
		}
		if err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "user.updated", userTarget(id), was, u)
	})
	if err != nil {
		return nil, wrap("update user", err)
	}
	return &models.UpdateUserPayload{User: u}, nil
}

func (s *Service) applyUser(u *models.User, in *models.UpdateUserInput) {
	u.UpdatedAt = s.time()
	if email, ok := in.Email.ValueOK(); ok && *email != u.Email {
		u.Email, u.EmailVerifiedAt, u.PendingEmail = *email, &u.UpdatedAt, nil
	}
	if name, ok := in.Name.ValueOK(); ok {
		u.Name = *name
	}
	if role, ok := in.Role.ValueOK(); ok {
		u.Role = *role
	}
	if tier, ok := in.Tier.ValueOK(); ok {
		u.Tier = *tier
	}
	if status, ok := in.Status.ValueOK(); ok {
		u.Status = *status
	}
	if groups, ok := in.Groups.ValueOK(); ok {
		u.Groups = notNil(groups)
	}
}

func isActiveAdmin(u *models.User) bool {
	return u.Role == models.RoleAdmin && u.Status == models.UserActive && u.DeletedAt == nil
}

// keepsAdmin fails for a change after which there would be no active admin.
func keepsAdmin(ctx context.Context, tx bun.Tx, was, is *models.User) error {
	if !isActiveAdmin(was) || isActiveAdmin(is) {
		return nil
	}
	others, err := tx.NewSelect().Model((*models.User)(nil)).Where("u.id <> ?", was.ID).Where("u.deleted_at IS NULL").
		Where("u.role = ?", models.RoleAdmin).Where("u.status = ?", models.UserActive).Exists(ctx)
	if err != nil {
		return fmt.Errorf("look for admins: %w", err)
	}
	if !others {
		return models.Conflict("", "This is the last active admin, who can be neither deleted, suspended nor made a user.")
	}
	return nil
}

// DeleteUser deletes an account. Its keys and sessions count no more, at once in
// this process and within a second in others. What says who it was is erased:
// address, name, picture, preferences, password, identities, and the sessions
// with their addresses. Its row stays, marked [models.User.DeletedAt], and with it
// the records of usage and of the balance, which name it by its id alone; what
// other packages keep of it goes when they look for deleted accounts. Scope: admin.
func (s *Service) DeleteUser(ctx context.Context, v *models.Viewer, id string) (*models.DeleteUserPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		u, err := s.user(ctx, tx, id)
		if err != nil {
			return err
		}
		was, now := *u, s.time()
		// No mail goes to a name below .invalid: RFC 2606.
		*u = models.User{
			ID: u.ID, Email: u.ID + "@deleted.invalid", Role: models.RoleUser, Tier: u.Tier, Status: models.UserSuspended,
			Groups: []string{}, Preferences: models.JSON("{}"), CreatedAt: u.CreatedAt, UpdatedAt: now, DeletedAt: &now,
		}
		if err := keepsAdmin(ctx, tx, &was, u); err != nil {
			return err
		}
		if err := erase(ctx, tx, u); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "user.deleted", userTarget(id), nil, nil) // the log must not keep the person
	})
	if err != nil {
		return nil, wrap("delete user", err)
	}
	return &models.DeleteUserPayload{DeletedUserID: &id}, nil
}

func erase(ctx context.Context, tx bun.Tx, u *models.User) error {
	if _, err := tx.NewUpdate().Model(u).WherePK().Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewUpdate().Model((*models.APIKey)(nil)).Set("revoked_at = ?", *u.DeletedAt).
		Where("user_id = ?", u.ID).Where("revoked_at IS NULL").Exec(ctx)
	if err != nil {
		return fmt.Errorf("revoke keys: %w", err)
	}
	for _, row := range []any{(*models.Session)(nil), (*accountToken)(nil), (*identity)(nil)} {
		if _, err := tx.NewDelete().Model(row).Where("user_id = ?", u.ID).Exec(ctx); err != nil {
			return fmt.Errorf("delete %T: %w", row, err)
		}
	}
	_, err = tx.NewUpdate().Model((*models.Invitation)(nil)).Set("email = NULL").Where("accepted_by = ?", u.ID).Exec(ctx)
	return wrap("erase the address of the invitation", err)
}

// Quota is the narrowest bound of what a user that the viewer has been shown may
// still spend; nil without any.
func (s *Service) Quota(ctx context.Context, u *models.User) (*models.Quota, error) {
	var narrowest *models.Budget
	for _, balance := range []bool{true, false} {
		list, err := s.budgetsOf(ctx, u.ID, balance)
		if err != nil {
			return nil, err
		}
		for _, b := range list {
			if narrowest == nil || b.Left() < narrowest.Left() {
				narrowest = b
			}
		}
	}
	if narrowest == nil {
		return nil, nil //nolint:nilnil // unbounded
	}
	return &models.Quota{
		Limit: narrowest.LimitMoney(), Spent: narrowest.SpentMoney(), Remaining: models.USD(max(narrowest.Left(), 0)), ResetsAt: narrowest.ResetsAt(),
	}, nil
}
