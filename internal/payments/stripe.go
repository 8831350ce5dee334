package payments

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v85"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

// Names of what we write into Stripe's objects, to find it again in their events.
const (
	metaPayment = "coai_payment"
	metaUser    = "coai_user"
	metaTier    = "coai_tier"
)

// maxPending is how many payments of an account may wait to be paid.
const maxPending = 50

// StripeConfig holds what is needed to take money through Stripe.
type StripeConfig struct {
	SecretKey     string
	WebhookSecret string
	Prices        map[models.Tier]string // Stripe's price of each tier that can be bought
	ReturnURL     string                 // where customers go who are not sent elsewhere
	URL           string                 // of the API; empty: Stripe's own
	HTTP          *http.Client
}

// Stripe is the way to Stripe: https://docs.stripe.com/api
type Stripe struct {
	cfg    StripeConfig
	client *stripe.Client
}

// NewStripe makes the way to Stripe.
func NewStripe(cfg StripeConfig) *Stripe {
	none := &stripe.LeveledLogger{Level: stripe.LevelNull} // its log would hold what we must not
	backend := &stripe.BackendConfig{HTTPClient: cfg.HTTP, LeveledLogger: none, EnableTelemetry: stripe.Bool(false)}
	if cfg.URL != "" {
		backend.URL = &cfg.URL
	}
	return &Stripe{cfg, stripe.NewClient(cfg.SecretKey, stripe.WithBackends(stripe.NewBackendsWithConfig(backend)))}
}

// CreateCheckout opens a page at Stripe on which the viewer pays for credit, or
// subscribes to a tier. What was bought is given when Stripe tells that it was
// paid. Without Stripe, with a running subscription, or with too many payments that
// wait, it is a conflict. Scope: profile.
func (s *Service) CreateCheckout(ctx context.Context, v *models.Viewer, in models.CreateCheckoutInput) (*models.CreateCheckoutPayload, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if s.stripe == nil {
		return nil, offline()
	}
	params, p, err := s.checkout(v, in)
	if err != nil {
		return nil, err
	}
	var email string
	err = s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.mayPay(ctx, tx, v, in); err != nil {
			return err
		}
		if err := tx.NewSelect().TableExpr("users").Column("email").Where("id = ?", v.UserID).Scan(ctx, &email); err != nil {
			return fmt.Errorf("load user: %w", err)
		}
		return insert(ctx, tx, p)
	})
	if err != nil {
		return nil, fmt.Errorf("begin payment: %w", err)
	}
	customer, err := s.customer(ctx, v.UserID)
	if err != nil {
		return nil, err
	}
	if customer != "" {
		params.Customer = &customer
	} else {
		params.CustomerEmail = &email
		if in.Amount != nil { // a subscription makes one by itself
			params.CustomerCreation = stripe.String("always")
		}
	}
	session, err := s.stripe.client.V1CheckoutSessions.Create(ctx, params)
	if refused := new(stripe.Error); errors.As(err, &refused) && refused.HTTPStatusCode/100 == 4 {
		if _, err := s.db.Write().NewDelete().Model(p).WherePK().Exec(context.WithoutCancel(ctx)); err != nil {
			return nil, fmt.Errorf("forget payment: %w", err)
		}
	}
	if err != nil {
		// Otherwise it stays pending: Stripe may have made the session all the same,
		// and then tells of its end.
		return nil, unreachable(err)
	}
	p.ExternalID = &session.ID
	if _, err := s.db.Write().NewUpdate().Model(p).Column("external_id").WherePK().Exec(ctx); err != nil {
		return nil, fmt.Errorf("write session: %w", err)
	}
	return &models.CreateCheckoutPayload{Payment: p, URL: &session.URL}, nil
}

