package accounts

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// guessing bounds attempts, right ones too: counting only the wrong ones would
// let those through that are made at the same time.
type guessing struct{ account, address ratelimit.Limits }

func signInLimits() guessing {
	return guessing{
		account: ratelimit.Limits{PerMinute: 10, PerHour: 60, PerDay: 200},
		address: ratelimit.Limits{PerMinute: 30, PerHour: 300, PerDay: 2000},
	}
}

func letterLimits() guessing {
	return guessing{
		account: ratelimit.Limits{PerMinute: 2, PerHour: 5, PerDay: 20},
		address: ratelimit.Limits{PerMinute: 10, PerHour: 60, PerDay: 300},
	}
}

// mayTry counts an attempt from an address.
func (s *Service) mayTry(ctx context.Context, what string, from netip.Addr, lim guessing) error {
	if p, err := from.Unmap().Prefix(64); err == nil && from.Unmap().Is6() {
		from = p.Addr() // of which any subscriber has a whole one
	}
	return s.take(ctx, what+":address:"+addressText(from.Unmap()), lim.address)
}

// mayTryAccount counts an attempt at an account, which need not exist.
func (s *Service) mayTryAccount(ctx context.Context, what, email string, lim guessing) error {
	sum := sha256.Sum256([]byte(email)) // no address in Redis
	return s.take(ctx, what+":account:"+base64.RawURLEncoding.EncodeToString(sum[:]), lim.account)
}

func (s *Service) take(ctx context.Context, subject string, lim ratelimit.Limits) error {
	if d := s.cfg.Limiter.Take(ctx, subject, lim); !d.Allowed {
		e := d.Exceeded(s.now())
		e.Message = "Too many attempts. Try again later."
		return e
	}
	return nil
}

// SignIn starts a session by address and password. The answer, and the time it
// takes, are the same for an account that does not exist, one without a password,
// and a wrong password: invalid_credentials. A suspended account is told so only
// with the right password. 10 attempts a minute (60 an hour, 200 a day) are taken
// for an account, 30 (300, 2000) from an address.
func (s *Service) SignIn(ctx context.Context, c *models.Client, in models.SignInInput) (*models.SignInPayload, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if err := c.CanSignIn(); err != nil {
		return nil, err
	}
	if err := s.mayTry(ctx, "sign-in", c.Address, signInLimits()); err != nil {
		return nil, err
	}
	if err := s.mayTryAccount(ctx, "sign-in", in.Email, signInLimits()); err != nil {
		return nil, err
	}
	u, err := s.byEmail(ctx, s.db.Read(), in.Email)
	if err != nil {
		return nil, err
	}
	var known *string
	if u != nil {
		known = u.PasswordHash
	}
	ok, stale, err := s.passwords.matches(ctx, in.Password, known)
	if err != nil {
		return nil, wrap("sign in", err)
	}
	switch {
	case !ok:
		return nil, invalidCredentials()
	case u.Status != models.UserActive:
		return nil, suspended()
	}
	fresh := *known
	if stale {
		if fresh, err = s.passwords.hash(ctx, in.Password); err != nil {
			return nil, wrap("sign in", err)
		}
	}
	p, err := s.startSession(ctx, c, u.ID, func(ctx context.Context, tx bun.Tx, u *models.User) error {
		// The password may have been changed meanwhile, and its sessions ended.
		if u.PasswordHash == nil || *u.PasswordHash != *known {
			return invalidCredentials()
		}
		if !stale {
			return nil
		}
		u.PasswordHash = &fresh
		_, err := tx.NewUpdate().Model(u).Column("password_hash").WherePK().Exec(ctx)
		return wrap("store password", err)
	})
	return p, wrap("sign in", err)
}

func invalidCredentials() error {
	return unauthenticated(models.CodeInvalidCredentials, "The e-mail address or the password is wrong.")
}

// byEmail is the account with an address in canonical form; nil without one.
func (s *Service) byEmail(ctx context.Context, db bun.IDB, email string) (*models.User, error) {
	u := new(models.User)
	err := db.NewSelect().Model(u).Where("u.email = ?", email).Where("u.deleted_at IS NULL").Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody
	}
	if err != nil {
		return nil, fmt.Errorf("load user: %w", err)
	}
	return u, nil
}

