package models

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// ResponseRetention is how long a stored response is kept: as long as OpenAI
// keeps them.
const ResponseRetention = 30 * 24 * time.Hour

// CreateResponseInput is a request in the language of OpenAI's responses. What
// has several shapes there is kept as JSON, and read when the request is
// translated.
// https://platform.openai.com/docs/api-reference/responses/create
type CreateResponseInput struct {
	Model              string   `json:"model"`
	Input              JSON     `json:"input,omitempty"` // a string, or items
	Instructions       *string  `json:"instructions,omitempty"`
	PreviousResponseID *string  `json:"previous_response_id,omitempty"`
	Store              *bool    `json:"store,omitempty"` // default true
	Tools              JSON     `json:"tools,omitempty"`
	ToolChoice         JSON     `json:"tool_choice,omitempty"`
	ParallelToolCalls  *bool    `json:"parallel_tool_calls,omitempty"`
	MaxToolCalls       *int     `json:"max_tool_calls,omitempty"` // of built-in tools; kept, without effect on functions
	Text               JSON     `json:"text,omitempty"`           // the format of the answer, and its verbosity
	Reasoning          JSON     `json:"reasoning,omitempty"`
	MaxOutputTokens    *int     `json:"max_output_tokens,omitempty"`
	Temperature        *float64 `json:"temperature,omitempty"`
	TopP               *float64 `json:"top_p,omitempty"`
	TopLogprobs        *int     `json:"top_logprobs,omitempty"`
	Metadata           Metadata `json:"metadata,omitempty"`
	Truncation         *string  `json:"truncation,omitempty"`
	Include            []string `json:"include,omitempty"`
	User               *string  `json:"user,omitempty"`
	SafetyIdentifier   *string  `json:"safety_identifier,omitempty"`
	PromptCacheKey     *string  `json:"prompt_cache_key,omitempty"`
	ServiceTier        *string  `json:"service_tier,omitempty"`
	Background         *bool    `json:"background,omitempty"`
	Conversation       JSON     `json:"conversation,omitempty"`
	Prompt             JSON     `json:"prompt,omitempty"`
	Stream             *bool    `json:"stream,omitempty"`

	// Raw is the request as a REST client sent it.
	Raw []byte `json:"-"`
	// Attached is how many bytes of Raw are files that were put in place of their ids.
	Attached int `json:"-"`
}

// Streams says whether the client asked for a stream.
func (in *CreateResponseInput) Streams() bool { return in.Stream != nil && *in.Stream }

// Stores says whether the response is to be kept.
func (in *CreateResponseInput) Stores() bool { return in.Store == nil || *in.Store }

// Validate checks what needs no translation.
func (in *CreateResponseInput) Validate() error { return in.Metadata.validate("metadata") }

// ResponseStatus is the state of a response.
type ResponseStatus string

// The states.
const (
	ResponseInProgress ResponseStatus = "in_progress" // while it is streamed
	ResponseCompleted  ResponseStatus = "completed"
	ResponseIncomplete ResponseStatus = "incomplete" // cut off by a limit or a filter
	ResponseFailed     ResponseStatus = "failed"
)

// Response is an answer in the language of OpenAI's responses, and the row it
// is kept in. The JSON is kept as bytes: the database's own type would reorder
// keys, and refuse the escape \u0000 that models do write.
type Response struct {
	bun.BaseModel `bun:"table:responses,alias:rs"`

	ID         string         `bun:"id,pk"` // resp_…
	UserID     string         `bun:"user_id"`
	Model      string         `bun:"model"`
	PreviousID *string        `bun:"previous_id"` // the response that it follows
	Status     ResponseStatus `bun:"status"`
	Input      JSON           `bun:"input"`  // an array of the request's own items
	Output     JSON           `bun:"output"` // an array of items
	Raw        JSON           `bun:"body"`   // the whole response in OpenAI's shape
	Size       int64          `bun:"size"`   // bytes of input and output
	CreatedAt  time.Time      `bun:"created_at"`
	ExpiresAt  time.Time      `bun:"expires_at"`

	Usage     *Usage `bun:"-"` // as accounted, when it was just made
	ChannelID string `bun:"-"` // the channel that answered; set for admins only

	Cache *CacheStatus `bun:"-"` // nil: the key uses no cache, or the response is read again
}

// BeforeAppendModel measures the row before bun writes it.
func (r *Response) BeforeAppendModel(context.Context, bun.Query) error {
	r.Size = int64(len(r.Input) + len(r.Output))
	return nil
}

// ResponseItem is an item of a response's input.
type ResponseItem struct {
	ID  string
	Raw JSON // the item in OpenAI's shape
}

// The connection of items, by the names that the schema gives it.
type (
	// ResponseItemConnection is a page of items.
	ResponseItemConnection = Connection[ResponseItem]
	// ResponseItemEdge is an item in a page.
	ResponseItemEdge = Edge[ResponseItem]
)

// CreateResponsePayload answers createResponse.
type CreateResponsePayload struct {
	Payload
	Response *Response
}

// DeleteResponsePayload answers deleteResponse.
type DeleteResponsePayload struct {
	Payload
	DeletedResponseID *string
}

// CancelResponsePayload answers cancelResponse.
type CancelResponsePayload struct {
	Payload
	Response *Response
}
