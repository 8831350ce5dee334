package models

// The connections and edges of conversations, by the names that the schema gives
// them.
type (
	// ConversationConnection is a page of conversations.
	ConversationConnection = Connection[Conversation]
	// ConversationEdge is a conversation in a page.
	ConversationEdge = Edge[Conversation]
	// ConversationMessageConnection is a page of messages.
	ConversationMessageConnection = Connection[ConversationMessage]
	// ConversationMessageEdge is a message in a page.
	ConversationMessageEdge = Edge[ConversationMessage]
)

// CreateConversationPayload answers createConversation.
type CreateConversationPayload struct {
	Payload
	Conversation *Conversation
}

// UpdateConversationPayload answers updateConversation.
type UpdateConversationPayload struct {
	Payload
	Conversation *Conversation
}

// DeleteConversationPayload answers deleteConversation.
type DeleteConversationPayload struct {
	Payload
	DeletedConversationID *string
}

// ShareConversationPayload answers shareConversation.
type ShareConversationPayload struct {
	Payload
	Share *ConversationShare
}

// UnshareConversationPayload answers unshareConversation.
type UnshareConversationPayload struct {
	Payload
	Conversation *Conversation
}

// AddMessagePayload answers addMessage.
type AddMessagePayload struct {
	Payload
	Message *ConversationMessage
}

// EditMessagePayload answers editMessage.
type EditMessagePayload struct {
	Payload
	Message *ConversationMessage
}

// DeleteMessagePayload answers deleteMessage.
type DeleteMessagePayload struct {
	Payload
	DeletedMessageID *string
	Conversation     *Conversation
}

// SendMessagePayload answers sendMessage and regenerateMessage.
type SendMessagePayload struct {
	Payload
	Message *ConversationMessage
}

// CreateConversationItemsPayload answers createConversationItems.
type CreateConversationItemsPayload struct {
	Payload
	Items []ResponseItem
}

// DeleteConversationItemPayload answers deleteConversationItem.
type DeleteConversationItemPayload struct {
	Payload
	Conversation *Conversation
}
