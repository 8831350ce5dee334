// Package payments takes money in: credit and plans, written down by an admin,
// bought through Stripe, or had for a code. What a payment buys, its entry in the
// books and its event commit together.
package payments

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// DefaultGrace is how long an account keeps a tier that is not paid for.
const DefaultGrace = 7 * 24 * time.Hour

// Config holds the settings of a [Service].
type Config struct {
	Stripe *Stripe       // nil: payments are written down by admins alone
	Grace  time.Duration // default [DefaultGrace]
}

// Service keeps payments, subscriptions and redeem codes. It is safe for
// concurrent use.
type Service struct {
	db     *storage.DB
	stripe *Stripe
	grace  time.Duration
	log    zerolog.Logger
	now    func() time.Time
}

// New makes the service.
func New(db *storage.DB, cfg Config, log zerolog.Logger) *Service {
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	return &Service{db: db, stripe: cfg.Stripe, grace: cfg.Grace, log: log, now: time.Now}
}

// time is now, as the databases keep it.
func (s *Service) time() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// owned narrows a query of payments to those that the viewer may see: an admin
// all, others their own.
func owned(v *models.Viewer) func(*bun.SelectQuery) *bun.SelectQuery {
	return func(q *bun.SelectQuery) *bun.SelectQuery {
		if v.IsAdmin() {
			return q
		}
		return q.Where("p.user_id = ?", v.UserID)
	}
}

// Payments lists the viewer's payments; an admin's list holds all accounts'.
// Scope: profile.
func (s *Service) Payments(ctx context.Context, v *models.Viewer, args models.PageArgs, f *models.PaymentFilter) (*models.PaymentConnection, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if f != nil && f.UserID != nil && !storage.Storable(*f.UserID) {
		return nil, models.Invalid("user_id", "'user_id' must be the id of a user.")
	}
	narrow := func(q *bun.SelectQuery) *bun.SelectQuery {
		q = q.Apply(owned(v))
		if f == nil {
			return q
		}
		if f.UserID != nil {
			q = q.Where("p.user_id = ?", *f.UserID)
		}
		if f.Status != nil {
			q = q.Where("p.status = ?", *f.Status)
		}
		if f.Kind != nil {
			q = q.Where("p.kind = ?", *f.Kind)
		}
		return q
	}
	list, err := storage.List(ctx, s.db.Read(), page, "id", func(p *models.Payment) string { return p.ID }, narrow)
	if err != nil {
		return nil, fmt.Errorf("list payments: %w", err)
	}
	return list, nil
}

// Payment is one of the viewer's payments, or any for an admin. Others are not
// found. Scope: profile.
func (s *Service) Payment(ctx context.Context, v *models.Viewer, id string) (*models.Payment, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if !storage.StorableID(id) {
		return nil, models.NotFound("payment", id)
	}
	p := new(models.Payment)
	err := s.db.Read().NewSelect().Model(p).Apply(owned(v)).Where("p.id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, models.NotFound("payment", id)
	}
	if err != nil {
		return nil, fmt.Errorf("load payment: %w", err)
	}
	return p, nil
}

// Subscription is why the viewer's account has a tier above free; nil for one that
// has none, or was given it by an admin. Scope: profile.
func (s *Service) Subscription(ctx context.Context, v *models.Viewer) (*models.Subscription, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	return subscription(ctx, s.db.Read(), v.UserID)
}

func subscription(ctx context.Context, db bun.IDB, userID string) (*models.Subscription, error) {
	sub := new(models.Subscription)
	err := db.NewSelect().Model(sub).Where("s.user_id = ?", userID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("load subscription: %w", err)
	}
	return sub, nil
}

// RecordPayment writes down money that was received by other ways, and gives the
// account what it bought. A second payment with the same reference is a conflict.
// Scope: admin.
func (s *Service) RecordPayment(ctx context.Context, v *models.Viewer, in models.RecordPaymentInput) (*models.RecordPaymentPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	now := s.time()
	if err := in.Validate(now); err != nil {
		return nil, err
	}
	p := s.payment(in.UserID, models.PaymentManual, v.UserID)
	p.Amount, p.Tier, p.ExternalID = in.Amount, in.Tier, in.Reference
	if in.Tier != nil {
		p.Kind = models.PaymentPlan
	}
	if in.Credit != nil {
		p.Credit = *in.Credit
	}
	if in.Note != nil {
		p.Note = *in.Note
	}
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := insert(ctx, tx, p); err != nil {
			return err
		}
		if in.Tier != nil {
			if err := s.give(ctx, tx, p, in.ExpiresAt); err != nil {
				return err
			}
		}
		if err := s.succeed(ctx, tx, p); err != nil {
			return err
		}
		return audit.Append(ctx, tx, v, "payment.recorded", audit.Target{Type: "payment", ID: p.ID}, nil, p.AsObject())
	})
	if storage.UniqueViolation(err) {
		return nil, models.Conflict("reference", "There is a payment with the reference '%s' already.", *in.Reference)
	}
	if err != nil {
		return nil, fmt.Errorf("record payment: %w", err)
	}
	return &models.RecordPaymentPayload{Payment: p}, nil
}

// payment is a new one that is pending.
func (s *Service) payment(userID string, by models.PaymentProvider, actorID string) *models.Payment {
	now := s.time()
	return &models.Payment{
		ID: models.NewID(models.PaymentPrefix), UserID: userID, Provider: by, Kind: models.PaymentCredit,
		Status: models.PaymentPending, ActorID: actorID, CreatedAt: now, UpdatedAt: now,
	}
}

// insert writes a payment of an account that exists.
func insert(ctx context.Context, tx bun.IDB, p *models.Payment) error {
	if _, err := tierOf(ctx, tx, p.UserID); err != nil {
		return err
	}
	if _, err := tx.NewInsert().Model(p).Exec(ctx); err != nil {
		return fmt.Errorf("insert payment: %w", err)
	}
	return nil
}

func tierOf(ctx context.Context, db bun.IDB, userID string) (models.Tier, error) {
	var tier models.Tier
	err := sql.ErrNoRows
	if storage.StorableID(userID) {
		err = db.NewSelect().TableExpr("users").Column("tier").Where("id = ?", userID).Scan(ctx, &tier)
	}
	if errors.Is(err, sql.ErrNoRows) {
		e := models.NotFound("user", userID)
		e.Param = "user_id"
		return "", e
	}
	if err != nil {
		return "", fmt.Errorf("load tier: %w", err)
	}
	return tier, nil
}
