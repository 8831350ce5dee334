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
		{http.MethodPost, "/v1/channels/reorder", "Mutation.reorderChannels", (*handler).reorderChannels},
		{http.MethodPost, "/v1/channels/bulk", "Mutation.bulkChannels", (*handler).bulkChannels},
		{http.MethodPost, "/v1/channels/{id}/clone", "Mutation.cloneChannel", (*handler).cloneChannel},
		{http.MethodGet, "/v1/channels/{id}/models", "Query.channelModels", (*handler).retrieveChannelModels},
		{http.MethodPost, "/v1/channels/{id}/models", "Mutation.syncChannelModels", (*handler).syncChannelModels},
		{http.MethodPost, "/v1/channels/{id}/test", "Mutation.testChannel", (*handler).testChannel},
		{http.MethodPost, "/v1/channels/{id}/reset", "Mutation.resetChannelHealth", (*handler).resetChannelHealth},
		{http.MethodGet, "/v1/channels/explain", "Query.explainRoute", (*handler).explainRoute},

		{http.MethodPost, "/v1/models", "Mutation.createModel", (*handler).createModel},
		{http.MethodPatch, "/v1/models/{model...}", "Mutation.updateModel", (*handler).updateModel},
		{http.MethodPut, "/v1/models/{model...}", "Mutation.saveModel", (*handler).saveModel},
		{http.MethodDelete, "/v1/models/{model...}", "Mutation.deleteModel", (*handler).deleteModel},
		{http.MethodGet, "/v1/files", "Query.files", (*handler).listFiles},
		{http.MethodPost, "/v1/files", "Mutation.uploadFile", (*handler).uploadFile},
		{http.MethodGet, "/v1/files/{id}", "Query.file", (*handler).retrieveFile},
		{http.MethodDelete, "/v1/files/{id}", "Mutation.deleteFile", (*handler).deleteFile},
		{http.MethodGet, "/v1/files/{id}/content", "Query.fileContent", (*handler).retrieveFileContent},

		{http.MethodPost, "/v1/models/import", "Mutation.importModelPrices", (*handler).importModelPrices},
		{http.MethodGet, "/v1/analytics/audit", "Query.usageAudit", (*handler).listUsageAudit},
		{http.MethodGet, "/v1/analytics/usage", "Query.usage", (*handler).usage},

		{http.MethodGet, "/v1/audit-logs", "Query.auditLog", (*handler).listAuditLogs},
		{http.MethodGet, "/v1/plans", "Query.plans", (*handler).listPlans},
		{http.MethodPatch, "/v1/plans/{tier}", "Mutation.updatePlan", (*handler).updatePlan},

		{http.MethodGet, "/v1/auth/methods", "Query.signInMethods", (*handler).signInMethods},
		{http.MethodPost, "/v1/auth/sign-up", "Mutation.signUp", (*handler).signUp},
		{http.MethodPost, "/v1/auth/sign-in", "Mutation.signIn", (*handler).signIn},
		{http.MethodPost, "/v1/auth/sign-out", "Mutation.signOut", (*handler).signOut},
		{http.MethodGet, "/v1/auth/sessions", "Query.sessions", (*handler).listSessions},
		{http.MethodDelete, "/v1/auth/sessions", "Mutation.deleteSessions", (*handler).deleteSessions},
		{http.MethodDelete, "/v1/auth/sessions/{id}", "Mutation.deleteSession", (*handler).deleteSession},
		{http.MethodPost, "/v1/auth/change-password", "Mutation.changePassword", (*handler).changePassword},
		{http.MethodPost, "/v1/auth/verify-email", "Mutation.verifyEmail", (*handler).verifyEmail},
		{http.MethodPost, "/v1/auth/request-email-verification", "Mutation.requestEmailVerification", (*handler).requestEmailVerification},
		{http.MethodPost, "/v1/auth/request-password-reset", "Mutation.requestPasswordReset", (*handler).requestPasswordReset},
		{http.MethodPost, "/v1/auth/reset-password", "Mutation.resetPassword", (*handler).resetPassword},
		{http.MethodGet, "/v1/auth/oidc/start", "Mutation.startOidcSignIn", (*handler).startOIDC},
		{http.MethodGet, "/v1/auth/oidc/callback", "Mutation.finishOidcSignIn", (*handler).finishOIDC},
		{http.MethodGet, "/v1/invitations", "Query.invitations", (*handler).listInvitations},
		{http.MethodPost, "/v1/invitations", "Mutation.createInvitation", (*handler).createInvitation},
		{http.MethodDelete, "/v1/invitations/{id}", "Mutation.deleteInvitation", (*handler).deleteInvitation},

		{http.MethodGet, "/v1/users", "Query.users", (*handler).listUsers},
		{http.MethodPost, "/v1/users", "Mutation.createUser", (*handler).createUser},
		{http.MethodDelete, "/v1/users/{id}", "Mutation.deleteUser", (*handler).deleteUser},
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
		{http.MethodGet, "/v1/webhooks", "Query.webhooks", (*handler).listWebhooks},
		{http.MethodPost, "/v1/webhooks", "Mutation.createWebhook", (*handler).createWebhook},
		{http.MethodGet, "/v1/webhooks/events", "Query.webhookEvents", (*handler).listWebhookEvents},
		{http.MethodGet, "/v1/webhooks/{id}", "Query.webhook", (*handler).retrieveWebhook},
		{http.MethodPatch, "/v1/webhooks/{id}", "Mutation.updateWebhook", (*handler).updateWebhook},
		{http.MethodDelete, "/v1/webhooks/{id}", "Mutation.deleteWebhook", (*handler).deleteWebhook},
		{http.MethodGet, "/v1/webhooks/{id}/secret", "Query.webhookSecret", (*handler).retrieveWebhookSecret},
		{http.MethodPost, "/v1/webhooks/{id}/rotate-secret", "Mutation.rotateWebhookSecret", (*handler).rotateWebhookSecret},
		{http.MethodPost, "/v1/webhooks/{id}/test", "Mutation.testWebhook", (*handler).testWebhook},
		{http.MethodPost, "/v1/webhooks/{id}/redeliver", "Mutation.redeliverWebhooks", (*handler).redeliverWebhooks},
		{http.MethodGet, "/v1/webhooks/{id}/deliveries", "Query.webhookDeliveries", (*handler).listWebhookDeliveries},
		{http.MethodGet, "/v1/webhooks/{id}/deliveries/{delivery}", "Query.webhookDelivery", (*handler).retrieveWebhookDelivery},
		{http.MethodPost, "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", "Mutation.redeliverWebhook", (*handler).redeliverWebhook},

		{http.MethodGet, "/v1/jobs", "Query.jobs", (*handler).listJobs},
		{http.MethodPost, "/v1/jobs/{name}/run", "Mutation.runJob", (*handler).runJob},

		{http.MethodPost, "/v1/responses", "Mutation.createResponse", (*handler).createResponse},
		{http.MethodGet, "/v1/responses/{id}", "Query.response", (*handler).retrieveResponse},
		{http.MethodDelete, "/v1/responses/{id}", "Mutation.deleteResponse", (*handler).deleteResponse},
		{http.MethodPost, "/v1/responses/{id}/cancel", "Mutation.cancelResponse", (*handler).cancelResponse},
		{http.MethodGet, "/v1/responses/{id}/input_items", "Query.responseInputItems", (*handler).listResponseInputItems},

		{http.MethodGet, "/v1/conversations", "Query.conversations", (*handler).listConversations},
		{http.MethodPost, "/v1/conversations", "Mutation.createConversation", (*handler).createConversation},
		{http.MethodGet, "/v1/conversations/{id}", "Query.conversation", (*handler).retrieveConversation},
		{http.MethodPatch, "/v1/conversations/{id}", "Mutation.updateConversation", (*handler).updateConversation},
		{http.MethodPost, "/v1/conversations/{id}", "Mutation.updateConversation", (*handler).updateConversation},
		{http.MethodPut, "/v1/conversations/{id}", "Mutation.updateConversation", (*handler).updateConversation},
		{http.MethodDelete, "/v1/conversations/{id}", "Mutation.deleteConversation", (*handler).deleteConversation},
		{http.MethodPost, "/v1/conversations/{id}/share", "Mutation.shareConversation", (*handler).shareConversation},
		{http.MethodDelete, "/v1/conversations/{id}/share", "Mutation.unshareConversation", (*handler).unshareConversation},
		{http.MethodGet, "/v1/shared/{token}", "Query.sharedConversation", (*handler).retrieveShared},
		{http.MethodGet, "/v1/conversations/{id}/export", "Query.conversationExport", (*handler).exportConversation},
		{http.MethodGet, "/v1/conversations/{id}/messages", "Query.conversationMessages", (*handler).listConversationMessages},
		{http.MethodPost, "/v1/conversations/{id}/messages", "Mutation.addMessage", (*handler).createConversationMessage},
		{http.MethodGet, "/v1/conversations/{id}/messages/{message}", "Query.conversationMessage", (*handler).retrieveConversationMessage},
		{http.MethodDelete, "/v1/conversations/{id}/messages/{message}", "Mutation.deleteMessage", (*handler).deleteConversationMessage},
		{http.MethodGet, "/v1/conversations/{id}/items", "Query.conversationItems", (*handler).listConversationItems},
		{http.MethodPost, "/v1/conversations/{id}/items", "Mutation.createConversationItems", (*handler).createConversationItems},
		{http.MethodGet, "/v1/conversations/{id}/items/{item}", "Query.conversationItem", (*handler).retrieveConversationItem},
		{http.MethodDelete, "/v1/conversations/{id}/items/{item}", "Mutation.deleteConversationItem", (*handler).deleteConversationItem},
	}
}
