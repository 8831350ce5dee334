package rest

import (
	"net/http"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

func (h *handler) listPayments(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := new(models.PaymentFilter)
	if id := q.Get("user_id"); id != "" {
		filter.UserID = &id
	}
	if filter.Status, err = choiceParam(q, "status", models.PaymentPending, models.PaymentSucceeded, models.PaymentFailed, models.PaymentRefunded); err != nil {
		return err
	}
	if filter.Kind, err = choiceParam(q, "kind", models.PaymentCredit, models.PaymentPlan); err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Payments(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(p *models.Payment) string { return p.ID }, func(p *models.Payment) any { return p.AsObject() })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) retrievePayment(w http.ResponseWriter, r *http.Request) error {
	p, err := h.resolver.Query().Payment(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, p.AsObject())
}

func (h *handler) recordPayment(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.RecordPaymentInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().RecordPayment(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Payment.AsObject())
}

func (h *handler) createCheckout(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.CreateCheckoutInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateCheckout(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, checkoutView{Object: "checkout", URL: done.URL, Payment: done.Payment.AsObject()})
}

func (h *handler) createPortalSession(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.CreatePortalSessionInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreatePortalSession(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, portalView{Object: "portal_session", URL: done.URL})
}

func (h *handler) redeemCode(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.RedeemCodeInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().RedeemCode(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Payment.AsObject())
}

// receiveStripeEvent gives the body on as it came: what is signed is its bytes.
func (h *handler) receiveStripeEvent(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	_, err = graph.Outcome(h.resolver.Mutation().ReceiveStripeEvent(r.Context(), string(body), r.Header.Get("Stripe-Signature")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, receivedView{Received: true})
}

func (h *handler) retrieveSubscription(w http.ResponseWriter, r *http.Request) error {
	sub, err := h.resolver.Query().BillingSubscription(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	view := subscriptionView{Object: "billing_subscription", Subscription: sub}
	if sub != nil {
		view.PeriodEnd, view.GraceUntil = unixOrNull(sub.PeriodEnd), unixOrNull(sub.GraceUntil)
	}
	return writeJSON(w, view)
}

// What payments' routes answer.
type (
	checkoutView struct {
		Object  string                `json:"object"`
		URL     *string               `json:"url"` // of the page to pay on
		Payment *models.PaymentObject `json:"payment"`
	}
	portalView struct {
		Object string  `json:"object"`
		URL    *string `json:"url"`
	}
	receivedView struct {
		Received bool `json:"received"`
	}
	subscriptionView struct {
		Object       string               `json:"object"`
		Subscription *models.Subscription `json:"subscription"` // null: none
		PeriodEnd    *int64               `json:"period_end"`
		GraceUntil   *int64               `json:"grace_until"`
	}
	batchView struct {
		Object string            `json:"object"`
		Batch  *string           `json:"batch"`
		Data   []*redeemCodeView `json:"data"`
	}
)

// paymentOperations describe the routes.
func paymentOperations() map[string]operation {
	return map[string]operation{
		"Query.payments": {response: listed{models.PaymentObject{}}, pages: true, query: []parameter{
			{name: "user_id", about: "Those of this account. An admin's list holds all accounts' otherwise."},
			{name: "status", about: "Those with this status.", enum: []string{"pending", "succeeded", "failed", "refunded"}},
			{name: "kind", about: "Those that buy this.", enum: []string{"credit", "plan"}},
		}},
		"Query.payment":                {response: models.PaymentObject{}},
		"Query.billingSubscription":    {response: subscriptionView{}},
		"Mutation.recordPayment":       {request: models.RecordPaymentInput{}, required: []string{"user_id", "amount"}, example: `{"user_id":"user_x","amount":25,"reference":"invoice 17"}`, response: models.PaymentObject{}},
		"Mutation.createCheckout":      {request: models.CreateCheckoutInput{}, example: `{"amount":25,"success_url":"https://app.example.com/paid","cancel_url":"https://app.example.com/"}`, response: checkoutView{}},
		"Mutation.createPortalSession": {request: models.CreatePortalSessionInput{}, optional: true, example: `{"return_url":"https://app.example.com/"}`, response: portalView{}},
		"Mutation.redeemCode":          {request: models.RedeemCodeInput{}, required: []string{"code"}, example: `{"code":"COAI-7K3M-9XQ2-V0TB-4HPA"}`, response: models.PaymentObject{}},
		"Mutation.receiveStripeEvent":  {public: true, response: receivedView{}},
		"Query.redeemCodes": {response: listed{redeemCodeView{}}, pages: true, query: []parameter{
			{name: "batch", about: "Those that were made at once."},
			{name: "usable", about: "Whether somebody can still redeem them.", kind: "boolean"},
		}},
		"Mutation.createRedeemCodes": {request: models.CreateRedeemCodesInput{}, example: `{"count":10,"credit":5}`, response: batchView{}},
		"Mutation.disableRedeemCode": {response: redeemCodeView{}},
	}
}

// redeemCodeView is a code as REST shows it. Code is there at creation alone.
type redeemCodeView struct {
	Object string `json:"object"`
	Code   string `json:"code,omitempty"`
	*models.RedeemCode
	Credit     models.Money `json:"credit"`
	ExpiresAt  *int64       `json:"expires_at"`
	DisabledAt *int64       `json:"disabled_at"`
	CreatedAt  int64        `json:"created_at"`
}

func viewRedeemCode(c *models.RedeemCode, code string) *redeemCodeView {
	return &redeemCodeView{
		Object: "redeem_code", Code: code, RedeemCode: c, Credit: c.CreditMoney(),
		ExpiresAt: unixOrNull(c.ExpiresAt), DisabledAt: unixOrNull(c.DisabledAt), CreatedAt: c.CreatedAt.Unix(),
	}
}

func unixOrNull(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	n := t.Unix()
	return &n
}

func (h *handler) listRedeemCodes(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := new(models.RedeemCodeFilter)
	if batch := q.Get("batch"); batch != "" {
		filter.Batch = &batch
	}
	if filter.Usable, err = boolParam(q, "usable"); err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().RedeemCodes(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(c *models.RedeemCode) string { return c.ID }, func(c *models.RedeemCode) any { return viewRedeemCode(c, "") })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) createRedeemCodes(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.CreateRedeemCodesInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateRedeemCodes(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	views := make([]*redeemCodeView, len(done.Codes))
	for i, c := range done.RedeemCodes {
		views[i] = viewRedeemCode(c, done.Codes[i])
	}
	return writeJSON(w, batchView{Object: "list", Batch: done.Batch, Data: views})
}

func (h *handler) disableRedeemCode(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DisableRedeemCode(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewRedeemCode(done.RedeemCode, ""))
}
