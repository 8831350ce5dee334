package models

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ChatCompletion is a finished completion: OpenAI's chat.completion object. One
// that came from an OpenAI-compatible upstream keeps its bytes and is decoded
// only when somebody reads a field.
type ChatCompletion struct {
	Usage     *Usage  // as accounted; nil until settled
	ChannelID string  // the channel that answered; set for admins only
	MessageID *string // the answer in the conversation that it was stored in

	Cache *CacheStatus // nil: the key uses no cache

	raw  []byte
	body *ChatCompletionBody
}

// ChatCompletionBody are the fields of a completion that the product knows.
type ChatCompletionBody struct {
	ID                string   `json:"id"`
	Object            string   `json:"object"`
	Created           int64    `json:"created"`
	Model             string   `json:"model"`
	Choices           []Choice `json:"choices"`
	Usage             *Usage   `json:"usage,omitempty"`
	ServiceTier       *string  `json:"service_tier,omitempty"`
	SystemFingerprint *string  `json:"system_fingerprint,omitempty"`
}

// Choice is one answer of a completion.
type Choice struct {
	Index        int             `json:"index"`
	Message      ResponseMessage `json:"message"`
	Logprobs     JSON            `json:"logprobs"`
	FinishReason FinishReason    `json:"finish_reason"`
}

// ResponseMessage is what the model said. Content and Refusal are always
// present in JSON, and null when absent.
type ResponseMessage struct {
	Role             MessageRole   `json:"role"`
	Content          *string       `json:"content"`
	Refusal          *string       `json:"refusal"`
	ReasoningContent *string       `json:"reasoning_content,omitempty"`
	ToolCalls        []ToolCall    `json:"tool_calls,omitempty"`
	FunctionCall     *FunctionCall `json:"function_call,omitempty"`
	Annotations      JSON          `json:"annotations,omitempty"`
}

// NewChatCompletion wraps an answer that the product made or translated.
func NewChatCompletion(body *ChatCompletionBody) *ChatCompletion {
	return &ChatCompletion{body: body}
}

// RawChatCompletion wraps an answer in OpenAI's own bytes.
func RawChatCompletion(raw []byte) *ChatCompletion { return &ChatCompletion{raw: raw} }

// Body is the decoded answer. It is not for concurrent use.
func (c *ChatCompletion) Body() (*ChatCompletionBody, error) {
	if c.body == nil {
		body := new(ChatCompletionBody)
		if err := json.Unmarshal(c.raw, body); err != nil {
			return nil, fmt.Errorf("decode completion: %w", err)
		}
		c.body = body
	}
	return c.body, nil
}

// JSON is the answer as OpenAI's bytes.
func (c *ChatCompletion) JSON() ([]byte, error) {
	if c.raw == nil {
		raw, err := json.Marshal(c.body)
		if err != nil {
			return nil, fmt.Errorf("encode completion: %w", err)
		}
		c.raw = raw
	}
	return c.raw, nil
}

// SetJSON replaces the bytes.
func (c *ChatCompletion) SetJSON(raw []byte) { c.raw, c.body = raw, nil }

// ID is the completion's id.
func (c *ChatCompletion) ID() (string, error) { return read(c.Body, (*ChatCompletionBody).id) }

// Created is when it was made, in Unix seconds.
func (c *ChatCompletion) Created() (int64, error) { return read(c.Body, (*ChatCompletionBody).created) }

// Model is the model that answered.
func (c *ChatCompletion) Model() (string, error) { return read(c.Body, (*ChatCompletionBody).model) }

// Choices are the answers.
func (c *ChatCompletion) Choices() ([]Choice, error) {
	return read(c.Body, (*ChatCompletionBody).choices)
}

// SystemFingerprint is the upstream's mark of its configuration.
func (c *ChatCompletion) SystemFingerprint() (*string, error) {
	return read(c.Body, (*ChatCompletionBody).fingerprint)
}

// Raw is the whole answer in OpenAI's shape, with the fields that are not typed.
func (c *ChatCompletion) Raw() (JSON, error) {
	b, err := c.JSON()
	return JSON(b), err
}

func (b *ChatCompletionBody) id() string           { return b.ID }
func (b *ChatCompletionBody) created() int64       { return b.Created }
func (b *ChatCompletionBody) model() string        { return b.Model }
func (b *ChatCompletionBody) choices() []Choice    { return b.Choices }
func (b *ChatCompletionBody) fingerprint() *string { return b.SystemFingerprint }

// ChatCompletionChunk is one event of a streamed completion: OpenAI's
// chat.completion.chunk object, or (with Err set) the failure that ends the
// stream. Like [ChatCompletion] it is decoded only when somebody reads a field.
type ChatCompletionChunk struct {
	Sequence int    // from 0, one more for each chunk of the stream
	Usage    *Usage // the settled usage, on the last chunk of a stream that succeeded
	Err      *Error // terminal: nothing follows

	ChannelID string  // the channel that answers; set for admins only
	MessageID *string // on the last chunk: the answer in the conversation that it was stored in

	Cache *CacheStatus // nil: the key uses no cache

	raw  []byte
	text []byte // see SetText
	body *ChunkBody
}

// ChunkBody are the fields of a chunk that the product knows.
type ChunkBody struct {
	ID                string        `json:"id"`
	Object            string        `json:"object"`
	Created           int64         `json:"created"`
	Model             string        `json:"model"`
	Choices           []ChunkChoice `json:"choices"`
	Usage             *Usage        `json:"usage,omitempty"`
	SystemFingerprint *string       `json:"system_fingerprint,omitempty"`
}

