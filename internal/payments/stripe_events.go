package payments

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// maxEvent bounds what Stripe may send, in bytes.
const maxEvent = 1 << 20

// ReceiveStripeEvent takes an event that Stripe has signed. Each counts once, by
// its id, and may come late or in another order: of a subscription the newest word
// counts. Events that mean nothing here are taken too, so that Stripe does not
// repeat them. It asks for no viewer: the signature is the proof.
// https://docs.stripe.com/webhooks
func (s *Service) ReceiveStripeEvent(ctx context.Context, payload, signature string) (*models.ReceivePaymentEventPayload, error) {
	if s.stripe == nil || s.stripe.cfg.WebhookSecret == "" {
		return nil, &models.Error{Kind: models.KindNotFound, Code: models.CodeUnknownEndpoint, Message: "This server takes no events from Stripe."}
	}
	if len(payload) > maxEvent {
		return nil, &models.Error{Kind: models.KindTooLarge, Code: models.CodeRequestTooLarge, Message: fmt.Sprintf("An event must have at most %d bytes.", maxEvent)}
	}
	e, err := stripe.ConstructEvent([]byte(payload), signature, s.stripe.cfg.WebhookSecret, stripe.WithIgnoreAPIVersionMismatch())
	if err != nil {
		return nil, models.Invalid("stripe-signature", "The event is not signed by Stripe, or was signed more than five minutes ago.")
	}
	if e.ID == "" || e.Data == nil {
		return nil, models.Invalid("id", "The event has no id or no data.")
	}
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewRaw("INSERT INTO payment_events (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", e.ID, s.time()).Exec(ctx)
		if err != nil {
			return fmt.Errorf("note event: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err //nolint:wrapcheck // it was taken before
		}
		return s.take(ctx, tx, &e)
	})
	if err != nil {
		return nil, fmt.Errorf("take Stripe's event %s: %w", e.ID, err)
	}
	return &models.ReceivePaymentEventPayload{Received: true}, nil
}

func (s *Service) take(ctx context.Context, tx bun.Tx, e *stripe.Event) error {
	switch e.Type {
	case stripe.EventTypeCheckoutSessionCompleted, stripe.EventTypeCheckoutSessionAsyncPaymentSucceeded:
		return with(e, func(c *stripe.CheckoutSession) error { return s.sessionPaid(ctx, tx, c) })
	case stripe.EventTypeCheckoutSessionAsyncPaymentFailed:
		return with(e, func(c *stripe.CheckoutSession) error { return s.sessionOver(ctx, tx, c, "The payment failed.") })
	case stripe.EventTypeCheckoutSessionExpired:
		return with(e, func(c *stripe.CheckoutSession) error {
			return s.sessionOver(ctx, tx, c, "Nobody paid before the page expired.")
		})
	case stripe.EventTypeCustomerSubscriptionCreated, stripe.EventTypeCustomerSubscriptionUpdated, stripe.EventTypeCustomerSubscriptionDeleted:
		return with(e, func(sub *stripe.Subscription) error { return s.subscribed(ctx, tx, sub, time.Unix(e.Created, 0).UTC()) })
	case stripe.EventTypeInvoicePaid:
		return with(e, func(i *stripe.Invoice) error { return s.invoicePaid(ctx, tx, i) })
	case stripe.EventTypeInvoicePaymentFailed:
		return with(e, func(i *stripe.Invoice) error { return s.invoiceFailed(ctx, tx, i) })
	case stripe.EventTypeChargeRefunded:
		return with(e, func(c *stripe.Charge) error { return s.refunded(ctx, tx, c) })
	default:
		return nil
	}
}

func with[T any](e *stripe.Event, do func(*T) error) error {
	object := new(T)
	if err := json.Unmarshal(e.Data.Raw, object); err != nil {
		return models.Invalid("data", "The event's object could not be read.")
	}
	return do(object)
}

// load finds one of Stripe's payments; nil when it is none of ours.
func load(ctx context.Context, tx bun.Tx, column, value string) (*models.Payment, error) {
	p := new(models.Payment)
	err := tx.NewSelect().Model(p).Where("p.provider = ? AND p.? = ?", models.PaymentStripe, bun.Ident(column), value).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // none of ours
	}
	if err != nil {
		return nil, fmt.Errorf("load payment: %w", err)
	}
	return p, nil
}

func (s *Service) sessionPaid(ctx context.Context, tx bun.Tx, c *stripe.CheckoutSession) error {
	p, err := load(ctx, tx, "id", c.Metadata[metaPayment])
	if err != nil || p == nil {
		return err
	}
	if c.Customer != nil && c.Customer.ID != "" {
		if err := s.isCustomer(ctx, tx, p.UserID, c.Customer.ID); err != nil {
			return err
		}
	}
	if c.PaymentStatus == stripe.CheckoutSessionPaymentStatusUnpaid {
		return nil // a bank is at work; another event tells of the end
	}
	if p.Kind == models.PaymentPlan {
		p.Amount = cents(c.AmountTotal)
	}
	if c.PaymentIntent != nil && c.PaymentIntent.ID != "" {
		p.ChargeID = &c.PaymentIntent.ID
	}
	return s.succeed(ctx, tx, p)
}

func (s *Service) sessionOver(ctx context.Context, tx bun.Tx, c *stripe.CheckoutSession, why string) error {
	p, err := load(ctx, tx, "id", c.Metadata[metaPayment])
	if err != nil || p == nil {
		return err
	}
	return s.fail(ctx, tx, p, why)
}

