package models

import (
	"net/url"
	"time"

	"github.com/uptrace/bun"
)

// PaymentPrefix is of the ids of payments.
const PaymentPrefix = "pay_"

// PaymentProvider says by what way money came.
type PaymentProvider string

// The providers.
const (
	PaymentManual PaymentProvider = "manual" // an admin wrote it down
	PaymentStripe PaymentProvider = "stripe"
	PaymentCode   PaymentProvider = "code" // a redeemed code
)

// PaymentKind says what a payment buys.
type PaymentKind string

// The kinds.
const (
	PaymentCredit PaymentKind = "credit" // raises the prepaid balance
	PaymentPlan   PaymentKind = "plan"   // a tier, for a while
)

// PaymentStatus is how far a payment came.
type PaymentStatus string

// The statuses.
const (
	PaymentPending   PaymentStatus = "pending" // the customer has not paid yet
	PaymentSucceeded PaymentStatus = "succeeded"
	PaymentFailed    PaymentStatus = "failed"
	PaymentRefunded  PaymentStatus = "refunded" // wholly
)

// Payment is money that came in for an account, or that was to.
type Payment struct {
	bun.BaseModel `bun:"table:payments,alias:p" json:"-"`

	ID         string          `bun:"id,pk" json:"id"`
	UserID     string          `bun:"user_id" json:"user_id"`
	Provider   PaymentProvider `bun:"provider" json:"provider"`
	Kind       PaymentKind     `bun:"kind" json:"kind"`
	Status     PaymentStatus   `bun:"status" json:"status"`
	Amount     Nanos           `bun:"amount" json:"-"`            // what was paid, or is to be
	Credit     Nanos           `bun:"credit" json:"-"`            // what the balance is raised by
	Refunded   Nanos           `bun:"refunded" json:"-"`          // of Amount
	Tier       *Tier           `bun:"tier" json:"tier"`           // of a plan
	ExternalID *string         `bun:"external_id" json:"-"`       // the provider's name for what was asked for
	ChargeID   *string         `bun:"charge_id" json:"-"`         // and for what came of it
	Failure    *string         `bun:"failure" json:"failure"`     // why it failed, for people
	Note       string          `bun:"note" json:"note,omitempty"` // the admin's
	ActorID    string          `bun:"actor_id" json:"-"`
	CreatedAt  time.Time       `bun:"created_at" json:"-"`
	UpdatedAt  time.Time       `bun:"updated_at" json:"-"`
}

// IsNode makes Payment a Relay node.
func (Payment) IsNode() {}

// AmountMoney is the amount as GraphQL shows it.
func (p *Payment) AmountMoney() Money { return USD(p.Amount) }

// CreditMoney is the credit as GraphQL shows it.
func (p *Payment) CreditMoney() Money { return USD(p.Credit) }

// RefundedMoney is what was refunded as GraphQL shows it.
func (p *Payment) RefundedMoney() Money { return USD(p.Refunded) }

// PaymentObject is a payment as REST and webhooks show it.
type PaymentObject struct {
	Object string `json:"object"` // payment
	*Payment
	Amount    Money `json:"amount"`
	Credit    Money `json:"credit"`
	Refunded  Money `json:"refunded"`
	CreatedAt int64 `json:"created_at"` // Unix seconds
	UpdatedAt int64 `json:"updated_at"`
}

// AsObject shows the payment.
func (p *Payment) AsObject() *PaymentObject {
	return &PaymentObject{
		Object: "payment", Payment: p, Amount: p.AmountMoney(), Credit: p.CreditMoney(), Refunded: p.RefundedMoney(),
		CreatedAt: p.CreatedAt.Unix(), UpdatedAt: p.UpdatedAt.Unix(),
	}
}

// PaymentFilter narrows a list of payments.
type PaymentFilter struct {
	UserID *string        `json:"user_id"` // admins alone may name others
	Status *PaymentStatus `json:"status"`
	Kind   *PaymentKind   `json:"kind"`
}

// Bounds of a payment.
const (
	minPayment = 1 * Dollar
	maxPayment = 100_000 * Dollar
	cent       = Dollar / 100
)

func validAmount(param string, n Nanos) error {
	if n < minPayment || n > maxPayment || n%cent != 0 {
		return Invalid(param, "'%s' must be whole cents between %s and %s dollars.", param, minPayment, maxPayment)
	}
	return nil
}