// ChunkChoice is what a chunk adds to one choice.
type ChunkChoice struct {
	Index        int           `json:"index"`
	Delta        Delta         `json:"delta"`
	Logprobs     JSON          `json:"logprobs"`
	FinishReason *FinishReason `json:"finish_reason"`
}

// Delta is a fragment of a message.
type Delta struct {
	Role             *MessageRole  `json:"role,omitempty"`
	Content          *string       `json:"content,omitempty"`
	Refusal          *string       `json:"refusal,omitempty"`
	ReasoningContent *string       `json:"reasoning_content,omitempty"`
	ToolCalls        []ToolCall    `json:"tool_calls,omitempty"`
	FunctionCall     *FunctionCall `json:"function_call,omitempty"`
}

// NewChunk wraps a chunk that the product made or translated.
func NewChunk(body *ChunkBody) *ChatCompletionChunk { return &ChatCompletionChunk{body: body} }

// RawChunk wraps a chunk in OpenAI's own bytes, without line ends.
func RawChunk(raw []byte) *ChatCompletionChunk { return &ChatCompletionChunk{raw: raw} }

// Owned is the chunk with bytes of its own, for who keeps one whose stream uses
// them again.
func (c *ChatCompletionChunk) Owned() *ChatCompletionChunk {
	own := *c
	own.raw, own.text = bytes.Clone(c.raw), nil
	return &own
}

// SetText says that the chunk is nothing but this piece of its only choice's text,
// which is a part of its bytes.
func (c *ChatCompletionChunk) SetText(text []byte) { c.text = text }

// Text is what SetText was told; ok is false when the chunk may be anything.
func (c *ChatCompletionChunk) Text() (text []byte, ok bool) { return c.text, c.text != nil }

// FailedChunk ends a stream with a failure.
func FailedChunk(e *Error) *ChatCompletionChunk { return &ChatCompletionChunk{Err: e} }

// Body is the decoded chunk, empty for a failure. It is not for concurrent use.
func (c *ChatCompletionChunk) Body() (*ChunkBody, error) {
	if c.body == nil {
		body := new(ChunkBody)
		if c.raw != nil {
			if err := json.Unmarshal(c.raw, body); err != nil {
				return nil, fmt.Errorf("decode chunk: %w", err)
			}
		}
		c.body = body
	}
	return c.body, nil
}

// JSON is the chunk as OpenAI's bytes.
func (c *ChatCompletionChunk) JSON() ([]byte, error) {
	if c.raw == nil {
		raw, err := json.Marshal(c.body)
		if err != nil {
			return nil, fmt.Errorf("encode chunk: %w", err)
		}
		c.raw = raw
	}
	return c.raw, nil
}

// SetJSON replaces the bytes.
func (c *ChatCompletionChunk) SetJSON(raw []byte) { c.raw, c.text, c.body = raw, nil, nil }

// ID is the completion's id, the same on all chunks.
func (c *ChatCompletionChunk) ID() (string, error) { return read(c.Body, (*ChunkBody).id) }

// Created is when the completion began, in Unix seconds.
func (c *ChatCompletionChunk) Created() (int64, error) { return read(c.Body, (*ChunkBody).created) }

// Model is the model that answers.
func (c *ChatCompletionChunk) Model() (string, error) { return read(c.Body, (*ChunkBody).model) }

// Choices are the fragments.
func (c *ChatCompletionChunk) Choices() ([]ChunkChoice, error) {
	return read(c.Body, (*ChunkBody).choices)
}

// Error is the failure that ended the stream, as GraphQL shows it.
func (c *ChatCompletionChunk) Error() *StreamError { return c.Err.shown() }

// Failure is the failure that ended the stream, nil for a chunk.
func (c *ChatCompletionChunk) Failure() *Error { return c.Err }

// Name is empty: OpenAI's chunks are events without names.
func (c *ChatCompletionChunk) Name() string { return "" }

// Channel is the channel that answers, for those who may know.
func (c *ChatCompletionChunk) Channel() string { return c.ChannelID }

// CacheStatus says whether the stream was kept, nil when the key uses no cache.
func (c *ChatCompletionChunk) CacheStatus() *CacheStatus { return c.Cache }

// Raw is the whole chunk in OpenAI's shape, with the fields that are not typed;
// nil for a failure.
func (c *ChatCompletionChunk) Raw() (JSON, error) {
	if c.Err != nil {
		return nil, nil //nolint:nilerr // Err is the chunk's content, not a failure of this method
	}
	b, err := c.JSON()
	return JSON(b), err
}

func (b *ChunkBody) id() string             { return b.ID }
func (b *ChunkBody) created() int64         { return b.Created }
func (b *ChunkBody) model() string          { return b.Model }
func (b *ChunkBody) choices() []ChunkChoice { return b.Choices }

// StreamError is a failure after the stream began.
type StreamError struct {
	Code      string
	Type      string
	Message   string
	Retryable bool // the same request may succeed later
}

// shown is a failure that ended a stream as GraphQL shows it.
func (e *Error) shown() *StreamError {
	if e == nil {
		return nil
	}
	return &StreamError{
		Code: e.Code, Type: e.Kind.Type(), Message: e.Message,
		Retryable: !e.Final && (e.Kind == KindUnavailable || e.Kind == KindRateLimited),
	}
}

func read[B, T any](body func() (*B, error), field func(*B) T) (T, error) {
	b, err := body()
	if err != nil {
		var zero T
		return zero, err
	}
	return field(b), nil
}

// CacheStatus says whether an answer came out of the response cache.
type CacheStatus string

// The cache statuses.
const (
	CacheHit  CacheStatus = "hit"
	CacheMiss CacheStatus = "miss"
)
