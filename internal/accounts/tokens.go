package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/mail"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// What tokens in e-mails are for, and how long they count.
const (
	purposeVerify = "verify_email"
	purposeReset  = "reset_password"

	verifyTTL = 24 * time.Hour
	resetTTL  = time.Hour
)

// accountToken is what is kept of a token that was sent by e-mail.
type accountToken struct {
	bun.BaseModel `bun:"table:account_tokens,alias:t"`

	Hash      []byte    `bun:"hash,pk"`
	UserID    string    `bun:"user_id"`
	Purpose   string    `bun:"purpose"`
	Email     string    `bun:"email"` // where it was sent
	CreatedAt time.Time `bun:"created_at"`
	ExpiresAt time.Time `bun:"expires_at"`
}

// issue makes a token in place of earlier ones for the purpose.
func (s *Service) issue(ctx context.Context, userID, purpose, email string, ttl time.Duration) (token string, until time.Time, err error) {
	token, hash := newToken()
	now := s.time()
	row := &accountToken{Hash: hash, UserID: userID, Purpose: purpose, Email: email, CreatedAt: now, ExpiresAt: now.Add(ttl)}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*accountToken)(nil)).Where("user_id = ?", userID).Where("purpose = ?", purpose).Exec(ctx)
		if err != nil {
			return err
		}
		return insert(ctx, tx, row)
	})
	return token, row.ExpiresAt, wrap("store a token", err)
}

// find is the token as it is kept, if it counts.
func (s *Service) find(ctx context.Context, db bun.IDB, token, purpose string) (*accountToken, error) {
	row := new(accountToken)
	err := db.NewSelect().Model(row).Where("t.hash = ?", tokenHash(token)).Where("t.purpose = ?", purpose).
		Where("t.expires_at > ?", s.time()).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.BadToken("token")
	}
	if err != nil {
		return nil, fmt.Errorf("load token: %w", err)
	}
	return row, nil
}

// use is [Service.find], once.
func (s *Service) use(ctx context.Context, tx bun.Tx, token, purpose string) (*accountToken, *models.User, error) {
	row, err := s.find(ctx, tx, token, purpose)
	if err != nil {
		return nil, nil, err
	}
	n, err := deleted(tx.NewDelete().Model(row).WherePK().Exec(ctx))
	if err != nil {
		return nil, nil, wrap("delete token", err)
	}
	u, err := s.user(ctx, tx, row.UserID)
	if known, ok := models.AsError(err); n == 0 || ok && known.Kind == models.KindNotFound {
		return nil, nil, models.BadToken("token")
	}
	return row, u, err
}

func (s *Service) sendVerification(ctx context.Context, userID, email string) error {
	if err := s.mayTryAccount(ctx, "letter", email, letterLimits()); err != nil {
		return err
	}
	token, until, err := s.issue(ctx, userID, purposeVerify, email, verifyTTL)
	if err != nil {
		return err
	}
	return s.send(ctx, mail.Message{To: email, Subject: "Verify your e-mail address", Text: s.letter(
		"Please show that this e-mail address is yours.", "verify-email", "token", token, "POST /v1/auth/verify-email", until)})
}

// VerifyEmail shows that an address belongs to an account: its own one, or the one
// that takes its place by this.
func (s *Service) VerifyEmail(ctx context.Context, in models.TokenInput) (*models.VerifyEmailPayload, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	p := new(models.VerifyEmailPayload)
	err := s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, u, err := s.use(ctx, tx, in.Token, purposeVerify)
		if err != nil {
			return err
		}
		now := s.time()
		switch {
		case row.Email == u.Email:
		case u.PendingEmail != nil && row.Email == *u.PendingEmail:
			u.Email, u.PendingEmail = row.Email, nil
			// What was sent to the former address must not set a password any more.
			if _, err := tx.NewDelete().Model((*accountToken)(nil)).Where("user_id = ?", u.ID).Exec(ctx); err != nil {
				return fmt.Errorf("delete tokens: %w", err)
			}
		default:
			return models.BadToken("token") // for a change that was taken back
		}
		u.EmailVerifiedAt, u.UpdatedAt, p.Email = &now, now, &row.Email
		_, err = tx.NewUpdate().Model(u).Column("email", "pending_email", "email_verified_at", "updated_at").WherePK().Exec(ctx)
		if storage.UniqueViolation(err) {
			return models.Conflict("email", "There is another account with this e-mail address by now.")
		}
		return wrap("update user", err)
	})
	if err != nil {
		return nil, wrap("verify e-mail address", err)
	}
	return p, nil
}

// RequestEmailVerification writes to the viewer's address again, or to the one
// that is to take its place. Scope: profile.
func (s *Service) RequestEmailVerification(ctx context.Context, v *models.Viewer) (*models.RequestedPayload, error) {
	u, err := s.Viewer(ctx, v)
	if err != nil {
		return nil, err
	}
	to := u.Email
	if u.PendingEmail != nil {
		to = *u.PendingEmail
	} else if u.EmailVerified() {
		return nil, models.Conflict("", "The e-mail address is verified already.")
	}
	s.later(ctx, "write to verify an address", func(ctx context.Context) error { return s.sendVerification(ctx, u.ID, to) })
	return &models.RequestedPayload{Accepted: true}, nil
}

// RequestPasswordReset writes to an account's address, if there is such an account
// that may be used. All that depends on it is done after the answer.
func (s *Service) RequestPasswordReset(ctx context.Context, c *models.Client, in models.EmailInput) (*models.RequestedPayload, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if err := s.mayTry(ctx, "letter", c.Address, letterLimits()); err != nil {
		return nil, err
	}
	s.later(ctx, "write to reset a password", func(ctx context.Context) error {
		u, err := s.byEmail(ctx, s.db.Read(), in.Email)
		if err != nil || u == nil || u.Status != models.UserActive {
			return err
		}
		if err := s.mayTryAccount(ctx, "letter", in.Email, letterLimits()); err != nil {
			return err
		}
		token, until, err := s.issue(ctx, u.ID, purposeReset, u.Email, resetTTL)
		if err != nil {
			return err
		}
		return s.send(ctx, mail.Message{To: u.Email, Subject: "Set a new password", Text: s.letter(
			"Somebody, probably you, asked for a new password of your account.", "reset-password", "token", token,
			"POST /v1/auth/reset-password", until)})
	})
	return &models.RequestedPayload{Accepted: true}, nil
}

// ResetPassword sets a password by a token that was sent to the account's address,
// verifies that address by the way, and ends all sessions. API keys go on.
func (s *Service) ResetPassword(ctx context.Context, in models.ResetPasswordInput) (*models.ResetPasswordPayload, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if _, err := s.find(ctx, s.db.Read(), in.Token, purposeReset); err != nil { // before a hash is made for it
		return nil, err
	}
	hash, err := s.passwords.hash(ctx, in.Password)
	if err != nil {
		return nil, wrap("reset password", err)
	}
	p := new(models.ResetPasswordPayload)
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, u, err := s.use(ctx, tx, in.Token, purposeReset)
		if err != nil {
			return err
		}
		if row.Email != u.Email || u.Status != models.UserActive {
			return models.BadToken("token")
		}
		if err := models.ValidPassword("password", in.Password, u.Email); err != nil {
			return err
		}
		if now := s.time(); u.EmailVerifiedAt == nil {
			u.EmailVerifiedAt = &now
		}
		p.Email = &u.Email
		return s.setPassword(ctx, tx, u, hash, "")
	})
	if err != nil {
		return nil, wrap("reset password", err)
	}
	return p, nil
}
