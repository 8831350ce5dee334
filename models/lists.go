package models

// The connections and edges, by the names that the schema gives them.
type (
	// APIKeyConnection is a page of API keys.
	APIKeyConnection = Connection[APIKey]
	// APIKeyEdge is an API key in a page.
	APIKeyEdge = Edge[APIKey]
	// ModelConnection is a page of models.
	ModelConnection = Connection[Model]
	// ModelEdge is a model in a page.
	ModelEdge = Edge[Model]
	// ChannelConnection is a page of channels.
	ChannelConnection = Connection[Channel]
	// ChannelEdge is a channel in a page.
	ChannelEdge = Edge[Channel]
	// UserConnection is a page of users.
	UserConnection = Connection[User]
	// UserEdge is a user in a page.
	UserEdge = Edge[User]
	// SessionConnection is a page of sessions.
	SessionConnection = Connection[Session]
	// SessionEdge is a session in a page.
	SessionEdge = Edge[Session]
	// InvitationConnection is a page of invitations.
	InvitationConnection = Connection[Invitation]
	// InvitationEdge is an invitation in a page.
	InvitationEdge = Edge[Invitation]
)

// APIKeyFilter narrows a list of API keys.
type APIKeyFilter struct {
	Revoked *bool
}

// Node is an object with a globally unique id.
type Node interface{ IsNode() }
