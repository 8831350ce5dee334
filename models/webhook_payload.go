package models

// CreateWebhookPayload answers createWebhook.
type CreateWebhookPayload struct {
	Payload
	Webhook *Webhook
	Secret  *string
}

// UpdateWebhookPayload answers updateWebhook.
type UpdateWebhookPayload struct {
	Payload
	Webhook *Webhook
}

// DeleteWebhookPayload answers deleteWebhook.
type DeleteWebhookPayload struct {
	Payload
	DeletedWebhookID *string
}

// RotateWebhookSecretPayload answers rotateWebhookSecret.
type RotateWebhookSecretPayload struct {
	Payload
	Webhook *Webhook
	Secret  *string
}

// TestWebhookPayload answers testWebhook.
type TestWebhookPayload struct {
	Payload
	Delivery *WebhookDelivery
}

// RedeliverWebhookPayload answers redeliverWebhook.
type RedeliverWebhookPayload struct {
	Payload
	Delivery *WebhookDelivery
}

// RedeliverWebhooksPayload answers redeliverWebhooks.
type RedeliverWebhooksPayload struct {
	Payload
	Count   *int // deliveries that are made again
	HasMore bool // there are further ones: ask again
}
