package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/mail"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// SignUp makes an account as [Config.SignUp] permits, and starts a session of it.
// An invitation counts once, and gives its role and tier. The address is written
// to, to verify it, unless the invitation was for it.
func (s *Service) SignUp(ctx context.Context, c *models.Client, in models.SignUpInput) (*models.SignInPayload, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if err := c.CanSignIn(); err != nil {
		return nil, err
	}
	switch {
	case s.cfg.SignUp == models.SignUpClosed:
		return nil, models.Forbidden(models.CodeSignUpClosed, "Nobody can sign up here. Ask an admin for an account.")
	case s.cfg.SignUp == models.SignUpInvite && in.Invitation == nil:
		e := models.Forbidden(models.CodeSignUpClosed, "Signing up needs an invitation here. Ask an admin for one.")
		e.Param = "invitation"
		return nil, e
	}
	if err := s.mayTry(ctx, "sign-up", c.Address, letterLimits()); err != nil {
		return nil, err
	}
	if in.Invitation != nil { // before a hash is made for it
		if _, err := s.invitation(ctx, s.db.Read(), &in); err != nil {
			return nil, err
		}
	}
	hash, err := s.passwords.hash(ctx, in.Password)
	if err != nil {
		return nil, wrap("sign up", err)
	}
	u := s.newUser(models.CreateUserInput{Email: in.Email, Name: in.Name, Role: models.RoleUser, Tier: models.TierFree})
	u.PasswordHash = &hash
	session, token := s.newSession(c, u.ID)
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if in.Invitation != nil {
			if err := s.accept(ctx, tx, &in, u); err != nil {
				return err
			}
		}
		if err := s.register(ctx, tx, u); err != nil {
			return err
		}
		return insertSession(ctx, tx, session)
	})
	if err != nil {
		return nil, wrap("sign up", err)
	}
	if u.EmailVerifiedAt == nil {
		s.later(ctx, "write to verify an address", func(ctx context.Context) error { return s.sendVerification(ctx, u.ID, u.Email) })
	}
	c.SetSession(token, session.ExpiresAt)
	return &models.SignInPayload{Viewer: u, Session: session}, nil
}

// register writes a new user down, and that there is one.
func (s *Service) register(ctx context.Context, tx bun.Tx, u *models.User) error {
	err := insert(ctx, tx, u)
	if storage.UniqueViolation(err) {
		return taken(u.Email)
	}
	if err != nil {
		return fmt.Errorf("insert user: %w", err)
	}
	_, err = events.Append(ctx, tx, models.EventUserRegistered, &models.UserRegistered{
		Object: "user", User: u, EmailVerified: u.EmailVerified(), CreatedAt: u.CreatedAt.Unix(), UpdatedAt: u.UpdatedAt.Unix(),
	})
	return err //nolint:wrapcheck // it says what failed
}

// invitation is the one that somebody signs up with.
func (s *Service) invitation(ctx context.Context, db bun.IDB, in *models.SignUpInput) (*models.Invitation, error) {
	i := new(models.Invitation)
	err := db.NewSelect().Model(i).Where("i.hash = ?", tokenHash(*in.Invitation)).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, models.BadToken("invitation")
	case err != nil:
		return nil, fmt.Errorf("load invitation: %w", err)
	case i.AcceptedAt != nil || !s.now().Before(i.ExpiresAt):
		return nil, models.BadToken("invitation")
	case i.Email != nil && *i.Email != in.Email:
		return nil, models.Invalid("email", "This invitation is for another e-mail address.")
	}
	return i, nil
}

// accept uses the invitation up, for the user that is to be made.
func (s *Service) accept(ctx context.Context, tx bun.Tx, in *models.SignUpInput, u *models.User) error {
	i, err := s.invitation(ctx, tx, in)
	if err != nil {
		return err
	}
	now := s.time()
	i.AcceptedAt, i.AcceptedBy = &now, &u.ID
	res, err := tx.NewUpdate().Model(i).Column("accepted_at", "accepted_by").WherePK().Where("accepted_at IS NULL").Exec(ctx)
	if n, err := deleted(res, err); err != nil || n == 0 {
		if err == nil {
			err = models.BadToken("invitation") // somebody was faster
		}
		return err
	}
	u.Role, u.Tier = i.Role, i.Tier
	if i.Email != nil {
		u.EmailVerifiedAt = &now // the admin vouches for it
	}
	return nil
}

// Invitations lists the invitations. Scope: admin.
func (s *Service) Invitations(ctx context.Context, v *models.Viewer, args models.PageArgs) (*models.Connection[models.Invitation], error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(i *models.Invitation) string { return i.ID }, nil)
	return list, wrap("list invitations", err)
}

// CreateInvitation invites somebody, by e-mail if an address is given. Scope: admin.
func (s *Service) CreateInvitation(ctx context.Context, v *models.Viewer, in models.CreateInvitationInput) (*models.CreateInvitationPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if err := in.Validate(s.now()); err != nil {
		return nil, err
	}
	if s.cfg.SignUp == models.SignUpClosed {
		return nil, models.Conflict("", "Nobody could use an invitation: signing up is closed. The setting is COAI_SIGN_UP.")
	}
	token, hash := newToken()
	i := &models.Invitation{
		ID: models.NewID(models.InvitationPrefix), Hash: hash, Email: in.Email, Role: in.Role, Tier: in.Tier,
		CreatedBy: v.UserID, CreatedAt: s.time(), ExpiresAt: stored(*in.ExpiresAt),
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(i).Exec(ctx); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "invitation.created", audit.Target{Type: "invitation", ID: i.ID}, nil, i)
	})
	if err != nil {
		return nil, wrap("make invitation", err)
	}
	if i.Email != nil {
		s.later(ctx, "write an invitation", func(ctx context.Context) error {
			return s.send(ctx, mail.Message{To: *i.Email, Subject: "Your invitation", Text: s.letter(
				"You are invited to make an account.", "sign-up", "invitation", token, "POST /v1/auth/sign-up", i.ExpiresAt)})
		})
	}
	return &models.CreateInvitationPayload{Invitation: i, Token: &token}, nil
}

// DeleteInvitation takes an invitation back; one that was used is only
// forgotten. Scope: admin.
func (s *Service) DeleteInvitation(ctx context.Context, v *models.Viewer, id string) (*models.DeleteInvitationPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if !storage.Storable(id) {
		return nil, models.NotFound("invitation", id)
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := deleted(tx.NewDelete().Model((*models.Invitation)(nil)).Where("id = ?", id).Exec(ctx))
		if err != nil {
			return err
		}
		if n == 0 {
			return models.NotFound("invitation", id)
		}
		return audit.Append(ctx, tx, v, "invitation.deleted", audit.Target{Type: "invitation", ID: id}, nil, nil)
	})
	if err != nil {
		return nil, wrap("delete invitation", err)
	}
	return &models.DeleteInvitationPayload{DeletedInvitationID: &id}, nil
}

// letter is the text of an e-mail with a token. In the link it stands behind #,
// which browsers keep to themselves, so no log of a server ever has it.
func (s *Service) letter(why, page, name, token, endpoint string, until time.Time) string {
	return fmt.Sprintf(`%s

Open this link:

%s/%s#%s=%s

or give this token to %s:

%s

It counts once, until %s.
If you did not expect this e-mail, you need not do anything.
`, why, s.cfg.PublicURL, page, name, token, endpoint, token, until.UTC().Format("2006-01-02 15:04 UTC"))
}