// CreateCheckoutInput asks for a page to pay on: for credit of an amount, or for a
// subscription to a tier.
type CreateCheckoutInput struct {
	Amount     *Nanos  `json:"amount,omitempty"`
	Tier       *Tier   `json:"tier,omitempty"`
	SuccessURL *string `json:"success_url,omitempty"` // where the customer goes afterwards
	CancelURL  *string `json:"cancel_url,omitempty"`
}

// Validate checks the input.
func (in *CreateCheckoutInput) Validate() error {
	if (in.Amount == nil) == (in.Tier == nil) {
		return Invalid("amount", "Give either 'amount', for credit, or 'tier', for a subscription.")
	}
	if in.Amount != nil {
		if err := validAmount("amount", *in.Amount); err != nil {
			return err
		}
	}
	if in.Tier != nil {
		if err := paidTier("tier", *in.Tier); err != nil {
			return err
		}
	}
	for _, u := range []struct {
		param string
		url   *string
	}{{"success_url", in.SuccessURL}, {"cancel_url", in.CancelURL}} {
		if u.url == nil {
			continue
		}
		if err := validWebURL(u.param, *u.url); err != nil {
			return err
		}
	}
	return nil
}

func paidTier(param string, t Tier) error {
	if t == TierFree {
		return Invalid(param, "'%s' must be one of pro, enterprise.", param)
	}
	return t.validate(param)
}

func validWebURL(param, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(text) > 2048 {
		return Invalid(param, "'%s' must be an http or https URL of at most 2048 characters.", param)
	}
	return nil
}

// CreateCheckoutPayload answers createCheckout.
type CreateCheckoutPayload struct {
	Payload
	Payment *Payment
	URL     *string // of the page to pay on
}

// CreatePortalSessionInput asks for the page on which a customer manages cards,
// invoices and the subscription.
type CreatePortalSessionInput struct {
	ReturnURL *string `json:"return_url,omitempty"`
}

// Validate checks the input.
func (in *CreatePortalSessionInput) Validate() error {
	if in == nil || in.ReturnURL == nil {
		return nil
	}
	return validWebURL("return_url", *in.ReturnURL)
}

// CreatePortalSessionPayload answers createPortalSession.
type CreatePortalSessionPayload struct {
	Payload
	URL *string
}

// RecordPaymentInput writes down money that an admin has received: for credit, or
// for a tier until a day.
type RecordPaymentInput struct {
	UserID    string     `json:"user_id"`
	Amount    Nanos      `json:"amount"`              // what was received; may be nothing
	Credit    *Nanos     `json:"credit,omitempty"`    // what the balance is raised by; default: the amount, for no tier
	Tier      *Tier      `json:"tier,omitempty"`      // the tier that was bought
	ExpiresAt *time.Time `json:"expires_at,omitzero"` // when the tier ends; default: never
	Reference *string    `json:"reference,omitempty"` // such as an invoice's number; a second payment with it is a conflict
	Note      *string    `json:"note,omitempty"`
}

// Validate checks the input and fills in defaults.
func (in *RecordPaymentInput) Validate(now time.Time) error {
	if in.UserID == "" {
		return Missing("user_id")
	}
	if in.Amount < 0 || in.Amount > maxPayment {
		return Invalid("amount", "'amount' must be between 0 and %s dollars.", maxPayment)
	}
	if in.Credit == nil && in.Tier == nil {
		in.Credit = &in.Amount
	}
	if in.Credit != nil && (*in.Credit < 0 || *in.Credit > maxPayment) {
		return Invalid("credit", "'credit' must be between 0 and %s dollars.", maxPayment)
	}
	if in.Tier == nil && *in.Credit == 0 {
		return Invalid("credit", "Give a 'credit' above 0, or a 'tier': this payment buys nothing.")
	}
	if in.Tier != nil {
		if err := paidTier("tier", *in.Tier); err != nil {
			return err
		}
	}
	if in.ExpiresAt != nil && (in.Tier == nil || !in.ExpiresAt.After(now)) {
		return Invalid("expires_at", "'expires_at' must be in the future, and goes with 'tier'.")
	}
	if in.Reference != nil {
		if err := validName("reference", *in.Reference, 1, 200); err != nil {
			return err
		}
	}
	if in.Note != nil {
		return validName("note", *in.Note, 0, 500)
	}
	return nil
}

// RecordPaymentPayload answers recordPayment.
type RecordPaymentPayload struct {
	Payload
	Payment *Payment
}

// ReceivePaymentEventPayload answers receiveStripeEvent.
type ReceivePaymentEventPayload struct {
	Payload
	Received bool
}

type (
	// PaymentConnection is a page of payments.
	PaymentConnection = Connection[Payment]
	// PaymentEdge is one of them.
	PaymentEdge = Edge[Payment]
)