// checkout is the payment, and what Stripe is asked for it. The session's metadata
// says which payment it is, so its events are understood before the session's name
// is written down.
func (s *Service) checkout(v *models.Viewer, in models.CreateCheckoutInput) (*stripe.CheckoutSessionCreateParams, *models.Payment, error) {
	p := s.payment(v.UserID, models.PaymentStripe, v.UserID)
	after := func(param string, given *string) (*string, error) {
		if given != nil {
			return given, nil
		}
		if s.stripe.cfg.ReturnURL == "" {
			return nil, models.Missing(param)
		}
		return &s.stripe.cfg.ReturnURL, nil
	}
	success, err := after("success_url", in.SuccessURL)
	if err != nil {
		return nil, nil, err
	}
	cancel, err := after("cancel_url", in.CancelURL)
	if err != nil {
		return nil, nil, err
	}
	meta := map[string]string{metaPayment: p.ID, metaUser: v.UserID}
	params := &stripe.CheckoutSessionCreateParams{ClientReferenceID: &v.UserID, SuccessURL: success, CancelURL: cancel, Metadata: meta}
	params.SetIdempotencyKey(p.ID)
	line := &stripe.CheckoutSessionCreateLineItemParams{Quantity: stripe.Int64(1)}
	params.LineItems = []*stripe.CheckoutSessionCreateLineItemParams{line}
	if in.Amount != nil {
		p.Amount, p.Credit = *in.Amount, *in.Amount
		params.Mode = stripe.String(string(stripe.CheckoutSessionModePayment))
		line.PriceData = &stripe.CheckoutSessionCreateLineItemPriceDataParams{
			Currency: stripe.String("usd"), UnitAmount: stripe.Int64(int64(*in.Amount / (models.Dollar / 100))),
			ProductData: &stripe.CheckoutSessionCreateLineItemPriceDataProductDataParams{Name: stripe.String("Credit")},
		}
		params.PaymentIntentData = &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: meta}
		return params, p, nil
	}
	price := s.stripe.cfg.Prices[*in.Tier]
	if price == "" {
		return nil, nil, models.Invalid("tier", "The tier '%s' cannot be bought here.", *in.Tier)
	}
	p.Kind, p.Tier = models.PaymentPlan, in.Tier
	params.Mode, line.Price = stripe.String(string(stripe.CheckoutSessionModeSubscription)), &price
	params.SubscriptionData = &stripe.CheckoutSessionCreateSubscriptionDataParams{
		Metadata: map[string]string{metaPayment: p.ID, metaUser: v.UserID, metaTier: string(*in.Tier)},
	}
	return params, p, nil
}

func (s *Service) mayPay(ctx context.Context, tx bun.Tx, v *models.Viewer, in models.CreateCheckoutInput) error {
	n, err := tx.NewSelect().Model((*models.Payment)(nil)).Where("p.user_id = ? AND p.status = ?", v.UserID, models.PaymentPending).Count(ctx)
	if err != nil {
		return fmt.Errorf("count payments: %w", err)
	}
	if n >= maxPending {
		return models.Conflict("", "%d payments wait to be paid. Pay one of them, or wait until they expire.", maxPending)
	}
	sub, err := subscription(ctx, tx, v.UserID)
	if err != nil || in.Tier == nil {
		return err
	}
	if kept(sub) {
		return models.Conflict("tier", "The account has a running subscription. Change it in the customer portal.")
	}
	return nil
}

// CreatePortalSession opens Stripe's page on which the viewer manages cards,
// invoices and the subscription. It is a conflict for who never paid through
// Stripe. Scope: profile.
func (s *Service) CreatePortalSession(ctx context.Context, v *models.Viewer, in *models.CreatePortalSessionInput) (*models.CreatePortalSessionPayload, error) {
	if err := v.Require(models.ScopeProfile); err != nil {
		return nil, err
	}
	if err := in.Validate(); err != nil {
		return nil, err
	}
	if s.stripe == nil {
		return nil, offline()
	}
	back := s.stripe.cfg.ReturnURL
	if in != nil && in.ReturnURL != nil {
		back = *in.ReturnURL
	}
	if back == "" {
		return nil, models.Missing("return_url")
	}
	customer, err := s.customer(ctx, v.UserID)
	if err != nil {
		return nil, err
	}
	if customer == "" {
		return nil, models.Conflict("", "The account has not paid through Stripe yet.")
	}
	session, err := s.stripe.client.V1BillingPortalSessions.Create(ctx, &stripe.BillingPortalSessionCreateParams{Customer: &customer, ReturnURL: &back})
	if err != nil {
		return nil, unreachable(err)
	}
	return &models.CreatePortalSessionPayload{URL: &session.URL}, nil
}

// customer is Stripe's name for the user; empty while there is none.
func (s *Service) customer(ctx context.Context, userID string) (id string, err error) {
	err = s.db.Read().NewSelect().TableExpr("payment_customers").Column("customer_id").Where("user_id = ?", userID).Scan(ctx, &id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("load customer: %w", err)
	}
	return id, nil
}

func offline() error {
	return models.Conflict("", "This server takes no payments by itself. Ask an admin.")
}

// unreachable hides what Stripe said, which is for the operator.
func unreachable(err error) error {
	e := models.Unavailable(models.CodeUpstreamError, "Stripe could not be asked. Try again later.")
	e.Cause = err
	return e
}
