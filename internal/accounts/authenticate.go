package accounts

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// Authenticate finds out who a secret belongs to. from is the client's address,
// for keys that are bound to networks.
//
// Failures are a *models.Error: 401 with missing_api_key, invalid_api_key,
// revoked_api_key or expired_api_key, 403 with account_suspended or
// ip_not_allowed. Any other error means that the database could not be asked.
//
// The viewer is shared with other requests: nobody may change it.
func (s *Service) Authenticate(ctx context.Context, secret string, from netip.Addr) (*models.Viewer, error) {
	if secret == "" {
		return nil, signedIn(nil)
	}
	id, ok := s.identify(secret)
	if !ok {
		return nil, invalidKey()
	}
	now := s.now()
	cred, err := s.credential(ctx, id, now, s.load)
	if err != nil {
		return nil, err
	}
	if err := cred.check(now, from); err != nil {
		return nil, err
	}
	if second, last := now.Unix(), cred.used.Load(); second-last >= usedEvery && cred.used.CompareAndSwap(last, second) {
		s.uses.note(cred.viewer.KeyID, second)
	}
	return cred.viewer, nil
}

// identify gives the digest of a secret that may be somebody's.
func (s *Service) identify(secret string) (digest, bool) {
	if s.bootstrap != nil {
		sum := sha256.Sum256([]byte(secret))
		if subtle.ConstantTimeCompare(sum[:], s.bootstrap[:]) == 1 {
			return sum, true
		}
	}
	return parseKey(secret)
}

// check says why a credential does not count now, from this address.
func (c *credential) check(now time.Time, from netip.Addr) error {
	switch {
	case !c.known:
		return invalidKey()
	case c.revoked:
		return unauthenticated(models.CodeRevokedAPIKey, "This API key has been revoked.")
	case c.expiresAt != nil && !now.Before(*c.expiresAt):
		return unauthenticated(models.CodeExpiredAPIKey, "This API key has expired.")
	case c.replaced != nil && !now.Before(*c.replaced):
		return unauthenticated(models.CodeExpiredAPIKey, "This secret was replaced when the API key was rotated, and its grace period is over.")
	case c.suspended:
		return suspended()
	case c.restricted && !within(c.networks, from):
		return models.Forbidden(models.CodeIPNotAllowed, "This API key may not be used from this address.")
	}
	return nil
}

func invalidKey() error {
	return unauthenticated(models.CodeInvalidAPIKey, "The API key is not valid. Check it for typing errors.")
}

func unauthenticated(code, message string) error {
	return &models.Error{Kind: models.KindUnauthenticated, Code: code, Message: message}
}

// credential is what the digest stands for, from the cache if it may be. Callers
// that miss at the same time share one look at the database.
func (s *Service) credential(
	ctx context.Context, id digest, now time.Time, load func(context.Context, digest) (*credential, error),
) (*credential, error) {
	generation := s.generation.Load()
	if cred := s.known.get(id); cred != nil && cred.fresh(generation, now) {
		return cred, nil
	}
	if cred := s.unknown.get(id); cred != nil && cred.fresh(generation, now) {
		return cred, nil
	}
	// With the generation in its name, a look that began before a change is not
	// shared with those who come after it.
	name := string(binary.BigEndian.AppendUint64(id[:], generation))
	found := s.loads.DoChan(name, func() (any, error) {
		// The first caller may leave while others wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		cred, err := load(ctx, id)
		if err != nil {
			return nil, err
		}
		cred.generation, cred.until = generation, now.Add(s.cfg.CacheTTL)
		if cred.known {
			s.known.put(id, cred, generation, now)
		} else {
			s.unknown.put(id, cred, generation, now)
		}
		return cred, nil
	})
	select {
	case r := <-found:
		if r.Err != nil {
			return nil, fmt.Errorf("look up a credential: %w", r.Err)
		}
		return r.Val.(*credential), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("look up a credential: %w", ctx.Err())
	}
}

