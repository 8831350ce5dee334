package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Viewer is the viewer's own account. Scope: profile.
func (s *Service) Viewer(ctx context.Context, v *models.Viewer) (*models.User, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	return s.user(ctx, s.db.Read(), v.UserID)
}

// User is an account: the viewer's own, with the scope profile, or any for an
// admin. Others are not found.
func (s *Service) User(ctx context.Context, v *models.Viewer, id string) (*models.User, error) {
	switch {
	case v == nil:
		return nil, signedIn(v)
	case v.IsAdmin():
		return s.user(ctx, s.db.Read(), id)
	case id == v.UserID:
		return s.Viewer(ctx, v)
	}
	return nil, models.NotFound("user", id)
}

func (s *Service) user(ctx context.Context, db bun.IDB, id string) (*models.User, error) {
	if !storable(id) {
		return nil, models.NotFound("user", id)
	}
	u := new(models.User)
	err := db.NewSelect().Model(u).Where("u.id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("user", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load user: %w", err)
	}
	return u, nil
}

// UpdateViewer changes the viewer's profile. Scope: profile.
func (s *Service) UpdateViewer(ctx context.Context, v *models.Viewer, in models.UpdateViewerInput) (*models.UpdateViewerPayload, error) {
	p := new(models.UpdateViewerPayload)
	u, err := s.updateViewer(ctx, v, in)
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, wrap("update viewer", err)
	}
	p.Viewer = u
	return p, nil
}

func (s *Service) updateViewer(ctx context.Context, v *models.Viewer, in models.UpdateViewerInput) (u *models.User, err error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	return u, s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if u, err = s.user(ctx, tx, v.UserID); err != nil {
			return err
		}
		if name, ok := in.Name.ValueOK(); ok {
			u.Name = *name
		}
		if avatar, ok := in.AvatarURL.ValueOK(); ok {
			u.AvatarURL = avatar
		}
		u.UpdatedAt = s.time()
		_, err := tx.NewUpdate().Model(u).Column("name", "avatar_url", "updated_at").WherePK().Exec(ctx)
		return err
	})
}

// UpdateUser changes an account. Admins only.
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
		before := *u
		if groups, ok := in.Groups.ValueOK(); ok {
			u.Groups = groups
		}
		u.UpdatedAt = s.time()
		if _, err = tx.NewUpdate().Model(u).Column("user_groups", "updated_at").WherePK().Exec(ctx); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "user.updated", userTarget(id), before, u)
	})
	if err != nil {
		return nil, wrap("update user", err)
	}
	return &models.UpdateUserPayload{User: u}, nil
}

// CreateUser makes an account, for the operator's command line. E-mail
// addresses are unique, upper and lower case being the same: a second account
// with one is a conflict with the param email.
func (s *Service) CreateUser(ctx context.Context, in models.CreateUserInput) (*models.User, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	u := s.newUser(in)
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(u).Exec(ctx); err != nil {
			return err
		}
		return audit.Append(ctx, tx, &models.Viewer{Operator: true}, "user.created", userTarget(u.ID), nil, u)
	})
	if storage.UniqueViolation(err) {
		return nil, models.Conflict("email", "There is an account with the e-mail address '%s' already.", in.Email)
	}
	if err != nil {
		return nil, wrap("create user", err)
	}
	return u, nil
}

func (s *Service) newUser(in models.CreateUserInput) *models.User {
	now := s.time()
	return &models.User{
		ID: models.NewID(models.UserPrefix), Email: in.Email, Name: in.Name, Role: in.Role, Tier: in.Tier,
		Groups: notNil(in.Groups), Status: models.UserActive, CreatedAt: now, UpdatedAt: now,
	}
}

// Users are all accounts, the oldest first, for the operator's command line.
func (s *Service) Users(ctx context.Context) ([]*models.User, error) {
	list := []*models.User{}
	err := s.db.Read().NewSelect().Model(&list).OrderExpr("u.id").Scan(ctx)
	return list, wrap("list users", err)
}

// UserByEmail is the account with this e-mail address, in any case, for the
// operator's command line.
func (s *Service) UserByEmail(ctx context.Context, email string) (*models.User, error) {
	u := new(models.User)
	err := s.db.Read().NewSelect().Model(u).Where("u.email = ?", strings.ToLower(email)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		e := models.NotFound("user", email)
		e.Param, e.Message = "email", strings.Replace(e.Message, "with id", "with e-mail address", 1)
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("load user: %w", err)
	}
	return u, nil
}