// startSession writes a session of an active user down and hands it to the
// client. check sees the user's row, which nobody changes meanwhile.
func (s *Service) startSession(
	ctx context.Context, c *models.Client, userID string, check func(ctx context.Context, tx bun.Tx, u *models.User) error,
) (*models.SignInPayload, error) {
	session, token := s.newSession(c, userID)
	p := &models.SignInPayload{Session: session, Viewer: new(models.User)}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewSelect().Model(p.Viewer).Where("u.id = ?", userID).Where("u.deleted_at IS NULL")
		if s.db.Dialect() == storage.Postgres {
			q = q.For("UPDATE")
		}
		err := q.Scan(ctx)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return invalidCredentials()
		case err != nil:
			return fmt.Errorf("load user: %w", err)
		case p.Viewer.Status != models.UserActive:
			return suspended()
		}
		if err := check(ctx, tx, p.Viewer); err != nil {
			return err
		}
		return insertSession(ctx, tx, session)
	})
	if err != nil {
		return nil, err
	}
	c.SetSession(token, session.ExpiresAt)
	return p, nil
}

// ChangePassword gives the viewer's account another password, for the present
// one, and ends all other sessions. Scope: profile.
func (s *Service) ChangePassword(ctx context.Context, v *models.Viewer, in models.ChangePasswordInput) (*models.ChangePasswordPayload, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	u, err := s.user(ctx, s.db.Read(), v.UserID)
	if err != nil {
		return nil, err
	}
	if err := s.presentPassword(ctx, u, "current_password", in.CurrentPassword); err != nil {
		return nil, err
	}
	if err := models.ValidPassword("new_password", in.NewPassword, u.Email); err != nil {
		return nil, err
	}
	hash, err := s.passwords.hash(ctx, in.NewPassword)
	if err != nil {
		return nil, wrap("change password", err)
	}
	before := *u.PasswordHash
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if u, err = s.user(ctx, tx, v.UserID); err != nil {
			return err
		}
		if u.PasswordHash == nil || *u.PasswordHash != before {
			return models.Conflict("current_password", "The password was changed at the same time.")
		}
		return s.setPassword(ctx, tx, u, hash, v.SessionID)
	})
	if err != nil {
		return nil, wrap("change password", err)
	}
	return &models.ChangePasswordPayload{Viewer: u}, nil
}

// presentPassword fails unless the password is the user's.
func (s *Service) presentPassword(ctx context.Context, u *models.User, param, password string) error {
	if u.PasswordHash == nil {
		return models.Conflict(param, "This account has no password yet. Ask for an e-mail to set one: request a password reset.")
	}
	if err := s.mayTryAccount(ctx, "sign-in", u.Email, signInLimits()); err != nil {
		return err
	}
	ok, _, err := s.passwords.matches(ctx, password, u.PasswordHash)
	if err != nil {
		return wrap("compare password", err)
	}
	if !ok {
		return models.Invalid(param, "'%s' is not the present password.", param)
	}
	return nil
}

// setPassword stores a hash, and ends all sessions but one, and what was sent to
// set another password.
func (s *Service) setPassword(ctx context.Context, tx bun.Tx, u *models.User, hash, keepSession string) error {
	u.PasswordHash, u.UpdatedAt = &hash, s.time()
	if _, err := tx.NewUpdate().Model(u).Column("password_hash", "email_verified_at", "updated_at").WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("store password: %w", err)
	}
	if _, err := tx.NewDelete().Model((*accountToken)(nil)).Where("user_id = ?", u.ID).Where("purpose = ?", purposeReset).Exec(ctx); err != nil {
		return fmt.Errorf("delete tokens: %w", err)
	}
	_, err := tx.NewDelete().Model((*models.Session)(nil)).Where("user_id = ?", u.ID).Where("id <> ?", keepSession).Exec(ctx)
	return wrap("end sessions", err)
}

// SetPassword gives an account a new password without the present one, for the
// operator's command line.
func (s *Service) SetPassword(ctx context.Context, userID, password string) (*models.User, error) {
	u, err := s.user(ctx, s.db.Read(), userID)
	if err != nil {
		return nil, err
	}
	if err := models.ValidPassword("password", password, u.Email); err != nil {
		return nil, err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return nil, wrap("set password", err)
	}
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if u, err = s.user(ctx, tx, userID); err != nil {
			return err
		}
		return s.setPassword(ctx, tx, u, hash, "")
	})
	return u, wrap("set password", err)
}

// SignInMethods are the ways into this server. Everybody may ask.
func (s *Service) SignInMethods() *models.SignInMethods {
	return &models.SignInMethods{
		SignUp: s.cfg.SignUp, Password: true, OIDC: s.cfg.OIDC != nil,
		SessionIdleSeconds: int64(s.cfg.SessionIdle / time.Second),
	}
}
