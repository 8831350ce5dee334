package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// Limits of a completion request.
const (
	MaxMessages     = 2048
	MaxContentParts = 1024
	MaxTools        = 128 // OpenAI's
	MaxStops        = 4   // OpenAI's
	MaxChoices      = 128 // OpenAI's
	maxModelName    = 256
)

// MessageRole says who speaks.
type MessageRole string

// The roles.
const (
	RoleMessageSystem    MessageRole = "system"
	RoleMessageDeveloper MessageRole = "developer"
	RoleMessageUser      MessageRole = "user"
	RoleMessageAssistant MessageRole = "assistant"
	RoleMessageTool      MessageRole = "tool"
	RoleMessageFunction  MessageRole = "function"
)

// FinishReason says why a choice ended.
type FinishReason string

// The finish reasons.
const (
	FinishStop          FinishReason = "stop"
	FinishLength        FinishReason = "length"
	FinishToolCalls     FinishReason = "tool_calls"
	FinishContentFilter FinishReason = "content_filter"
	FinishFunctionCall  FinishReason = "function_call"
)

// ChatCompletionInput is a request for a completion: OpenAI's, of which the
// fields that the product reads are typed. All others travel to OpenAI-compatible
// upstreams unread: over REST inside Raw, over GraphQL inside Extra.
// https://platform.openai.com/docs/api-reference/chat/create
type ChatCompletionInput struct {
	Model               string          `json:"model"`
	Messages            []ChatMessage   `json:"messages"`
	Temperature         *float64        `json:"temperature,omitempty"`
	TopP                *float64        `json:"top_p,omitempty"`
	N                   *int            `json:"n,omitempty"`
	MaxTokens           *int            `json:"max_tokens,omitempty"`
	MaxCompletionTokens *int            `json:"max_completion_tokens,omitempty"`
	Stop                StopSequences   `json:"stop,omitempty"`
	PresencePenalty     *float64        `json:"presence_penalty,omitempty"`
	FrequencyPenalty    *float64        `json:"frequency_penalty,omitempty"`
	Logprobs            *bool           `json:"logprobs,omitempty"`
	TopLogprobs         *int            `json:"top_logprobs,omitempty"`
	Seed                *int64          `json:"seed,omitempty"`
	Tools               []Tool          `json:"tools,omitempty"`
	ToolChoice          JSON            `json:"tool_choice,omitempty"` // a string, or an object that names a tool
	ParallelToolCalls   *bool           `json:"parallel_tool_calls,omitempty"`
	Functions           JSON            `json:"functions,omitempty"`     // legacy twin of Tools
	FunctionCall        JSON            `json:"function_call,omitempty"` // legacy twin of ToolChoice
	ResponseFormat      *ResponseFormat `json:"response_format,omitempty"`
	ReasoningEffort     *string         `json:"reasoning_effort,omitempty"`
	User                *string         `json:"user,omitempty"`
	Metadata            Metadata        `json:"metadata,omitempty"`
	Stream              *bool           `json:"stream,omitempty"`
	StreamOptions       *StreamOptions  `json:"stream_options,omitempty"`

	// ConversationID stores the turn: what the conversation holds goes before the
	// messages, and they and the answer are added to it.
	ConversationID *string `json:"conversation_id,omitempty"`
	// ParentMessageID is the message that the turn follows: absent the leaf of the
	// active branch, null none.
	ParentMessageID Omittable[*string] `json:"parent_message_id,omitzero"`

	// Of a request that was translated from another language: how many of the last
	// messages are the request's own (nil: all), and how many of the first are
	// instructions, which are not stored.
	Own  *int `json:"-"`
	Lead int  `json:"-"`

	// Extra is merged into the upstream request last, but never over a typed field.
	Extra JSON `json:"-"`
	// Raw is the request as a REST client sent it. When it is set, upstreams
	// that speak OpenAI's language get these bytes.
	Raw []byte `json:"-"`
	// NoCache asks upstreams even where the key has a response cache.
	NoCache bool `json:"-"`
	// Attached is how many bytes of Raw are files that were put in place of their ids.
	Attached int `json:"-"`
}

// StreamOptions are options of a streamed completion.
type StreamOptions struct {
	// IncludeUsage asks for a last chunk with empty choices that carries the usage.
	IncludeUsage *bool `json:"include_usage,omitempty"`
}

// WantsUsage says whether the client asked for the usage chunk.
func (in *ChatCompletionInput) WantsUsage() bool {
	return in.StreamOptions != nil && in.StreamOptions.IncludeUsage != nil && *in.StreamOptions.IncludeUsage
}

// Streams says whether the client asked for a stream.
func (in *ChatCompletionInput) Streams() bool { return in.Stream != nil && *in.Stream }

// StopSequences are up to four texts at which generation stops. In JSON they
// are a string, an array, or null.
type StopSequences []string

// UnmarshalJSON reads a string, an array of strings, or null.
func (s *StopSequences) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*s = nil
		return nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		*s = StopSequences{one}
		return nil
	}
	var many []string
	if json.Unmarshal(b, &many) != nil {
		return errors.New("must be a string or an array of strings")
	}
	*s = many
	return nil
}

