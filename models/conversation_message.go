package models

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// MessageStatus is the state of a stored message.
type MessageStatus string

// The states. Only an answer can be other than completed.
const (
	MessageCompleted   MessageStatus = "completed"
	MessageInProgress  MessageStatus = "in_progress" // the model is at work
	MessageInterrupted MessageStatus = "interrupted" // the client left, or the process died: the content is what there was
	MessageFailed      MessageStatus = "failed"      // the upstream failed: the content is what there was
)

// ConversationMessage is a stored message. It is never rewritten: an edit is
// another child of the same parent.
type ConversationMessage struct {
	bun.BaseModel `bun:"table:conversation_messages,alias:cm" json:"-"`

	ID             string        `bun:"id,pk"` // sorts after all that were in the conversation before it
	ConversationID string        `bun:"conversation_id"`
	ParentID       *string       `bun:"parent_id"` // nil: the beginning of a branch
	Depth          int           `bun:"depth"`     // how many were before it in its branch, when it was made
	Role           MessageRole   `bun:"role"`
	Body           JSON          `bun:"body"` // the message in the shape of chat completions
	Size           int64         `bun:"size"` // of the body
	Status         MessageStatus `bun:"status"`
	Model          *string       `bun:"model"` // that answered
	FinishReason   *FinishReason `bun:"finish_reason"`
	ErrorCode      string        `bun:"error_code"`
	Usage          *Usage        `bun:"usage,type:jsonb"` // as the ledger has settled it
	CreatedAt      time.Time     `bun:"created_at"`
	UpdatedAt      time.Time     `bun:"updated_at"`

	// Of an answer: where its turn began; the usage record to look at when the
	// process dies; and until when a process says that it is at work.
	TurnParentID *string    `bun:"turn_parent_id"`
	UsageID      string     `bun:"usage_id"`
	LeaseUntil   *time.Time `bun:"lease_until"`

	message *ChatMessage
	thought string
}

// IsNode makes ConversationMessage a Relay node.
func (ConversationMessage) IsNode() {}

// BeforeAppendModel measures the row before bun writes it.
func (m *ConversationMessage) BeforeAppendModel(context.Context, bun.Query) error {
	m.Size = int64(len(m.Body))
	return nil
}

// AfterScanRow shows an answer whose process is gone for what it is.
func (m *ConversationMessage) AfterScanRow(context.Context) error {
	if m.Status == MessageInProgress && (m.LeaseUntil == nil || m.LeaseUntil.Before(time.Now())) {
		m.Status = MessageInterrupted
	}
	return nil
}

// Message is the message as a model is sent it.
func (m *ConversationMessage) Message() *ChatMessage {
	if m.message == nil {
		body := struct {
			*ChatMessage
			ReasoningContent string `json:"reasoning_content"`
		}{ChatMessage: new(ChatMessage)}
		_ = json.Unmarshal(m.Body, &body) // what was checked before it was stored
		m.message, m.thought = body.ChatMessage, body.ReasoningContent
	}
	return m.message
}

// Empty says whether an answer has come to nothing.
func (m *ConversationMessage) Empty() bool {
	c := m.Message()
	return c.Content.String() == "" && (c.Content == nil || len(c.Content.Parts) == 0) &&
		len(c.ToolCalls) == 0 && c.Refusal == nil && c.FunctionCall == nil
}

// Text is all the text of the content.
func (m *ConversationMessage) Text() string { return m.Message().Content.String() }

// Content is the text of the content, as GraphQL shows it; nil when there is none.
func (m *ConversationMessage) Content() *string {
	c := m.Message().Content
	if c == nil {
		return nil
	}
	s := c.String()
	return &s
}

// Parts are the content's parts in OpenAI's shape; nil when it is a text.
func (m *ConversationMessage) Parts() (JSON, error) {
	c := m.Message().Content
	if c == nil || c.Parts == nil {
		return nil, nil
	}
	return json.Marshal(c.Parts) //nolint:wrapcheck // it was decoded from JSON
}

// Refusal is why the assistant declined.
func (m *ConversationMessage) Refusal() *string { return m.Message().Refusal }

// ReasoningContent is what the model said that it thought.
func (m *ConversationMessage) ReasoningContent() *string {
	m.Message()
	if m.thought == "" {
		return nil
	}
	return &m.thought
}

// ToolCalls are the calls that the assistant asked for.
func (m *ConversationMessage) ToolCalls() []ToolCall { return m.Message().ToolCalls }

// ToolCallID is the call that a tool's message answers.
func (m *ConversationMessage) ToolCallID() *string { return m.Message().ToolCallID }

// Name is the speaker's.
func (m *ConversationMessage) Name() *string { return m.Message().Name }

// Error is the code of the failure that ended an answer; nil when it ended well.
func (m *ConversationMessage) Error() *string {
	if m.ErrorCode == "" {
		return nil
	}
	return &m.ErrorCode
}

// MessageBranch is which messages of a conversation a list has.
type MessageBranch string

