package accounts

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// maxKeys is how many keys a user can have that are not revoked.
const maxKeys = 100

// owned narrows a query of API keys to the viewer's.
func owned(v *models.Viewer) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("k.user_id = ?", v.UserID) }
}

// live narrows a query of API keys to those that are not revoked.
func live(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("k.revoked_at IS NULL") }

// APIKeys lists the viewer's keys that are not revoked, or, when the filter
// says so, those that are. Scope: keys.
func (s *Service) APIKeys(ctx context.Context, v *models.Viewer, args models.PageArgs, filter *models.APIKeyFilter) (*models.Connection[models.APIKey], error) {
	if err := v.Require(models.ScopeKeys); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	narrow := live
	if filter != nil && filter.Revoked != nil && *filter.Revoked {
		narrow = func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("k.revoked_at IS NOT NULL") }
	}
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(k *models.APIKey) string { return k.ID },
		func(q *bun.SelectQuery) *bun.SelectQuery { return q.Apply(owned(v), narrow) })
	if err != nil {
		return nil, wrap("list API keys", err)
	}
	batch := new(models.APIKeyBatch)
	for _, e := range list.Edges {
		batch.IDs = append(batch.IDs, e.Node.ID)
		e.Node.Batch = batch
	}
	return list, nil
}

// APIKey is one of the viewer's keys. One that is revoked, or somebody else's,
// is not found. Scope: keys.
func (s *Service) APIKey(ctx context.Context, v *models.Viewer, id string) (*models.APIKey, error) {
	if err := v.Require(models.ScopeKeys); err != nil {
		return nil, err
	}
	return findKey(ctx, s.db.Read(), v, id)
}

func findKey(ctx context.Context, db bun.IDB, v *models.Viewer, id string) (*models.APIKey, error) {
	if !storage.Storable(id) {
		return nil, models.NotFound("API key", id)
	}
	key := new(models.APIKey)
	err := db.NewSelect().Model(key).Apply(owned(v), live).Where("k.id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("API key", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load API key: %w", err)
	}
	return key, nil
}

// CreateAPIKey makes a key for the viewer. It gets no scope that the viewer's
// own key lacks, and the admin scope only when the viewer is an admin; where the
// viewer's key is restricted to models or networks, the new key inherits the
// restriction or has a narrower one. A user can have 100 keys. Scope: keys.
func (s *Service) CreateAPIKey(ctx context.Context, v *models.Viewer, in models.CreateAPIKeyInput) (*models.CreateAPIKeyPayload, error) {
	p := new(models.CreateAPIKeyPayload)
	key, secret, err := s.createAPIKey(ctx, v, in)
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, wrap("create API key", err)
	}
	p.APIKey, p.Secret = key, &secret
	return p, nil
}

func (s *Service) createAPIKey(ctx context.Context, v *models.Viewer, in models.CreateAPIKeyInput) (*models.APIKey, string, error) {
	if err := v.Require(models.ScopeKeys); err != nil {
		return nil, "", err
	}
	now := s.time()
	if err := in.Validate(now); err != nil {
		return nil, "", err
	}
	key, secret := newKey(v.UserID, in.Name, now)
	var err error
	if key.Scopes, err = grantScopes(v, in.Scopes); err != nil {
		return nil, "", err
	}
	key.AllowedModels, key.AllowedCIDRs, key.ChannelTags = notNil(v.AllowedModels), notNil(v.AllowedCIDRs), notNil(v.ChannelTags)
	if len(in.AllowedModels) > 0 {
		if key.AllowedModels, err = grantModels(v, in.AllowedModels); err != nil {
			return nil, "", err
		}
	}
	if len(in.AllowedCIDRs) > 0 {
		if key.AllowedCIDRs, err = grantNetworks(v, in.AllowedCIDRs); err != nil {
			return nil, "", err
		}
	}
	if len(in.ChannelTags) > 0 {
		if key.ChannelTags, err = grantTags(v, in.ChannelTags); err != nil {
			return nil, "", err
		}
	}
	key.ExpiresAt = storedPtr(in.ExpiresAt)
	if in.CacheTTLSeconds != nil {
		key.CacheTTLSeconds = *in.CacheTTLSeconds
	}
	if in.OnDisconnect != nil {
		key.OnDisconnect = *in.OnDisconnect
	}
	if in.Limits != nil {
		key.Limits = *in.Limits
	}
	err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := unbudgeted(ctx, tx, v, now); err != nil {
			return err
		}
		n, err := tx.NewSelect().Model((*models.APIKey)(nil)).Apply(owned(v), live).Count(ctx)
		if err != nil {
			return fmt.Errorf("count API keys: %w", err)
		}
		if n >= maxKeys {
			return models.Conflict("", "An account can have at most %d API keys; delete one first.", maxKeys)
		}
		if _, err = tx.NewInsert().Model(key).Exec(ctx); err != nil {
			return fmt.Errorf("insert API key: %w", err)
		}
		if err = operatedKey(ctx, tx, v, nil, key); err != nil {
			return err
		}
		return budgets.Set(ctx, tx, s.db.Dialect(), budgets.Owner{UserID: v.UserID, KeyID: key.ID}, in.Budgets.Limits(), now)
	})
	return key, secret, err
}

