package rest

import "net/http"

// route maps an endpoint onto a field of the schema, whose resolver it calls.
type route struct {
	method  string
	pattern string // of http.ServeMux
	field   string // the schema's
	serve   func(*handler, http.ResponseWriter, *http.Request) error
}

// routes are all endpoints there are.
func routes() []route {
	return []route{
		{http.MethodPost, "/v1/chat/completions", "Mutation.createChatCompletion", (*handler).createChatCompletion},
		{http.MethodPost, "/v1/completions", "Mutation.createTextCompletion", (*handler).createTextCompletion},
		{http.MethodPost, "/v1/embeddings", "Mutation.createEmbedding", (*handler).createEmbedding},
		{http.MethodPost, "/v1/images/generations", "Mutation.createImage", (*handler).createImage},
		{http.MethodPost, "/v1/audio/speech", "Mutation.createSpeech", (*handler).createSpeech},
		{http.MethodPost, "/v1/audio/transcriptions", "Mutation.createTranscription", (*handler).createTranscription},
		{http.MethodPost, "/v1/moderations", "Mutation.createModeration", (*handler).createModeration},

		{http.MethodPost, "/v1/messages", "Mutation.createMessage", (*handler).createMessage},
		{http.MethodPost, "/v1/messages/count_tokens", "Mutation.countMessageTokens", (*handler).countMessageTokens},

		{http.MethodGet, "/v1/models", "Query.models", (*handler).listModels},
		{http.MethodGet, "/v1/models/{model...}", "Query.model", (*handler).retrieveModel},

		{http.MethodGet, "/v1/api-keys", "Query.apiKeys", (*handler).listAPIKeys},
		{http.MethodPost, "/v1/api-keys", "Mutation.createApiKey", (*handler).createAPIKey},
		{http.MethodGet, "/v1/api-keys/{id}", "Query.apiKey", (*handler).retrieveAPIKey},
		{http.MethodPatch, "/v1/api-keys/{id}", "Mutation.updateApiKey", (*handler).updateAPIKey},
		{http.MethodDelete, "/v1/api-keys/{id}", "Mutation.deleteApiKey", (*handler).deleteAPIKey},
		{http.MethodPost, "/v1/api-keys/{id}/rotate", "Mutation.rotateApiKey", (*handler).rotateAPIKey},

		{http.MethodGet, "/v1/channels", "Query.channels", (*handler).listChannels},
		{http.MethodPost, "/v1/channels", "Mutation.createChannel", (*handler).createChannel},
		{http.MethodGet, "/v1/channels/presets", "Query.channelPresets", (*handler).listChannelPresets},
		{http.MethodGet, "/v1/channels/{id}", "Query.channel", (*handler).retrieveChannel},
		{http.MethodPatch, "/v1/channels/{id}", "Mutation.updateChannel", (*handler).updateChannel},
		{http.MethodDelete, "/v1/channels/{id}", "Mutation.deleteChannel", (*handler).deleteChannel},
		{http.MethodPost, "/v1/channels/{id}/test", "Mutation.testChannel", (*handler).testChannel},
		{http.MethodPost, "/v1/channels/{id}/reset", "Mutation.resetChannelHealth", (*handler).resetChannelHealth},
		{http.MethodGet, "/v1/channels/explain", "Query.explainRoute", (*handler).explainRoute},

		{http.MethodPost, "/v1/models/import", "Mutation.importModelPrices", (*handler).importModelPrices},
		{http.MethodGet, "/v1/analytics/audit", "Query.usageAudit", (*handler).listUsageAudit},
		{http.MethodGet, "/v1/analytics/usage", "Query.usage", (*handler).usage},

		{http.MethodGet, "/v1/users/{id}", "Query.user", (*handler).retrieveUser},
		{http.MethodPatch, "/v1/users/{id}/budgets", "Mutation.updateUserBudgets", (*handler).updateUserBudgets},
		{http.MethodPost, "/v1/users/{id}/balance", "Mutation.adjustBalance", (*handler).adjustBalance},
		{http.MethodGet, "/v1/users/me", "Query.viewer", (*handler).retrieveViewer},
		{http.MethodPatch, "/v1/users/me", "Mutation.updateViewer", (*handler).updateViewer},
		{http.MethodPatch, "/v1/users/{id}", "Mutation.updateUser", (*handler).updateUser},

		{http.MethodGet, "/v1/payments", "Query.payments", (*handler).listPayments},
		{http.MethodPost, "/v1/payments", "Mutation.recordPayment", (*handler).recordPayment},
		{http.MethodGet, "/v1/payments/{id}", "Query.payment", (*handler).retrievePayment},
		{http.MethodPost, "/v1/payments/checkout", "Mutation.createCheckout", (*handler).createCheckout},
		{http.MethodPost, "/v1/payments/portal", "Mutation.createPortalSession", (*handler).createPortalSession},
		{http.MethodPost, "/v1/payments/redeem", "Mutation.redeemCode", (*handler).redeemCode},
		{http.MethodPost, "/v1/payments/stripe/webhook", "Mutation.receiveStripeEvent", (*handler).receiveStripeEvent},
		{http.MethodGet, "/v1/payments/subscription", "Query.billingSubscription", (*handler).retrieveSubscription},
		{http.MethodGet, "/v1/redeem-codes", "Query.redeemCodes", (*handler).listRedeemCodes},
		{http.MethodPost, "/v1/redeem-codes", "Mutation.createRedeemCodes", (*handler).createRedeemCodes},
		{http.MethodDelete, "/v1/redeem-codes/{id}", "Mutation.disableRedeemCode", (*handler).disableRedeemCode},

		{http.MethodPost, "/v1/responses", "Mutation.createResponse", (*handler).createResponse},
		{http.MethodGet, "/v1/responses/{id}", "Query.response", (*handler).retrieveResponse},
		{http.MethodDelete, "/v1/responses/{id}", "Mutation.deleteResponse", (*handler).deleteResponse},
		{http.MethodPost, "/v1/responses/{id}/cancel", "Mutation.cancelResponse", (*handler).cancelResponse},
		{http.MethodGet, "/v1/responses/{id}/input_items", "Query.responseInputItems", (*handler).listResponseInputItems},
	}
}
