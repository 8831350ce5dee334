package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Webhooks(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.WebhookFilter,
) (*models.WebhookConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.webhooks.Webhooks(ctx, viewer(ctx), page, filter)
}

func (r query) Webhook(ctx context.Context, id string) (*models.Webhook, error) {
	return r.webhooks.Webhook(ctx, viewer(ctx), id)
}

func (r query) WebhookSecret(ctx context.Context, id string) (*models.WebhookSecret, error) {
	return r.webhooks.WebhookSecret(ctx, viewer(ctx), id)
}

func (r query) WebhookEvents(ctx context.Context) ([]*models.EventDescription, error) {
	return r.webhooks.Events(ctx, viewer(ctx))
}

func (r query) WebhookDeliveries(
	ctx context.Context, endpointID string, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, filter *models.WebhookDeliveryFilter,
) (*models.WebhookDeliveryConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}
	return r.webhooks.Deliveries(ctx, viewer(ctx), endpointID, page, filter)
}

func (r query) WebhookDelivery(ctx context.Context, endpointID, id string) (*models.WebhookDelivery, error) {
	return r.webhooks.Delivery(ctx, viewer(ctx), endpointID, id)
}

func (r delivery) Attempts(ctx context.Context, d *models.WebhookDelivery) ([]*models.WebhookAttempt, error) {
	return r.webhooks.Attempts(ctx, d)
}

func (r delivery) Event(ctx context.Context, d *models.WebhookDelivery) (*models.Event, error) {
	return r.webhooks.Event(ctx, d)
}

func (r mutation) CreateWebhook(ctx context.Context, in models.CreateWebhookInput) (*models.CreateWebhookPayload, error) {
	return settle(r.webhooks.CreateWebhook(ctx, viewer(ctx), in))
}

func (r mutation) UpdateWebhook(ctx context.Context, id string, in models.UpdateWebhookInput) (*models.UpdateWebhookPayload, error) {
	return settle(r.webhooks.UpdateWebhook(ctx, viewer(ctx), id, in))
}

func (r mutation) DeleteWebhook(ctx context.Context, id string) (*models.DeleteWebhookPayload, error) {
	return settle(r.webhooks.DeleteWebhook(ctx, viewer(ctx), id))
}

func (r mutation) RotateWebhookSecret(ctx context.Context, id string, in *models.RotateWebhookSecretInput) (*models.RotateWebhookSecretPayload, error) {
	return settle(r.webhooks.RotateWebhookSecret(ctx, viewer(ctx), id, in))
}

func (r mutation) TestWebhook(ctx context.Context, id string) (*models.TestWebhookPayload, error) {
	return settle(r.webhooks.TestWebhook(ctx, viewer(ctx), id))
}

func (r mutation) RedeliverWebhook(ctx context.Context, endpointID, id string) (*models.RedeliverWebhookPayload, error) {
	return settle(r.webhooks.RedeliverWebhook(ctx, viewer(ctx), endpointID, id))
}

func (r mutation) RedeliverWebhooks(ctx context.Context, endpointID string, in models.RedeliverWebhooksInput) (*models.RedeliverWebhooksPayload, error) {
	return settle(r.webhooks.RedeliverWebhooks(ctx, viewer(ctx), endpointID, in))
}

func (r subscription) WebhookDeliveries(ctx context.Context, endpointID string) (<-chan *models.WebhookDeliveryUpdate, error) {
	return pump(r.watchDeliveries(ctx, endpointID))
}

func (r subscription) watchDeliveries(ctx context.Context, endpointID string) (*Feed[*models.WebhookDeliveryUpdate], error) {
	live, err := r.webhooks.Watch(ctx, viewer(ctx), endpointID)
	return feed(ctx, failedUpdate)(live, err)
}

func failedUpdate(sequence int, e *models.Error) *models.WebhookDeliveryUpdate {
	return &models.WebhookDeliveryUpdate{Sequence: sequence, Err: e}
}

func (r query) Jobs(ctx context.Context) ([]*models.Job, error) { return r.runs.Jobs(ctx, viewer(ctx)) }

func (r mutation) RunJob(ctx context.Context, name string) (*models.RunJobPayload, error) {
	return settle(r.runs.RunJob(ctx, viewer(ctx), name))
}
