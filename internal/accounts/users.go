package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/mail"
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
	if !storage.Storable(id) {
		return nil, models.NotFound("user", id)
	}
	u := new(models.User)
	err := db.NewSelect().Model(u).Where("u.id = ?", id).Where("u.deleted_at IS NULL").Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("user", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load user: %w", err)
	}
	return u, nil
}

// UpdateViewer changes the viewer's profile. A new address has to be verified
// before it counts; as whoever has it can set a new password, the change needs the
// present one, or, in an account without a password, all that the account itself
// may do. Scope: profile.
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
	if err := s.mayMove(ctx, v, &in); err != nil {
		return nil, err
	}
	var write string
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if u, err = s.user(ctx, tx, v.UserID); err != nil {
			return err
		}
		if name, ok := in.Name.ValueOK(); ok {
			u.Name = *name
		}
		if avatar, ok := in.AvatarURL.ValueOK(); ok {
			u.AvatarURL = avatar
		}
		if change, ok := in.Preferences.ValueOK(); ok {
			if u.Preferences, err = models.MergePreferences(u.Preferences, change); err != nil {
				return err
			}
		}
		if email, ok := in.Email.ValueOK(); ok {
			if write, err = s.move(ctx, tx, u, *email); err != nil {
				return err
			}
		}
		u.UpdatedAt = s.time()
		_, err := tx.NewUpdate().Model(u).Column("name", "avatar_url", "preferences", "pending_email", "updated_at").WherePK().Exec(ctx)
		return err
	})
	if err == nil && write != "" {
		s.later(ctx, "write to verify an address", func(ctx context.Context) error { return s.sendVerification(ctx, u.ID, write) })
		s.later(ctx, "write of a change of address", func(ctx context.Context) error {
			return s.send(ctx, mail.Message{To: u.Email, Subject: "Your e-mail address is about to change", Text: fmt.Sprintf(
				"Somebody, probably you, asked to change the e-mail address of your account to %s.\n\n"+
					"If it was not you, set a new password now: %s/reset-password\n", write, s.cfg.PublicURL)})
		})
	}
	return u, err
}

// mayMove fails for a change of the address that the viewer may not make.
func (s *Service) mayMove(ctx context.Context, v *models.Viewer, in *models.UpdateViewerInput) error {
	email, ok := in.Email.ValueOK()
	if !ok {
		return nil
	}
	u, err := s.user(ctx, s.db.Read(), v.UserID)
	if err != nil || u.Email == *email {
		return err
	}
	if u.PasswordHash != nil {
		if in.CurrentPassword == nil {
			return models.Missing("current_password")
		}
		return s.presentPassword(ctx, u, "current_password", *in.CurrentPassword)
	}
	for _, scope := range roleScopes(u.Role) {
		if err := v.Require(scope); err != nil {
			return err
		}
	}
	return nil
}

// move begins a change of the address, or takes it back, and gives the address to
// write to.
func (s *Service) move(ctx context.Context, tx bun.Tx, u *models.User, email string) (write string, err error) {
	if u.PendingEmail = nil; email == u.Email {
		return "", nil
	}
	other, err := s.byEmail(ctx, tx, email)
	if err != nil {
		return "", err
	}
	if other != nil {
		return "", taken(email)
	}
	u.PendingEmail = &email
	return email, nil
}

func taken(email string) error {
	return models.Conflict("email", "There is an account with the e-mail address '%s' already.", email)
}

func (s *Service) newUser(in models.CreateUserInput) *models.User {
	now := s.time()
	return &models.User{
		ID: models.NewID(models.UserPrefix), Email: in.Email, Name: in.Name, Role: in.Role, Tier: in.Tier,
		Groups: notNil(in.Groups), Status: models.UserActive, Preferences: models.JSON("{}"), CreatedAt: now, UpdatedAt: now,
	}
}

// UserByEmail is the account with this e-mail address, in any case, for the
// operator's command line.
func (s *Service) UserByEmail(ctx context.Context, email string) (*models.User, error) {
	u, err := s.byEmail(ctx, s.db.Read(), models.CanonEmail(email))
	if err == nil && u == nil {
		e := models.NotFound("user", email)
		e.Param, e.Message = "email", strings.Replace(e.Message, "with id", "with e-mail address", 1)
		return nil, e
	}
	return u, err
}