func (s *Service) isCustomer(ctx context.Context, tx bun.Tx, userID, customer string) error {
	_, err := tx.NewRaw(`INSERT INTO payment_customers (user_id, customer_id, created_at) VALUES (?, ?, ?)
		ON CONFLICT (user_id) DO UPDATE SET customer_id = EXCLUDED.customer_id`, userID, customer, s.time()).Exec(ctx)
	if err != nil {
		return fmt.Errorf("write customer: %w", err)
	}
	return nil
}

// subscribed takes what Stripe says about a subscription, unless it has said
// something newer, or that it has ended.
func (s *Service) subscribed(ctx context.Context, tx bun.Tx, said *stripe.Subscription, at time.Time) error {
	user, tier := said.Metadata[metaUser], models.Tier(said.Metadata[metaTier])
	if user == "" || tier != models.TierPro && tier != models.TierEnterprise {
		return nil // none of ours
	}
	if _, err := tierOf(ctx, tx, user); err != nil {
		var e *models.Error
		if errors.As(err, &e) {
			return nil // the account is gone
		}
		return err
	}
	old, err := subscription(ctx, tx, user)
	if err != nil {
		return err
	}
	same := old != nil && old.ExternalID == said.ID
	switch {
	case same && (at.Before(old.SaidAt) || old.Status == models.SubscriptionCanceled):
		return nil
	case !same && kept(old) && at.Before(old.SaidAt):
		return nil // an older subscription than the one that counts
	}
	sub := &models.Subscription{
		UserID: user, Provider: models.PaymentStripe, ExternalID: said.ID, Tier: tier, SaidAt: at, CreatedAt: s.time(), UpdatedAt: s.time(),
	}
	if said.Items != nil && len(said.Items.Data) > 0 && said.Items.Data[0].CurrentPeriodEnd > 0 {
		end := time.Unix(said.Items.Data[0].CurrentPeriodEnd, 0).UTC()
		sub.PeriodEnd = &end
	}
	switch said.Status {
	case stripe.SubscriptionStatusActive, stripe.SubscriptionStatusTrialing:
		sub.Status = models.SubscriptionActive
	case stripe.SubscriptionStatusPastDue, stripe.SubscriptionStatusUnpaid:
		sub.Status = models.SubscriptionPastDue
		until := at.Add(s.grace)
		if same && old.GraceUntil != nil {
			until = *old.GraceUntil // it does not begin anew
		}
		sub.GraceUntil = &until
	case stripe.SubscriptionStatusCanceled, stripe.SubscriptionStatusIncompleteExpired, stripe.SubscriptionStatusPaused:
		if !same {
			return nil // it never counted, or does no more
		}
		sub.Status = models.SubscriptionCanceled
	case stripe.SubscriptionStatusIncomplete:
		return nil // not paid yet
	}
	return s.keep(ctx, tx, sub)
}

// invoicePaid books what a subscription has cost again. The first invoice is the
// checkout's own payment. One that was wanting before becomes a good one.
func (s *Service) invoicePaid(ctx context.Context, tx bun.Tx, i *stripe.Invoice) error {
	if i.BillingReason == stripe.InvoiceBillingReasonSubscriptionCreate {
		return nil
	}
	p, err := s.invoice(ctx, tx, i)
	if err != nil || p == nil {
		return err
	}
	p.Amount = cents(i.AmountPaid)
	return s.succeed(ctx, tx, p)
}

func (s *Service) invoiceFailed(ctx context.Context, tx bun.Tx, i *stripe.Invoice) error {
	p, err := s.invoice(ctx, tx, i)
	if err != nil || p == nil {
		return err
	}
	p.Amount = cents(i.AmountDue)
	return s.fail(ctx, tx, p, "The payment for the subscription failed.")
}

// invoice is the payment of a subscription's invoice, made when there is none; nil
// when it is none of ours.
func (s *Service) invoice(ctx context.Context, tx bun.Tx, i *stripe.Invoice) (*models.Payment, error) {
	if i.Parent == nil || i.Parent.SubscriptionDetails == nil {
		return nil, nil //nolint:nilnil // none of ours
	}
	meta := i.Parent.SubscriptionDetails.Metadata
	user, tier := meta[metaUser], models.Tier(meta[metaTier])
	if user == "" || tier == "" {
		return nil, nil //nolint:nilnil // none of ours
	}
	p, err := load(ctx, tx, "external_id", i.ID)
	if err != nil || p != nil {
		return p, err
	}
	p = s.payment(user, models.PaymentStripe, user)
	p.Kind, p.Tier, p.ExternalID = models.PaymentPlan, &tier, &i.ID
	err = insert(ctx, tx, p)
	if e := new(models.Error); errors.As(err, &e) {
		return nil, nil //nolint:nilnil // the account is gone
	}
	return p, err
}

func (s *Service) refunded(ctx context.Context, tx bun.Tx, c *stripe.Charge) error {
	if c.PaymentIntent == nil {
		return nil
	}
	p, err := load(ctx, tx, "charge_id", c.PaymentIntent.ID)
	if err != nil || p == nil {
		return err
	}
	return s.refund(ctx, tx, p, cents(c.AmountRefunded))
}

func cents(n int64) models.Nanos { return models.Nanos(n) * (models.Dollar / 100) }
