package models

import "time"

// ConversationView is a conversation as REST and the events show it: a superset of
// OpenAI's. Times are Unix seconds.
// https://platform.openai.com/docs/api-reference/conversations/object
type ConversationView struct {
	ID            string             `json:"id"`
	Object        string             `json:"object"`
	Title         string             `json:"title"`
	Model         *string            `json:"model"`
	SystemPrompt  *string            `json:"system_prompt"`
	Status        ConversationStatus `json:"status"`
	LeafID        *string            `json:"leaf_id"`
	MessageCount  int                `json:"message_count"`
	Usage         ConversationUsage  `json:"usage"`
	Metadata      Metadata           `json:"metadata"`
	CreatedAt     int64              `json:"created_at"`
	UpdatedAt     int64              `json:"updated_at"`
	LastMessageAt *int64             `json:"last_message_at"`
	SharedAt      *int64             `json:"shared_at"`
	Snippet       *string            `json:"snippet,omitempty"`
}

// ConversationUsage is what a conversation has used and cost.
type ConversationUsage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
	Cost             Money `json:"cost"`
}

// View is the conversation as REST and the events show it.
func (c *Conversation) View() *ConversationView {
	v := &ConversationView{
		ID: c.ID, Object: "conversation", Title: c.Title, Model: c.Model, SystemPrompt: c.SystemPrompt, Status: c.Status,
		LeafID: c.LeafID, MessageCount: c.MessageCount, Metadata: c.Metadata, CreatedAt: c.CreatedAt.Unix(),
		UpdatedAt: c.UpdatedAt.Unix(), LastMessageAt: unix(c.LastMessageAt), SharedAt: unix(c.SharedAt), Snippet: c.Snippet,
		Usage: ConversationUsage{
			PromptTokens: c.PromptTokens, CompletionTokens: c.CompletionTokens,
			TotalTokens: c.PromptTokens + c.CompletionTokens, Cost: USD(c.Cost),
		},
	}
	if v.Metadata == nil {
		v.Metadata = Metadata{}
	}
	return v
}

func unix(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	n := t.Unix()
	return &n
}

// ConversationMessageView is a message as REST and exports show it.
type ConversationMessageView struct {
	ID               string          `json:"id"`
	Object           string          `json:"object"`
	ConversationID   string          `json:"conversation_id"`
	ParentID         *string         `json:"parent_id"`
	Role             MessageRole     `json:"role"`
	Content          *MessageContent `json:"content"`
	Refusal          *string         `json:"refusal,omitempty"`
	ReasoningContent *string         `json:"reasoning_content,omitempty"`
	Name             *string         `json:"name,omitempty"`
	ToolCalls        []ToolCall      `json:"tool_calls,omitempty"`
	ToolCallID       *string         `json:"tool_call_id,omitempty"`
	FunctionCall     *FunctionCall   `json:"function_call,omitempty"`
	Status           MessageStatus   `json:"status"`
	Model            *string         `json:"model"`
	FinishReason     *FinishReason   `json:"finish_reason"`
	Error            *string         `json:"error"`
	Usage            *Usage          `json:"usage"`
	CreatedAt        int64           `json:"created_at"`
}

// View is the message as REST and exports show it.
func (m *ConversationMessage) View() *ConversationMessageView {
	c := m.Message()
	return &ConversationMessageView{
		ID: m.ID, Object: "conversation.message", ConversationID: m.ConversationID, ParentID: m.ParentID, Role: m.Role,
		Content: c.Content, Refusal: c.Refusal, ReasoningContent: m.ReasoningContent(), Name: c.Name, ToolCalls: c.ToolCalls,
		ToolCallID: c.ToolCallID, FunctionCall: c.FunctionCall, Status: m.Status, Model: m.Model, FinishReason: m.FinishReason,
		Error: m.Error(), Usage: m.Usage, CreatedAt: m.CreatedAt.Unix(),
	}
}

// ConversationChanged is a conversation as webhooks show it: with its owner.
type ConversationChanged struct {
	*ConversationView

	UserID string `json:"user_id"`
}