// ChatMessage is one turn.
type ChatMessage struct {
	Role         MessageRole     `json:"role"`
	Content      *MessageContent `json:"content,omitempty"`
	Refusal      *string         `json:"refusal,omitempty"`
	Name         *string         `json:"name,omitempty"`
	ToolCalls    []ToolCall      `json:"tool_calls,omitempty"`
	ToolCallID   *string         `json:"tool_call_id,omitempty"`
	FunctionCall *FunctionCall   `json:"function_call,omitempty"` // legacy
}

// MessageContent is what a message says: a text, or parts. Exactly one is set.
type MessageContent struct {
	Text  *string
	Parts []ContentPart
}

// TextContent is content that is one text.
func TextContent(s string) *MessageContent { return &MessageContent{Text: &s} }

// String is all the text in the content.
func (c *MessageContent) String() string {
	if c == nil {
		return ""
	}
	if c.Text != nil {
		return *c.Text
	}
	var b strings.Builder
	for _, p := range c.Parts {
		if p.Text != nil {
			b.WriteString(*p.Text)
		}
	}
	return b.String()
}

// MarshalJSON writes a string or an array of parts.
func (c MessageContent) MarshalJSON() ([]byte, error) {
	if c.Text != nil {
		return json.Marshal(*c.Text)
	}
	return json.Marshal(c.Parts)
}

// UnmarshalJSON reads a string or an array of parts.
func (c *MessageContent) UnmarshalJSON(b []byte) error {
	*c = MessageContent{}
	switch b = bytes.TrimLeft(b, " \t\r\n"); {
	case len(b) > 0 && b[0] == '"':
		return json.Unmarshal(b, &c.Text)
	case len(b) > 0 && b[0] == '[':
		return json.Unmarshal(b, &c.Parts)
	}
	return errors.New("must be a string or an array of content parts")
}

// ContentPart is a piece of a message: the field that Type names is set. Over
// GraphQL Type is absent and follows from the field.
type ContentPart struct {
	Type       string      `json:"type"`
	Text       *string     `json:"text,omitempty"`
	Refusal    *string     `json:"refusal,omitempty"`
	ImageURL   *ImageURL   `json:"image_url,omitempty"`
	InputAudio *InputAudio `json:"input_audio,omitempty"`
	File       *FilePart   `json:"file,omitempty"`
}

// ImageURL points at an image by https or data URL, or by the id of an uploaded
// file, in URL or in FileID.
type ImageURL struct {
	URL    string  `json:"url"`
	Detail *string `json:"detail,omitempty"`
	FileID *string `json:"file_id,omitempty"`

	Path string `json:"-"` // of the id in a request of another language, for errors
}

// InputAudio is audio in base64.
type InputAudio struct {
	Data   string `json:"data"`
	Format string `json:"format"`
}

// FilePart is a file by id, or in base64.
type FilePart struct {
	FileID   *string `json:"file_id,omitempty"`
	FileData *string `json:"file_data,omitempty"`
	Filename *string `json:"filename,omitempty"`

	Path string `json:"-"` // of FileID in a request of another language, for errors
}

// Tool is something that the model may ask the client to call.
type Tool struct {
	Type     string    `json:"type"`
	Function *Function `json:"function,omitempty"`
	Custom   JSON      `json:"custom,omitempty"` // of tools with type custom
}

// Function describes a function tool.
type Function struct {
	Name        string  `json:"name"`
	Description *string `json:"description,omitempty"`
	Parameters  JSON    `json:"parameters,omitempty"` // a JSON Schema
	Strict      *bool   `json:"strict,omitempty"`
}

// ToolCall is a call that the model asks for.
type ToolCall struct {
	Index    *int          `json:"index,omitempty"` // in deltas only
	ID       *string       `json:"id,omitempty"`
	Type     *string       `json:"type,omitempty"`
	Function *FunctionCall `json:"function,omitempty"`
	Custom   JSON          `json:"custom,omitempty"`
}

// FunctionCall names a function and its arguments as the text of a JSON object.
// In deltas the name comes once and the arguments in fragments.
type FunctionCall struct {
	Name      *string `json:"name,omitempty"`
	Arguments *string `json:"arguments,omitempty"`
}

// ResponseFormat asks for text, JSON, or JSON that follows a schema.
type ResponseFormat struct {
	Type       string      `json:"type"` // text, json_object or json_schema
	JSONSchema *JSONSchema `json:"json_schema,omitempty"`
}

// JSONSchema is the schema of a structured answer.
type JSONSchema struct {
	Name        string  `json:"name"`
	Description *string `json:"description,omitempty"`
	Schema      JSON    `json:"schema,omitempty"`
	Strict      *bool   `json:"strict,omitempty"`
}

// CreateChatCompletionPayload answers createChatCompletion.
type CreateChatCompletionPayload struct {
	Payload
	ChatCompletion *ChatCompletion
}
