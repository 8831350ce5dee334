package app

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/models"
)

// Operator acts on the records from the command line, beside serving
// processes: they notice its changes within seconds.
type Operator struct {
	*core
	channels *channels.Registry
	admin    *models.Viewer
}

// OpenOperator opens the records, and brings them up to date as a start would.
func OpenOperator(ctx context.Context, cfg *Config, log zerolog.Logger) (*Operator, error) {
	ctx = log.WithContext(ctx)
	c, err := openCore(ctx, cfg, log, true)
	if err != nil {
		return nil, err
	}
	o := &Operator{core: c, admin: accounts.Operator(&models.User{ID: "operator", Role: models.RoleAdmin, Tier: models.TierFree})}
	if o.channels, err = c.registry(nil); err == nil {
		// As a first start would: else a channel made now would keep it from seeding.
		err = errors.Join(o.channels.Seed(ctx, cfg.upstreams()), o.channels.Load(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	return o, nil
}

// Close closes the records.
func (o *Operator) Close(ctx context.Context) error { return o.close(ctx) }

// CreateKey makes an API key for the user with this e-mail address, and gives
// its secret: it is kept nowhere.
func (o *Operator) CreateKey(ctx context.Context, email string, in models.CreateAPIKeyInput) (*models.APIKey, string, error) {
	v, err := o.userByEmail(ctx, email)
	if err != nil {
		return nil, "", err
	}
	p, err := mended(o.accounts.CreateAPIKey(ctx, v, in))
	if err != nil {
		return nil, "", err
	}
	return p.APIKey, *p.Secret, nil
}

// Keys lists the live, or the revoked, API keys of the user with this e-mail
// address, the newest first.
func (o *Operator) Keys(ctx context.Context, email string, revoked bool) ([]*models.APIKey, error) {
	v, err := o.userByEmail(ctx, email)
	if err != nil {
		return nil, err
	}
	return all(func(page models.PageArgs) (*models.Connection[models.APIKey], error) {
		return o.accounts.APIKeys(ctx, v, page, &models.APIKeyFilter{Revoked: &revoked})
	})
}

// RotateKey gives an API key a new secret; the old one stays valid for the
// grace period. A nil grace means [models.DefaultRotationGrace].
func (o *Operator) RotateKey(ctx context.Context, id string, grace *time.Duration) (*models.APIKey, string, error) {
	v, err := o.keyOwner(ctx, id)
	if err != nil {
		return nil, "", err
	}
	in := &models.RotateAPIKeyInput{}
	if grace != nil {
		seconds := int(*grace / time.Second)
		in.GraceSeconds = &seconds
	}
	p, err := mended(o.accounts.RotateAPIKey(ctx, v, id, in))
	if err != nil {
		return nil, "", err
	}
	return p.APIKey, *p.Secret, nil
}

// RevokeKey ends an API key for good.
func (o *Operator) RevokeKey(ctx context.Context, id string) error {
	v, err := o.keyOwner(ctx, id)
	if err != nil {
		return err
	}
	_, err = mended(o.accounts.DeleteAPIKey(ctx, v, id))
	return err
}

// userByEmail is a user as whom the operator acts.
func (o *Operator) userByEmail(ctx context.Context, email string) (*models.Viewer, error) {
	u, err := o.accounts.UserByEmail(ctx, email)
	if err != nil {
		return nil, err
	}
	return accounts.Operator(u), nil
}

// keyOwner is the owner of an API key, as whom the operator acts.
func (o *Operator) keyOwner(ctx context.Context, keyID string) (*models.Viewer, error) {
	var userID string
	err := o.db.Read().NewSelect().Model((*models.APIKey)(nil)).Column("user_id").Where("id = ?", keyID).Scan(ctx, &userID)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, models.NotFound("api_key", keyID)
	case err != nil:
		return nil, fmt.Errorf("find the owner of %s: %w", keyID, err)
	}
	u, err := o.accounts.User(ctx, o.admin, userID)
	if err != nil {
		return nil, err
	}
	return accounts.Operator(u), nil
}

// mended turns the user errors of a payload into a plain error.
func mended[P interface{ Err() error }](payload P, err error) (P, error) {
	if err != nil {
		return payload, err
	}
	return payload, payload.Err()
}

// all reads a list to its end.
func all[T any](page func(models.PageArgs) (*models.Connection[T], error)) ([]*T, error) {
	list := []*T{}
	first := 100
	args := models.PageArgs{First: &first}
	for {
		c, err := page(args)
		if err != nil {
			return nil, err
		}
		for _, e := range c.Edges {
			list = append(list, e.Node)
		}
		if !c.PageInfo.HasNextPage {
			return list, nil
		}
		args.After = c.PageInfo.EndCursor
	}
}
