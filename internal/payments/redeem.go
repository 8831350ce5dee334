package payments

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// batchPrefix is of the ids that codes made at once share.
const batchPrefix = "rb_"

// alphabet has no letter that is taken for a digit (Crockford's base32).
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// CreateRedeemCodes makes codes, which are shown here and never again. Scope:
// admin.
func (s *Service) CreateRedeemCodes(ctx context.Context, v *models.Viewer, in models.CreateRedeemCodesInput) (*models.CreateRedeemCodesPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	now := s.time()
	if err := in.Validate(now); err != nil {
		return nil, err
	}
	batch := models.NewID(batchPrefix)
	out := &models.CreateRedeemCodesPayload{Batch: &batch}
	for range *in.Count {
		code := newCode()
		c := &models.RedeemCode{
			ID: models.NewID(models.RedeemCodePrefix), Hash: hashOf(code), Display: "****" + code[len(code)-4:], Batch: batch,
			Tier: in.Tier, MaxUses: *in.MaxUses, ExpiresAt: stored(in.ExpiresAt), ActorID: v.UserID, CreatedAt: now,
		}
		if in.Credit != nil {
			c.Credit = *in.Credit
		}
		if in.TierDays != nil {
			c.TierDays = *in.TierDays
		}
		if in.Note != nil {
			c.Note = *in.Note
		}
		out.Codes, out.RedeemCodes = append(out.Codes, code), append(out.RedeemCodes, c)
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for some := range slices.Chunk(out.RedeemCodes, 100) { // SQLite bounds the variables of a statement
			if _, err := tx.NewInsert().Model(&some).Exec(ctx); err != nil {
				return fmt.Errorf("insert codes: %w", err)
			}
		}
		return audit.Append(ctx, tx, v, "redeem_codes.created", audit.Target{Type: "redeem_code", ID: batch}, nil, in)
	})
	if err != nil {
		return nil, fmt.Errorf("make redeem codes: %w", err)
	}
	return out, nil
}

// newCode is 80 random bits, such as COAI-7K3M-9XQ2-V0TB-4HPA.
func newCode() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	text := base32.NewEncoding(alphabet).EncodeToString(b[:])
	return "COAI-" + text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}

// hashOf is how a code is kept. What people get wrong when they type makes no
// difference: case, spaces, hyphens, and the letters I, L and O.
func hashOf(code string) string {
	code = strings.NewReplacer(" ", "", "-", "", "I", "1", "L", "1", "O", "0").Replace(strings.ToUpper(code))
	sum := sha256.Sum256([]byte(code))
	return hex.EncodeToString(sum[:])
}

// RedeemCodes lists the codes. Scope: admin.
func (s *Service) RedeemCodes(ctx context.Context, v *models.Viewer, args models.PageArgs, f *models.RedeemCodeFilter) (*models.RedeemCodeConnection, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if f != nil && f.Batch != nil && !storage.Storable(*f.Batch) {
		return nil, models.Invalid("batch", "'batch' must be the id of a batch.")
	}
	now := s.time()
	narrow := func(q *bun.SelectQuery) *bun.SelectQuery {
		if f == nil {
			return q
		}
		if f.Batch != nil {
			q = q.Where("c.batch = ?", *f.Batch)
		}
		if f.Usable == nil {
			return q
		}
		const usable = "c.disabled_at IS NULL AND c.uses < c.max_uses AND (c.expires_at IS NULL OR c.expires_at > ?)"
		if *f.Usable {
			return q.Where(usable, now)
		}
		return q.Where("NOT ("+usable+")", now)
	}
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(c *models.RedeemCode) string { return c.ID }, narrow)
	if err != nil {
		return nil, fmt.Errorf("list redeem codes: %w", err)
	}
	return list, nil
}