// newKey makes a key with a new secret, and gives that too.
func newKey(userID, name string, now time.Time) (*models.APIKey, string) {
	key := &models.APIKey{
		ID: models.NewID(models.APIKeyPrefix), UserID: userID, Name: name, CreatedAt: now,
		AllowedModels: []string{}, AllowedCIDRs: []string{}, ChannelTags: []string{}, OnDisconnect: models.OnDisconnectCancel,
	}
	secret := newSecret()
	setSecret(key, keyPrefix, secret)
	return key, secret
}

func setSecret(key *models.APIKey, prefix, secret string) {
	sum := sha256.Sum256([]byte(secret))
	key.Hash, key.Display = sum[:], display(prefix, secret)
}

// UpdateAPIKey changes one of the viewer's keys. What the key permits can be
// widened as far as the viewer's own key goes, as in [Service.CreateAPIKey].
// Scope: keys.
func (s *Service) UpdateAPIKey(ctx context.Context, v *models.Viewer, id string, in models.UpdateAPIKeyInput) (*models.UpdateAPIKeyPayload, error) {
	p := new(models.UpdateAPIKeyPayload)
	key, err := s.changeKey(ctx, v, id, in.Validate, func(ctx context.Context, tx bun.Tx, key *models.APIKey, now time.Time) error {
		if err := applyKey(v, key, &in); err != nil {
			return err
		}
		if _, limited := in.Limits.ValueOK(); limited {
			if err := unbudgeted(ctx, tx, v, now); err != nil {
				return err
			}
		}
		return s.setKeyBudgets(ctx, tx, v, key, in.Budgets.Limits(), now)
	})
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, wrap("update API key", err)
	}
	p.APIKey = key
	return p, nil
}

func applyKey(v *models.Viewer, key *models.APIKey, in *models.UpdateAPIKeyInput) (err error) {
	if name, ok := in.Name.ValueOK(); ok {
		key.Name = *name
	}
	if scopes, ok := in.Scopes.ValueOK(); ok {
		if key.Scopes, err = grantScopes(v, scopes); err != nil {
			return err
		}
	}
	if tags, ok := in.ChannelTags.ValueOK(); ok {
		if key.ChannelTags, err = grantTags(v, tags); err != nil {
			return err
		}
	}
	if names, ok := in.AllowedModels.ValueOK(); ok {
		if key.AllowedModels, err = grantModels(v, names); err != nil {
			return err
		}
	}
	if cidrs, ok := in.AllowedCIDRs.ValueOK(); ok {
		if key.AllowedCIDRs, err = grantNetworks(v, cidrs); err != nil {
			return err
		}
	}
	if at, ok := in.ExpiresAt.ValueOK(); ok {
		key.ExpiresAt = storedPtr(at)
	}
	if seconds, ok := in.CacheTTLSeconds.ValueOK(); ok {
		key.CacheTTLSeconds = 0
		if seconds != nil {
			key.CacheTTLSeconds = *seconds
		}
	}
	if in.OnDisconnect != nil {
		key.OnDisconnect = *in.OnDisconnect
	}
	if limits, ok := in.Limits.ValueOK(); ok {
		key.Limits = models.KeyLimits{}
		if limits != nil {
			key.Limits = *limits
		}
	}
	return nil
}

