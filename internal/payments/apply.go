package payments

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/budgets"
	"github.com/coaidev/coai/internal/events"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// succeed ends a payment well, once: the balance rises by its credit, and the event
// is written. A payment that has succeeded before is left alone, one that failed may
// still succeed.
func (s *Service) succeed(ctx context.Context, tx bun.Tx, p *models.Payment) error {
	p.Status, p.Failure, p.UpdatedAt = models.PaymentSucceeded, nil, s.time()
	done, err := s.move(ctx, tx, p, models.PaymentPending, models.PaymentFailed)
	if err != nil || !done {
		return err
	}
	if p.Credit > 0 {
		if err := s.credit(ctx, tx, p, p.Credit, "Payment "+p.ID); err != nil {
			return err
		}
	}
	return s.tell(ctx, tx, models.EventPaymentSucceeded, p)
}

// fail ends a pending payment badly, once.
func (s *Service) fail(ctx context.Context, tx bun.Tx, p *models.Payment, why string) error {
	p.Status, p.Failure, p.UpdatedAt = models.PaymentFailed, &why, s.time()
	done, err := s.move(ctx, tx, p, models.PaymentPending)
	if err != nil || !done {
		return err
	}
	return s.tell(ctx, tx, models.EventPaymentFailed, p)
}

// move writes the payment's outcome if it has one of these statuses still.
func (s *Service) move(ctx context.Context, tx bun.Tx, p *models.Payment, from ...models.PaymentStatus) (bool, error) {
	res, err := tx.NewUpdate().Model(p).Column("status", "failure", "amount", "charge_id", "updated_at").
		WherePK().Where("status IN (?)", bun.List(from)).Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("update payment: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("update payment: %w", err)
	}
	return n == 1, nil
}

// refund takes back what was refunded beyond what is known: of credit the same
// part as of the amount. A balance may go below zero by that.
func (s *Service) refund(ctx context.Context, tx bun.Tx, p *models.Payment, total models.Nanos) error {
	total = min(total, p.Amount)
	if total <= p.Refunded || p.Status != models.PaymentSucceeded {
		return nil
	}
	before := share(p.Credit, p.Refunded, p.Amount)
	back := share(p.Credit, total, p.Amount) - before
	p.Refunded, p.UpdatedAt = total, s.time()
	if total == p.Amount {
		p.Status = models.PaymentRefunded
	}
	if _, err := tx.NewUpdate().Model(p).Column("refunded", "status", "updated_at").WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("update payment: %w", err)
	}
	if back == 0 {
		return nil
	}
	return s.credit(ctx, tx, p, -back, "Refund of "+p.ID)
}

// share is the part of credit that belongs to a part of the amount, in whole cents'
// precision: amounts are cents, so the product fits after division by a cent.
func share(credit, part, amount models.Nanos) models.Nanos {
	if amount == 0 {
		return 0
	}
	const cent = models.Dollar / 100
	return credit / (amount / cent) * (part / cent)
}

// credit changes the balance and writes its entry.
func (s *Service) credit(ctx context.Context, tx bun.Tx, p *models.Payment, amount models.Nanos, note string) error {
	now := s.time()
	balance, err := budgets.Credit(ctx, tx, s.db.Dialect(), p.UserID, amount, now)
	if err != nil {
		return fmt.Errorf("credit the balance: %w", err)
	}
	entry := &models.BalanceEntry{
		ID: models.NewID(models.EntryPrefix), UserID: p.UserID, ActorID: p.ActorID, Amount: amount, Balance: balance,
		Note: note, CreatedAt: now,
	}
	if _, err := tx.NewInsert().Model(entry).Exec(ctx); err != nil {
		return fmt.Errorf("insert balance entry: %w", err)
	}
	return s.changed(ctx, tx)
}

// changed tells all processes that accounts are not what they know.
func (s *Service) changed(ctx context.Context, tx bun.Tx) error {
	if err := storage.Bump(ctx, tx, "accounts"); err != nil {
		return fmt.Errorf("tell processes: %w", err)
	}
	return nil
}

func (s *Service) tell(ctx context.Context, tx bun.Tx, what models.EventType, p *models.Payment) error {
	if _, err := events.Append(ctx, tx, what, p.AsObject()); err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	return nil
}