// signIn is a key with what its user adds to it.
type signIn struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`

	ID                string            `bun:"id"`
	UserID            string            `bun:"user_id"`
	Scopes            []models.Scope    `bun:"scopes,type:jsonb"`
	AllowedModels     []string          `bun:"allowed_models,type:jsonb"`
	AllowedCIDRs      []string          `bun:"allowed_cidrs,type:jsonb"`
	CacheTTL          int               `bun:"cache_ttl"`
	ExpiresAt         *time.Time        `bun:"expires_at"`
	RevokedAt         *time.Time        `bun:"revoked_at"`
	LastUsedAt        *time.Time        `bun:"last_used_at"`
	PreviousExpiresAt *time.Time        `bun:"previous_expires_at"`
	ChannelTags       []string          `bun:"channel_tags,type:jsonb"`
	Limits            models.KeyLimits  `bun:"limits,type:jsonb"`
	Concurrency       *int              `bun:"concurrency,scanonly"` // of the plan
	Groups            []string          `bun:"user_groups,type:jsonb,scanonly"`
	Role              models.Role       `bun:"role,scanonly"`
	Tier              models.Tier       `bun:"tier,scanonly"`
	Status            models.UserStatus `bun:"status,scanonly"`

	OnDisconnect models.OnDisconnect `bun:"on_disconnect"`
	Metered      bool                `bun:"metered,scanonly"`
}

// load asks the database what the digest stands for.
func (s *Service) load(ctx context.Context, id digest) (*credential, error) {
	row, err := s.signIn(ctx, "k.hash = ?", id[:])
	previous := errors.Is(err, sql.ErrNoRows)
	if previous {
		row, err = s.signIn(ctx, "k.previous_hash = ?", id[:])
	}
	if errors.Is(err, sql.ErrNoRows) {
		return &credential{}, nil
	}
	if err != nil {
		return nil, err
	}
	cred := &credential{
		known:      true,
		revoked:    row.RevokedAt != nil,
		suspended:  row.Status != models.UserActive,
		expiresAt:  row.ExpiresAt,
		restricted: len(row.AllowedCIDRs) > 0,
		networks:   networks(row.AllowedCIDRs),
		viewer:     row.viewer(),
	}
	if previous {
		cred.replaced = row.PreviousExpiresAt
		if cred.replaced == nil {
			cred.replaced = new(time.Time)
		}
	}
	if row.LastUsedAt != nil {
		cred.used.Store(row.LastUsedAt.Unix())
	}
	return cred, nil
}

func (row *signIn) viewer() *models.Viewer {
	return &models.Viewer{
		UserID: row.UserID, Role: row.Role, Tier: row.Tier, KeyID: row.ID,
		Scopes: row.Scopes, AllowedModels: row.AllowedModels, AllowedCIDRs: row.AllowedCIDRs,
		ChannelTags: row.ChannelTags, Groups: row.Groups, CacheTTL: time.Duration(row.CacheTTL) * time.Second,
		Metered: row.Metered, OnDisconnect: row.OnDisconnect, Limits: models.NewViewerLimits(row.Limits, row.Concurrency),
	}
}

// KeyViewer is who signs in with this API key, whether or not the key counts
// now: for explaining what would happen to its requests. Callers are admins.
func (s *Service) KeyViewer(ctx context.Context, keyID string) (*models.Viewer, error) {
	if !storage.Storable(keyID) {
		return nil, models.NotFound("API key", keyID)
	}
	row, err := s.signIn(ctx, "k.id = ?", keyID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("API key", keyID)
	}
	if err != nil {
		return nil, fmt.Errorf("load API key: %w", err)
	}
	return row.viewer(), nil
}

func (s *Service) signIn(ctx context.Context, where string, id any) (*signIn, error) {
	row := new(signIn)
	err := s.db.Read().NewSelect().Model(row).
		ColumnExpr("k.id, k.user_id, k.scopes, k.allowed_models, k.allowed_cidrs, k.cache_ttl, k.expires_at, k.revoked_at, k.last_used_at, k.previous_expires_at").
		ColumnExpr("k.channel_tags, k.limits, k.on_disconnect, u.role, u.tier, u.status, u.user_groups").
		ColumnExpr("EXISTS (SELECT 1 FROM budgets AS b WHERE b.owner IN (k.id, k.user_id)) AS metered").
		ColumnExpr("(SELECT p.concurrency FROM plans AS p WHERE p.tier = u.tier) AS concurrency").
		Join("JOIN users AS u ON u.id = k.user_id").
		Where(where, id).OrderBy("k.id", bun.OrderDesc).Limit(1).Scan(ctx)
	return row, err
}

// networks parses networks in CIDR form. One that cannot be read matches
// nothing.
func networks(cidrs []string) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(cidrs))
	for _, s := range cidrs {
		if p, err := netip.ParsePrefix(s); err == nil {
			list = append(list, unmapped(p))
		}
	}
	return list
}

// unmapped turns a network of IPv4 addresses that are written as IPv6 into one
// of IPv4.
func unmapped(p netip.Prefix) netip.Prefix {
	const mapped = 96 // bits of ::ffff:0:0/96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p
}

// within says whether the address is in one of the networks.
func within(list []netip.Prefix, from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	for _, p := range list {
		if p.Contains(from) {
			return true
		}
	}
	return false
}
