package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Payments(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.PaymentFilter,
) (*models.PaymentConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.payments.Payments(ctx, viewer(ctx), page, filter)
}

func (r query) Payment(ctx context.Context, id string) (*models.Payment, error) {
	return r.payments.Payment(ctx, viewer(ctx), id)
}

func (r query) BillingSubscription(ctx context.Context) (*models.Subscription, error) {
	return r.payments.Subscription(ctx, viewer(ctx))
}

func (r query) RedeemCodes(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.RedeemCodeFilter,
) (*models.RedeemCodeConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.payments.RedeemCodes(ctx, viewer(ctx), page, filter)
}

func (r mutation) CreateCheckout(ctx context.Context, in models.CreateCheckoutInput) (*models.CreateCheckoutPayload, error) {
	return settle(r.payments.CreateCheckout(ctx, viewer(ctx), in))
}

func (r mutation) CreatePortalSession(ctx context.Context, in *models.CreatePortalSessionInput) (*models.CreatePortalSessionPayload, error) {
	return settle(r.payments.CreatePortalSession(ctx, viewer(ctx), in))
}

func (r mutation) RedeemCode(ctx context.Context, in models.RedeemCodeInput) (*models.RedeemCodePayload, error) {
	return settle(r.payments.Redeem(ctx, viewer(ctx), in))
}

func (r mutation) RecordPayment(ctx context.Context, in models.RecordPaymentInput) (*models.RecordPaymentPayload, error) {
	return settle(r.payments.RecordPayment(ctx, viewer(ctx), in))
}

func (r mutation) CreateRedeemCodes(ctx context.Context, in models.CreateRedeemCodesInput) (*models.CreateRedeemCodesPayload, error) {
	return settle(r.payments.CreateRedeemCodes(ctx, viewer(ctx), in))
}

func (r mutation) DisableRedeemCode(ctx context.Context, id string) (*models.DisableRedeemCodePayload, error) {
	return settle(r.payments.DisableRedeemCode(ctx, viewer(ctx), id))
}

func (r mutation) ReceiveStripeEvent(ctx context.Context, payload, signature string) (*models.ReceivePaymentEventPayload, error) {
	return settle(r.payments.ReceiveStripeEvent(ctx, payload, signature))
}