// give gives an account the tier of a payment that no provider goes on with, until
// a time or for good. It is a conflict with a subscription that a provider keeps.
func (s *Service) give(ctx context.Context, tx bun.Tx, p *models.Payment, until *time.Time) error {
	old, err := subscription(ctx, tx, p.UserID)
	if err != nil {
		return err
	}
	if kept(old) {
		return models.Conflict("tier", "The account has a running subscription through %s. It must end first.", old.Provider)
	}
	now := s.time()
	return s.keep(ctx, tx, &models.Subscription{
		UserID: p.UserID, Provider: p.Provider, ExternalID: p.ID, Tier: *p.Tier, Status: models.SubscriptionActive,
		PeriodEnd: stored(until), SaidAt: now, CreatedAt: now, UpdatedAt: now,
	})
}

// kept says whether a provider goes on with the subscription by itself.
func kept(sub *models.Subscription) bool {
	return sub != nil && sub.Provider == models.PaymentStripe && sub.Status != models.SubscriptionCanceled
}

func stored(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC().Truncate(time.Microsecond)
	return &at
}

// keep writes the subscription, and the tier that follows from it to the account.
func (s *Service) keep(ctx context.Context, tx bun.Tx, sub *models.Subscription) error {
	_, err := tx.NewInsert().Model(sub).On("CONFLICT (user_id) DO UPDATE").
		Set("provider = EXCLUDED.provider, external_id = EXCLUDED.external_id, tier = EXCLUDED.tier, status = EXCLUDED.status").
		Set("period_end = EXCLUDED.period_end, grace_until = EXCLUDED.grace_until, said_at = EXCLUDED.said_at, updated_at = EXCLUDED.updated_at").
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("write subscription: %w", err)
	}
	tier := sub.Tier
	if sub.Status == models.SubscriptionCanceled {
		tier = models.TierFree
	}
	_, err = tx.NewUpdate().TableExpr("users").Set("tier = ?, updated_at = ?", tier, s.time()).Where("id = ?", sub.UserID).Exec(ctx)
	if err != nil {
		return fmt.Errorf("change tier: %w", err)
	}
	return s.changed(ctx, tx)
}

// Expire takes tiers away whose time is over: those that were bought for a while,
// and those that were not paid for within the grace period. It gives their number.
// It also ends payments that nobody paid for two weeks, and forgets the provider's
// events of more than a month ago, which no provider sends again.
func (s *Service) Expire(ctx context.Context) (int, error) {
	const (
		waiting    = 14 * 24 * time.Hour // longer than a bank transfer takes
		remembered = 31 * 24 * time.Hour
	)
	var over []*models.Subscription
	now, n := s.time(), 0
	err := s.db.Read().NewSelect().Model(&over).
		Where("s.status = ? AND s.grace_until <= ?", models.SubscriptionPastDue, now).
		WhereOr("s.status = ? AND s.provider <> ? AND s.period_end <= ?", models.SubscriptionActive, models.PaymentStripe, now).
		OrderExpr("s.user_id").Scan(ctx)
	if err != nil {
		return 0, fmt.Errorf("find subscriptions that are over: %w", err)
	}
	for _, sub := range over {
		err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			current, err := subscription(ctx, tx, sub.UserID)
			if err != nil || current == nil || current.Status != sub.Status || !current.UpdatedAt.Equal(sub.UpdatedAt) {
				return err // somebody was faster
			}
			current.Status, current.UpdatedAt = models.SubscriptionCanceled, now
			n++
			return s.keep(ctx, tx, current)
		})
		if err != nil {
			return n, fmt.Errorf("end a subscription: %w", err)
		}
	}
	var unpaid []*models.Payment
	err = s.db.Read().NewSelect().Model(&unpaid).Where("p.status = ? AND p.created_at < ?", models.PaymentPending, now.Add(-waiting)).
		OrderExpr("p.id").Limit(1000).Scan(ctx)
	if err != nil {
		return n, fmt.Errorf("find payments that nobody paid: %w", err)
	}
	for _, p := range unpaid {
		err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return s.fail(ctx, tx, p, "Nobody paid.") })
		if err != nil {
			return n, fmt.Errorf("end a payment: %w", err)
		}
	}
	_, err = s.db.Write().NewDelete().TableExpr("payment_events").Where("created_at < ?", now.Add(-remembered)).Exec(ctx)
	if err != nil {
		return n, fmt.Errorf("forget events: %w", err)
	}
	return n, nil
}