// RotateAPIKey gives a key of the viewer's a new secret. The old one counts for
// the grace period, and one from an earlier rotation no more. Nobody gets the
// secret of a key that permits more than their own. Scope: keys.
func (s *Service) RotateAPIKey(ctx context.Context, v *models.Viewer, id string, in *models.RotateAPIKeyInput) (*models.RotateAPIKeyPayload, error) {
	p := new(models.RotateAPIKeyPayload)
	if in == nil {
		in = new(models.RotateAPIKeyInput)
	}
	var grace time.Duration
	var secret string
	check := func(time.Time) (err error) {
		grace, err = in.Grace()
		return err
	}
	key, err := s.changeKey(ctx, v, id, check, func(ctx context.Context, tx bun.Tx, key *models.APIKey, now time.Time) error {
		if err := unbudgeted(ctx, tx, v, now); err != nil {
			return err
		}
		if isBootstrap(key) {
			return models.Conflict("id", "This API key is set in the server's configuration and can be changed only there.")
		}
		if err := mayHold(v, key); err != nil {
			return err
		}
		key.PreviousHash, key.PreviousExpiresAt = nil, nil
		if grace > 0 {
			until := now.Add(grace)
			key.PreviousHash, key.PreviousExpiresAt = key.Hash, &until
		}
		secret = newSecret()
		setSecret(key, keyPrefix, secret)
		return nil
	})
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, wrap("rotate API key", err)
	}
	p.APIKey, p.Secret = key, &secret
	return p, nil
}

// DeleteAPIKey revokes one of the viewer's keys, at once and for ever. Its row
// stays until [Service.Purge]. Scope: keys.
func (s *Service) DeleteAPIKey(ctx context.Context, v *models.Viewer, id string) (*models.DeleteAPIKeyPayload, error) {
	p := new(models.DeleteAPIKeyPayload)
	check := func(time.Time) error { return nil }
	_, err := s.changeKey(ctx, v, id, check, func(_ context.Context, _ bun.Tx, key *models.APIKey, now time.Time) error {
		key.RevokedAt = &now
		return nil
	})
	if p.Fail(err) {
		return p, nil
	}
	if err != nil {
		return nil, wrap("delete API key", err)
	}
	p.DeletedAPIKeyID = &id
	return p, nil
}

// changeKey changes one of the viewer's keys that is not revoked.
func (s *Service) changeKey(
	ctx context.Context, v *models.Viewer, id string,
	check func(now time.Time) error, change func(ctx context.Context, tx bun.Tx, key *models.APIKey, now time.Time) error,
) (key *models.APIKey, err error) {
	if err := v.Require(models.ScopeKeys); err != nil {
		return nil, err
	}
	now := s.time()
	if err := check(now); err != nil {
		return nil, err
	}
	return key, s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		if key, err = findKey(ctx, tx, v, id); err != nil {
			return err
		}
		before := *key
		if err := change(ctx, tx, key, now); err != nil {
			return err
		}
		// The last use is written beside, without a transaction.
		if _, err := tx.NewUpdate().Model(key).ExcludeColumn("last_used_at").WherePK().Exec(ctx); err != nil {
			return wrap("update API key", err)
		}
		return operatedKey(ctx, tx, v, &before, key)
	})
}

// Purge deletes the keys that expired or were revoked before, and gives their
// number.
func (s *Service) Purge(ctx context.Context, before time.Time) (int, error) {
	const chunk = 1000
	total := 0
	for {
		var ids []string
		err := s.db.Read().NewSelect().Model((*models.APIKey)(nil)).Column("id").
			Where("k.revoked_at < ? OR k.expires_at < ?", stored(before), stored(before)).
			Limit(chunk).Scan(ctx, &ids)
		if err != nil {
			return total, fmt.Errorf("find old API keys: %w", err)
		}
		if len(ids) == 0 {
			return total, nil
		}
		err = s.change(ctx, func(ctx context.Context, tx bun.Tx) error {
			res, err := tx.NewDelete().Model((*models.APIKey)(nil)).Where("id IN (?)", bun.List(ids)).
				// One that somebody has given a later expiry meanwhile stays.
				Where("revoked_at < ? OR expires_at < ?", stored(before), stored(before)).Exec(ctx)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			total += int(n)
			if err != nil {
				return err
			}
			return budgets.Forget(ctx, tx, ids)
		})
		if err != nil || len(ids) < chunk {
			return total, wrap("purge API keys", err)
		}
	}
}

func storedPtr(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := stored(*t)
	return &at
}
