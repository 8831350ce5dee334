package models

// CreateMessageInput is a request in Anthropic's language. What has several
// shapes there is kept as JSON, and read when the request is translated. Fields
// that are not named here are for upstreams that speak the language themselves.
// https://docs.anthropic.com/en/api/messages
type CreateMessageInput struct {
	Model         string   `json:"model"`
	MaxTokens     *int     `json:"max_tokens,omitempty"`
	Messages      JSON     `json:"messages"`
	System        JSON     `json:"system,omitempty"` // a string, or text blocks
	Temperature   *float64 `json:"temperature,omitempty"`
	TopP          *float64 `json:"top_p,omitempty"`
	TopK          *int     `json:"top_k,omitempty"`
	StopSequences []string `json:"stop_sequences,omitempty"`
	Tools         JSON     `json:"tools,omitempty"`
	ToolChoice    JSON     `json:"tool_choice,omitempty"`
	Thinking      JSON     `json:"thinking,omitempty"`
	OutputConfig  JSON     `json:"output_config,omitempty"` // effort, and the format of the answer
	Metadata      JSON     `json:"metadata,omitempty"`      // user_id
	Stream        *bool    `json:"stream,omitempty"`

	// Raw is the request as a REST client sent it, and Beta its Anthropic-Beta
	// header: both are for upstreams that speak the language.
	Raw  []byte `json:"-"`
	Beta string `json:"-"`
	// Attached is how many bytes of Raw are files that were put in place of their ids.
	Attached int `json:"-"`
}

// Streams says whether the client asked for a stream.
func (in *CreateMessageInput) Streams() bool { return in.Stream != nil && *in.Stream }

// AnthropicMessage is a finished answer in Anthropic's language.
type AnthropicMessage struct {
	ID         string
	Model      string
	StopReason string
	Content    JSON   // the blocks
	Usage      *Usage // as accounted
	Raw        JSON   // the whole message in Anthropic's shape
	ChannelID  string // the channel that answered; set for admins only

	Cache *CacheStatus // nil: the key uses no cache
}

// CreateMessagePayload answers createMessage.
type CreateMessagePayload struct {
	Payload
	Message *AnthropicMessage
}

// CountMessageTokensPayload answers countMessageTokens.
type CountMessageTokensPayload struct {
	Payload
	InputTokens *int64
}
