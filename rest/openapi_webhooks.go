package rest

import "github.com/coaidev/coai/models"

// webhookOperations describe the routes of webhooks.
func webhookOperations() map[string]operation {
	return map[string]operation{
		"Query.webhooks": {response: listed{webhookView{}}, pages: true, query: []parameter{
			{name: "event", about: "Only endpoints that get events of this type."},
			{name: "enabled", about: "Whether they are enabled.", kind: "boolean"},
		}},
		"Mutation.createWebhook":       {request: models.CreateWebhookInput{}, required: []string{"url"}, example: `{"url":"https://hooks.example.com/coai"}`, response: webhookView{}},
		"Query.webhookEvents":          {response: listed{eventTypeView{}}},
		"Query.webhook":                {response: webhookView{}},
		"Mutation.updateWebhook":       {request: models.UpdateWebhookInput{}, example: `{"enabled":false}`, response: webhookView{}},
		"Mutation.deleteWebhook":       {response: deletedView{}},
		"Query.webhookSecret":          {response: webhookSecretView{}},
		"Mutation.rotateWebhookSecret": {request: models.RotateWebhookSecretInput{}, optional: true, example: `{"grace_seconds":3600}`, response: webhookView{}},
		"Mutation.testWebhook":         {response: deliveryView{}},
		"Mutation.redeliverWebhooks":   {request: models.RedeliverWebhooksInput{}, required: []string{"since"}, example: `{"since":"2026-01-01T00:00:00Z"}`, response: redeliveryView{}},
		"Query.webhookDeliveries": {response: listed{deliveryView{}}, pages: true, query: []parameter{
			{name: "event", about: "Only deliveries of events of this type."},
			{name: "status", about: "Only deliveries with this status.", enum: []string{"pending", "inflight", "delivered", "failed", "cancelled"}},
			{name: "since", about: "Only deliveries of this moment and after: Unix seconds, or RFC 3339."},
			{name: "until", about: "Only deliveries before this: as `since`."},
		}},
		"Query.webhookDelivery":     {response: deliveryView{}},
		"Mutation.redeliverWebhook": {response: deliveryView{}},
	}
}
