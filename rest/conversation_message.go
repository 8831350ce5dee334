package rest

import (
	"context"
	"net/http"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

func messageID(m *models.ConversationMessage) string { return m.ID }

func viewMessage(m *models.ConversationMessage) any { return m.View() }

func (h *handler) listConversationMessages(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	branch := (*models.MessageBranch)(stringParam(q, "branch"))
	if branch != nil && *branch != models.BranchActive && *branch != models.BranchAll {
		return models.Invalid("branch", "'branch' must be active or all.")
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().ConversationMessages(r.Context(), r.PathValue("id"), first, after, last, before, p.order, branch, stringParam(q, "leaf_id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, messageID, viewMessage)
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

// newMessageInput adds a message; with generate a model answers it.
type newMessageInput struct {
	models.ChatMessage
	ParentID models.Omittable[*string] `json:"parent_id,omitzero"`
	Messages []models.ChatMessage      `json:"messages,omitempty"` // instead of one, with generate
	Generate bool                      `json:"generate,omitempty"`

	Stream              bool                   `json:"stream,omitempty"`
	Model               *string                `json:"model,omitempty"`
	Temperature         *float64               `json:"temperature,omitempty"`
	TopP                *float64               `json:"top_p,omitempty"`
	MaxCompletionTokens *int                   `json:"max_completion_tokens,omitempty"`
	Tools               []models.Tool          `json:"tools,omitempty"`
	ToolChoice          models.JSON            `json:"tool_choice,omitempty"`
	ResponseFormat      *models.ResponseFormat `json:"response_format,omitempty"`
	ReasoningEffort     *string                `json:"reasoning_effort,omitempty"`
	Extra               models.JSON            `json:"extra,omitempty"`
}

// turn is the turn that the message begins. Without a message the parent is
// answered once more.
func (in *newMessageInput) turn(conversationID string) models.SendMessageInput {
	out := models.SendMessageInput{
		ConversationID: conversationID, ParentID: in.ParentID, Messages: in.Messages, Model: in.Model, Temperature: in.Temperature,
		TopP: in.TopP, MaxCompletionTokens: in.MaxCompletionTokens, Tools: in.Tools, ToolChoice: in.ToolChoice,
		ResponseFormat: in.ResponseFormat, ReasoningEffort: in.ReasoningEffort, Extra: in.Extra,
	}
	if in.Role != "" || in.Content != nil {
		if in.Role == "" {
			in.Role = models.RoleMessageUser
		}
		out.Messages = append([]models.ChatMessage{in.ChatMessage}, out.Messages...)
	}
	return out
}

func (h *handler) createConversationMessage(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[newMessageInput](h, w, r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	switch {
	case in.Generate && in.Stream:
		return stream(h, w, r, openAI(), func(ctx context.Context) (*graph.Feed[*models.ChatCompletionChunk], error) {
			return h.resolver.StreamSendMessage(ctx, in.turn(id))
		})
	case in.Generate:
		done, err := graph.Outcome(h.resolver.Mutation().SendMessage(r.Context(), in.turn(id)))
		if err != nil {
			return err //nolint:wrapcheck // a resolver's
		}
		return writeJSON(w, done.Message.View())
	}
	if in.Role == "" {
		in.Role = models.RoleMessageUser
	}
	done, err := graph.Outcome(h.resolver.Mutation().AddMessage(r.Context(), models.AddMessageInput{ConversationID: id, ParentID: in.ParentID, Message: in.ChatMessage}))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Message.View())
}

func (h *handler) retrieveConversationMessage(w http.ResponseWriter, r *http.Request) error {
	m, err := h.resolver.ConversationMessageIn(r.Context(), r.PathValue("id"), r.PathValue("message"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, m.View())
}

func (h *handler) deleteConversationMessage(w http.ResponseWriter, r *http.Request) error {
	m, err := h.resolver.ConversationMessageIn(r.Context(), r.PathValue("id"), r.PathValue("message"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	done, err := graph.Outcome(h.resolver.Mutation().DeleteMessage(r.Context(), m.ID))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedMessageID, Object: "conversation.message.deleted", Deleted: true})
}

// itemList is OpenAI's list of items.
// https://platform.openai.com/docs/api-reference/conversations/list-items-object
type itemList struct {
	Object  string        `json:"object"`
	Data    []models.JSON `json:"data"`
	FirstID *string       `json:"first_id"`
	LastID  *string       `json:"last_id"`
	HasMore bool          `json:"has_more"`
}

func viewItems(items []models.ResponseItem, more bool) *itemList {
	l := &itemList{Object: "list", Data: make([]models.JSON, len(items)), HasMore: more}
	for i := range items {
		l.Data[i] = items[i].Raw
	}
	if n := len(items); n > 0 {
		l.FirstID, l.LastID = &items[0].ID, &items[n-1].ID
	}
	return l
}

func (h *handler) listConversationItems(w http.ResponseWriter, r *http.Request) error {
	p, err := parsePage(r.URL.Query())
	if err != nil {
		return err
	}
	if p.before != "" {
		return models.Invalid("before", "Items are paged by 'after'.")
	}
	first, after, _, _ := p.args()
	page, err := h.resolver.Query().ConversationItems(r.Context(), r.PathValue("id"), first, after, p.order)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	items := make([]models.ResponseItem, len(page.Edges))
	for i, e := range page.Edges {
		items[i] = *e.Node
	}
	return writeJSON(w, viewItems(items, page.PageInfo.HasNextPage))
}

type newItemsInput struct {
	Items models.JSON `json:"items"`
}

func (h *handler) createConversationItems(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[newItemsInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateConversationItems(r.Context(), r.PathValue("id"), in.Items))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewItems(done.Items, false))
}

func (h *handler) retrieveConversationItem(w http.ResponseWriter, r *http.Request) error {
	item, err := h.resolver.Query().ConversationItem(r.Context(), r.PathValue("id"), r.PathValue("item"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	writeBytes(w, http.StatusOK, item.Raw)
	return nil
}

func (h *handler) deleteConversationItem(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteConversationItem(r.Context(), r.PathValue("id"), r.PathValue("item")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Conversation.View())
}
