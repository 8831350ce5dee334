package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	// bootstrapName is the name of the row of [Config.BootstrapKey], and what it
	// shows in place of a key's prefix. No other key shows that.
	bootstrapName = "bootstrap"
	bootstrapMin  = 24

	adminEmail = "admin@localhost"
	adminName  = "Admin"
)

// Bootstrap is what a first start made.
type Bootstrap struct {
	User   *models.User
	Secret string // of the admin's key; it is shown this once
}

// Bootstrap prepares the accounts, at each start. When there are no users, it
// makes an admin with an API key that has all scopes, and gives both; otherwise
// it gives nil. Of processes that start at the same time one makes them.
//
// With [Config.BootstrapKey] it gives nil always: there is no secret to show. At
// each start it sees to it that there is an active admin, with a key that has
// this secret and all scopes, is not restricted, and neither expired nor
// revoked; when the setting has changed, the former secret counts no more.
// Without the setting a key from an earlier start is left alone; its secret is
// refused then, unless it has the form of [KeyPattern].
//
// The error names a BootstrapKey that is not allowed.
func (s *Service) Bootstrap(ctx context.Context) (*Bootstrap, error) {
	if s.cfg.BootstrapKey == "" {
		return s.firstStart(ctx)
	}
	if err := validBootstrapKey(s.cfg.BootstrapKey); err != nil {
		return nil, err
	}
	return nil, wrap("set up the bootstrap admin key", s.fixedKey(ctx))
}

func validBootstrapKey(secret string) error {
	if len(secret) < bootstrapMin {
		return fmt.Errorf("the bootstrap admin key must have at least %d characters; it has %d", bootstrapMin, len(secret))
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the bootstrap admin key must consist of printable ASCII characters without spaces")
	}
	return nil
}

func isBootstrap(key *models.APIKey) bool { return strings.HasPrefix(key.Display, bootstrapName+"…") }

func (s *Service) firstStart(ctx context.Context) (first *Bootstrap, err error) {
	if some, err := anyUser(ctx, s.db.Read()); err != nil || some {
		return nil, err
	}
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		// Another process may have been faster.
		if some, err := anyUser(ctx, tx); err != nil || some {
			return err
		}
		admin := s.newAdmin()
		key, secret := newKey(admin.ID, adminName, admin.CreatedAt)
		key.Scopes = models.AllScopes()
		if err := insert(ctx, tx, admin, key); err != nil {
			return err
		}
		first = &Bootstrap{User: admin, Secret: secret}
		return nil
	})
	if err != nil {
		return nil, wrap("make the first admin", err)
	}
	return first, nil
}

func (s *Service) newAdmin() *models.User {
	return s.newUser(models.CreateUserInput{
		Email: adminEmail, Name: adminName, Role: models.RoleAdmin, Tier: models.TierEnterprise,
	})
}

func anyUser(ctx context.Context, db bun.IDB) (bool, error) {
	some, err := db.NewSelect().Model((*models.User)(nil)).Where("u.deleted_at IS NULL").Exists(ctx)
	return some, wrap("look for users", err)
}

func insert(ctx context.Context, tx bun.Tx, rows ...any) error {
	for _, row := range rows {
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fixedKey makes the row of the bootstrap key be as it should.
func (s *Service) fixedKey(ctx context.Context) error {
	return s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		admin, err := s.ensureAdmin(ctx, tx)
		if err != nil {
			return err
		}
		return s.ensureKey(ctx, tx, admin)
	})
}

// ensureAdmin gives the oldest active admin. Without any, the user with the
// admin's address becomes one, or is made.
func (s *Service) ensureAdmin(ctx context.Context, tx bun.Tx) (*models.User, error) {
	admin := new(models.User)
	err := tx.NewSelect().Model(admin).Where("u.role = ?", models.RoleAdmin).Where("u.status = ?", models.UserActive).
		OrderExpr("u.id").Limit(1).Scan(ctx)
	if !errors.Is(err, sql.ErrNoRows) {
		return admin, err
	}
	err = tx.NewSelect().Model(admin).Where("u.email = ?", adminEmail).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		admin = s.newAdmin()
		return admin, insert(ctx, tx, admin)
	}
	if err != nil {
		return nil, err
	}
	admin.Role, admin.Status, admin.UpdatedAt = models.RoleAdmin, models.UserActive, s.time()
	_, err = tx.NewUpdate().Model(admin).Column("role", "status", "updated_at").WherePK().Exec(ctx)
	return admin, err
}

// ensureKey makes one key the bootstrap key: the one that has its secret, else
// the one of an earlier start, else a new one.
func (s *Service) ensureKey(ctx context.Context, tx bun.Tx, admin *models.User) error {
	var keys []*models.APIKey
	err := tx.NewSelect().Model(&keys).Where("k.hash = ?", s.bootstrap[:]).
		WhereOr("k.revoked_at IS NULL AND k.display LIKE ?", bootstrapName+"…%").
		// The one with the secret first.
		OrderExpr("CASE WHEN k.hash = ? THEN 0 ELSE 1 END, k.id", s.bootstrap[:]).Scan(ctx)
	if err != nil {
		return err
	}
	key, _ := newKey(admin.ID, bootstrapName, s.time())
	isNew := len(keys) == 0
	if !isNew {
		key.ID, key.CreatedAt, key.LastUsedAt = keys[0].ID, keys[0].CreatedAt, keys[0].LastUsedAt
	}
	key.Scopes = models.AllScopes()
	setSecret(key, bootstrapName, s.cfg.BootstrapKey)
	if isNew {
		return insert(ctx, tx, key)
	}
	if _, err := tx.NewUpdate().Model(key).WherePK().Exec(ctx); err != nil {
		return err
	}
	now := s.time()
	for _, other := range keys[1:] {
		other.RevokedAt = &now
		if _, err := tx.NewUpdate().Model(other).Column("revoked_at").WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}
