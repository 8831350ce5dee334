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
		{http.MethodGet, "/v1/channels/{id}", "Query.channel", (*handler).retrieveChannel},
		{http.MethodPatch, "/v1/channels/{id}", "Mutation.updateChannel", (*handler).updateChannel},
		{http.MethodDelete, "/v1/channels/{id}", "Mutation.deleteChannel", (*handler).deleteChannel},
		{http.MethodPost, "/v1/channels/{id}/test", "Mutation.testChannel", (*handler).testChannel},
		{http.MethodPost, "/v1/channels/{id}/reset", "Mutation.resetChannelHealth", (*handler).resetChannelHealth},
		{http.MethodGet, "/v1/channels/explain", "Query.explainRoute", (*handler).explainRoute},

		{http.MethodGet, "/v1/users/me", "Query.viewer", (*handler).retrieveViewer},
		{http.MethodPatch, "/v1/users/me", "Mutation.updateViewer", (*handler).updateViewer},
		{http.MethodPatch, "/v1/users/{id}", "Mutation.updateUser", (*handler).updateUser},
	}
}