// DisableRedeemCode ends a code for all who have not redeemed it yet. Scope: admin.
func (s *Service) DisableRedeemCode(ctx context.Context, v *models.Viewer, id string) (*models.DisableRedeemCodePayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	if !storage.StorableID(id) {
		return nil, models.NotFound("redeem code", id)
	}
	c := new(models.RedeemCode)
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := tx.NewSelect().Model(c).Where("c.id = ?", id).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return models.NotFound("redeem code", id)
		}
		if err != nil || c.DisabledAt != nil {
			return err //nolint:wrapcheck // below
		}
		now := s.time()
		c.DisabledAt = &now
		if _, err = tx.NewUpdate().Model(c).Column("disabled_at").WherePK().Exec(ctx); err != nil {
			return err //nolint:wrapcheck // below
		}
		return audit.Append(ctx, tx, v, "redeem_code.disabled", audit.Target{Type: "redeem_code", ID: id}, nil, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("disable redeem code: %w", err)
	}
	return &models.DisableRedeemCodePayload{RedeemCode: c}, nil
}

// Redeem gives the viewer what a code is worth, once for each user. A code that is
// wrong, used up, expired or disabled is not found: the four are not told apart.
// Scope: profile.
func (s *Service) Redeem(ctx context.Context, v *models.Viewer, in models.RedeemCodeInput) (*models.RedeemCodePayload, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if in.Code == "" {
		return nil, models.Missing("code")
	}
	var p *models.Payment
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		now := s.time()
		c := new(models.RedeemCode)
		err = tx.NewRaw(`UPDATE redeem_codes SET uses = uses + 1 WHERE hash = ? AND disabled_at IS NULL AND uses < max_uses
			AND (expires_at IS NULL OR expires_at > ?) RETURNING *`, hashOf(in.Code), now).Scan(ctx, c)
		if errors.Is(err, sql.ErrNoRows) {
			return &models.Error{
				Kind: models.KindNotFound, Code: models.CodeResourceNotFound, Param: "code",
				Message: "No code like this can be redeemed. Check it for typing errors; it may have been used or expired.",
			}
		}
		if err != nil {
			return fmt.Errorf("take code: %w", err)
		}
		p, err = s.redeem(ctx, tx, v, c, now)
		return err
	})
	if storage.UniqueViolation(err) {
		return nil, models.Conflict("code", "This account has redeemed the code already.")
	}
	if err != nil {
		return nil, fmt.Errorf("redeem code: %w", err)
	}
	return &models.RedeemCodePayload{Payment: p}, nil
}

func (s *Service) redeem(ctx context.Context, tx bun.Tx, v *models.Viewer, c *models.RedeemCode, now time.Time) (*models.Payment, error) {
	p := s.payment(v.UserID, models.PaymentCode, v.UserID)
	p.Credit, p.Tier = c.Credit, c.Tier
	if c.Tier != nil {
		p.Kind = models.PaymentPlan
	}
	_, err := tx.NewRaw("INSERT INTO redemptions (code_id, user_id, payment_id, created_at) VALUES (?, ?, ?, ?)", c.ID, v.UserID, p.ID, now).Exec(ctx)
	if err != nil {
		return nil, fmt.Errorf("note redemption: %w", err)
	}
	if err := insert(ctx, tx, p); err != nil {
		return nil, err
	}
	if c.Tier != nil {
		until, err := s.until(ctx, tx, v.UserID, c, now)
		if err != nil {
			return nil, err
		}
		if err := s.give(ctx, tx, p, &until); err != nil {
			return nil, err
		}
	}
	return p, s.succeed(ctx, tx, p)
}

// until is when the tier of a code ends: days that are left of the same tier are
// added to. A code must not lower a tier, nor put an end to one that has none.
func (s *Service) until(ctx context.Context, tx bun.Tx, userID string, c *models.RedeemCode, now time.Time) (time.Time, error) {
	has, err := tierOf(ctx, tx, userID)
	if err != nil {
		return now, err
	}
	sub, err := subscription(ctx, tx, userID)
	if err != nil {
		return now, err
	}
	from := now
	endless := sub == nil || sub.Status == models.SubscriptionCanceled || sub.PeriodEnd == nil
	switch order := models.Tiers(); {
	case has == *c.Tier && endless, slices.Index(order, has) > slices.Index(order, *c.Tier):
		return now, models.Conflict("code", "The account has the tier '%s' already.", has)
	case has == *c.Tier && sub.PeriodEnd.After(now):
		from = *sub.PeriodEnd
	}
	return from.AddDate(0, 0, c.TierDays), nil
}
