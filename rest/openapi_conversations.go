package rest

import "github.com/coaidev/coai/models"

// conversationOperations describe the routes of conversations.
func conversationOperations() map[string]operation {
	return map[string]operation{
		"Query.conversations": {response: listed{models.ConversationView{}}, pages: true, query: []parameter{
			{name: "q", about: "Only conversations that have these words."},
			{name: "model", about: "Only conversations with this model."},
			{name: "status", about: "Only conversations with this status.", enum: []string{"active", "completed"}},
			{name: "sort", about: "What they are ordered by; default `created_at`.", enum: []string{"created_at", "last_message_at"}},
		}},
		"Mutation.createConversation":  {request: models.CreateConversationInput{}, optional: true, example: `{"title":"Trip","model":"echo"}`, response: models.ConversationView{}},
		"Query.conversation":           {response: conversationView{}},
		"Mutation.updateConversation":  {request: models.UpdateConversationInput{}, example: `{"title":"Trip"}`, response: models.ConversationView{}},
		"Mutation.deleteConversation":  {response: deletedView{}},
		"Mutation.shareConversation":   {request: models.ShareConversationInput{}, optional: true, example: `{"expires_at":1893456000}`, response: shareView{}},
		"Mutation.unshareConversation": {response: deletedView{}},
		"Query.sharedConversation":     {public: true, response: sharedView{}},
		"Query.conversationExport": {response: raw{}, media: []string{"text/markdown"}, query: []parameter{
			{name: "format", about: "How it is written; default `json`.", enum: []string{string(models.ExportJSON), string(models.ExportMarkdown)}}}},
		"Query.conversationMessages": {response: listed{models.ConversationMessageView{}}, pages: true, query: []parameter{
			{name: "branch", about: "The messages of the active branch, or all.", enum: []string{string(models.BranchActive), string(models.BranchAll)}},
			{name: "leaf_id", about: "The messages of the branch that ends here."},
		}},
		"Mutation.addMessage":       {request: newMessageInput{}, example: `{"role":"user","content":"Hello"}`, response: models.ConversationMessageView{}, media: []string{events}},
		"Query.conversationMessage": {response: models.ConversationMessageView{}},
		"Mutation.deleteMessage":    {response: deletedView{}},
		"Query.conversationItems": {response: itemList{}, query: []parameter{
			{name: "limit", about: "How many items; default 20.", kind: "integer"},
			{name: "after", about: "Items after the one with this id."},
			{name: "order", about: "By their place; default `desc`.", enum: []string{"asc", "desc"}},
		}},
		"Mutation.createConversationItems": {request: newItemsInput{}, required: []string{"items"}, example: `{"items":[{"type":"message","role":"user","content":"Hello"}]}`, response: itemList{}},
		"Query.conversationItem":           {response: raw{}},
		"Mutation.deleteConversationItem":  {response: models.ConversationView{}},
	}
}