// The branches.
const (
	BranchActive MessageBranch = "active" // from the beginning to the leaf
	BranchAll    MessageBranch = "all"    // all there are
)

// MessagesArgs choose messages of a conversation.
type MessagesArgs struct {
	PageArgs
	Branch *MessageBranch // default [BranchActive]
	LeafID *string        // the branch that ends there, instead of the active one
}

// AddMessageInput adds a message without asking a model.
type AddMessageInput struct {
	ConversationID string
	// ParentID is the message that it follows: absent the leaf of the active
	// branch, null none.
	ParentID Omittable[*string]
	Message  ChatMessage
}

// Validate checks the input.
func (in *AddMessageInput) Validate() error { return in.Message.validateAlone("message") }

// validateAlone checks a message whose path is left out where it is the whole
// input.
func (m *ChatMessage) validateAlone(at string) error {
	err := m.validate(at)
	if e, ok := err.(*Error); ok && at == "message" { //nolint:errorlint // it is made there
		e.Param = strings.TrimPrefix(e.Param, "message.")
		e.Message = strings.ReplaceAll(e.Message, "'message.", "'")
	}
	return err
}

// EditMessageInput says a message in another way: a branch beside it.
type EditMessageInput struct {
	MessageID string
	Content   MessageContent
}

// SendMessageInput is a turn: something is said, and a model answers.
type SendMessageInput struct {
	ConversationID string             `json:"-"`
	ParentID       Omittable[*string] `json:"parent_id,omitzero"` // as in [AddMessageInput]
	Content        *MessageContent    `json:"content,omitempty"`  // what the user says
	Messages       []ChatMessage      `json:"messages,omitempty"` // instead of Content: such as results of tools

	// Without either, the model answers the parent once more.

	Model               *string         `json:"model,omitempty"` // default: the conversation's
	Temperature         *float64        `json:"temperature,omitempty"`
	TopP                *float64        `json:"top_p,omitempty"`
	MaxCompletionTokens *int            `json:"max_completion_tokens,omitempty"`
	Tools               []Tool          `json:"tools,omitempty"`
	ToolChoice          JSON            `json:"tool_choice,omitempty"`
	ResponseFormat      *ResponseFormat `json:"response_format,omitempty"`
	ReasoningEffort     *string         `json:"reasoning_effort,omitempty"`
	Extra               JSON            `json:"-"`
}

// Validate checks what the request for the completion does not.
func (in *SendMessageInput) Validate() error {
	if in.Content != nil && len(in.Messages) > 0 {
		return Invalid("messages", "Give either 'content' or 'messages', not both.")
	}
	return nil
}

// Completion is the request for the completion of a turn.
func (in *SendMessageInput) Completion() ChatCompletionInput {
	out := ChatCompletionInput{
		ConversationID: &in.ConversationID, ParentMessageID: in.ParentID, Messages: in.Messages, Temperature: in.Temperature,
		TopP: in.TopP, MaxCompletionTokens: in.MaxCompletionTokens, Tools: in.Tools, ToolChoice: in.ToolChoice,
		ResponseFormat: in.ResponseFormat, ReasoningEffort: in.ReasoningEffort, Extra: in.Extra,
	}
	if in.Model != nil {
		out.Model = *in.Model
	}
	if in.Content != nil {
		out.Messages = []ChatMessage{{Role: RoleMessageUser, Content: in.Content}}
	}
	return out
}

// RegenerateMessageInput asks for another answer beside one there is.
type RegenerateMessageInput struct {
	MessageID string
	Model     *string // default: the conversation's
}

// ValidateMessages checks messages that are to be stored, each by its path.
func ValidateMessages(param string, messages []ChatMessage) error {
	for i := range messages {
		if err := messages[i].validate(indexed(param, i)); err != nil {
			return err
		}
	}
	return nil
}

// ConversationEventType says what happened to a conversation.
type ConversationEventType string

// The event types.
const (
	ConversationTitleChanged     ConversationEventType = "title_changed"
	ConversationStatusChanged    ConversationEventType = "status_changed"
	ConversationMessageAdded     ConversationEventType = "message_added"
	ConversationMessageCompleted ConversationEventType = "message_completed" // or interrupted, or failed
	ConversationMessageDeleted   ConversationEventType = "message_deleted"
	ConversationDeleted          ConversationEventType = "deleted" // nothing follows
)

// ConversationEvent is something that happened to a conversation, for those who
// watch it.
type ConversationEvent struct {
	bun.BaseModel `bun:"table:conversation_log,alias:cl"`

	ConversationID string                `bun:"conversation_id,pk"`
	Revision       int64                 `bun:"revision,pk"`
	Type           ConversationEventType `bun:"type"`
	MessageID      *string               `bun:"message_id"`
	CreatedAt      time.Time             `bun:"created_at"`

	Conversation *Conversation        `bun:"-"` // as it is now; nil when it is deleted
	Message      *ConversationMessage `bun:"-"` // as it is now; nil for other events, and when it is deleted
}
