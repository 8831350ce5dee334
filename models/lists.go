package models

// The connections and edges, by the names that the schema gives them.
type (
	APIKeyConnection  = Connection[APIKey]
	APIKeyEdge        = Edge[APIKey]
	ModelConnection   = Connection[Model]
	ModelEdge         = Edge[Model]
	ChannelConnection = Connection[Channel]
	ChannelEdge       = Edge[Channel]
)

// APIKeyFilter narrows a list of API keys.
type APIKeyFilter struct {
	Revoked *bool
}

// ChannelFilter narrows a list of channels.
type ChannelFilter struct {
	Type  *ChannelType
	Model *string
}

// Node is an object with a globally unique id.
type Node interface{ IsNode() }
