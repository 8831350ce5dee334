package graph

import (
	"context"
	"io"

	"github.com/coaidev/coai/models"
)

func (r query) Conversations(
	ctx context.Context, first *int, after *string, last *int, before *string,
	order *models.ConversationOrder, filter *models.ConversationFilter,
) (*models.ConversationConnection, error) {
	page := models.PageArgs{First: first, After: after, Last: last, Before: before}
	return r.conversations.Conversations(ctx, viewer(ctx), page, order, filter)
}

func (r query) Conversation(ctx context.Context, id string) (*models.Conversation, error) {
	return r.conversations.Conversation(ctx, viewer(ctx), id)
}

func (r query) ConversationMessages(
	ctx context.Context, conversationID string, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, branch *models.MessageBranch, leafID *string,
) (*models.ConversationMessageConnection, error) {
	return r.conversations.Messages(ctx, viewer(ctx), conversationID, messagesArgs(first, after, last, before, order, branch, leafID))
}

func (r query) ConversationMessage(ctx context.Context, id string) (*models.ConversationMessage, error) {
	return r.conversations.Message(ctx, viewer(ctx), id)
}

// ConversationMessageIn is the query conversationMessage for one that must be in this conversation.
func (r *Resolver) ConversationMessageIn(ctx context.Context, conversationID, id string) (*models.ConversationMessage, error) {
	return r.conversations.MessageIn(ctx, viewer(ctx), conversationID, id)
}

func (r query) ConversationItems(ctx context.Context, conversationID string, first *int, after *string, order *models.OrderDirection) (*models.ResponseItemConnection, error) {
	return r.conversations.Items(ctx, viewer(ctx), conversationID, models.PageArgs{First: first, After: after, Order: order})
}

func (r query) ConversationItem(ctx context.Context, conversationID, id string) (*models.ResponseItem, error) {
	return r.conversations.Item(ctx, viewer(ctx), conversationID, id)
}

func (r query) ConversationExport(ctx context.Context, id string, format models.ExportFormat) (*string, error) {
	return r.conversations.ExportText(ctx, viewer(ctx), id, format)
}

// ExportConversation is the query conversationExport, written out as it is read.
func (r *Resolver) ExportConversation(ctx context.Context, id string, format models.ExportFormat, w io.Writer) error {
	return r.conversations.Export(ctx, viewer(ctx), id, format, w)
}

func (r query) SharedConversation(ctx context.Context, token string) (*models.SharedConversation, error) {
	return r.conversations.Shared(ctx, token)
}

func (r mutation) CreateConversation(ctx context.Context, in models.CreateConversationInput) (*models.CreateConversationPayload, error) {
	return settle(r.conversations.Create(ctx, viewer(ctx), in))
}

func (r mutation) UpdateConversation(ctx context.Context, id string, in models.UpdateConversationInput) (*models.UpdateConversationPayload, error) {
	return settle(r.conversations.Update(ctx, viewer(ctx), id, in))
}

func (r mutation) DeleteConversation(ctx context.Context, id string) (*models.DeleteConversationPayload, error) {
	return settle(r.conversations.Delete(ctx, viewer(ctx), id))
}

func (r mutation) ShareConversation(ctx context.Context, id string, in *models.ShareConversationInput) (*models.ShareConversationPayload, error) {
	return settle(r.conversations.Share(ctx, viewer(ctx), id, in))
}

func (r mutation) UnshareConversation(ctx context.Context, id string) (*models.UnshareConversationPayload, error) {
	return settle(r.conversations.Unshare(ctx, viewer(ctx), id))
}

func (r mutation) AddMessage(ctx context.Context, in models.AddMessageInput) (*models.AddMessagePayload, error) {
	return settle(r.conversations.Add(ctx, viewer(ctx), in))
}

func (r mutation) EditMessage(ctx context.Context, in models.EditMessageInput) (*models.EditMessagePayload, error) {
	return settle(r.conversations.Edit(ctx, viewer(ctx), in))
}

func (r mutation) DeleteMessage(ctx context.Context, id string) (*models.DeleteMessagePayload, error) {
	return settle(r.conversations.DeleteMessage(ctx, viewer(ctx), id))
}

func (r mutation) SendMessage(ctx context.Context, in models.SendMessageInput) (*models.SendMessagePayload, error) {
	return settle(r.chat.SendMessage(ctx, viewer(ctx), in))
}

func (r mutation) RegenerateMessage(ctx context.Context, in models.RegenerateMessageInput) (*models.SendMessagePayload, error) {
	return settle(r.chat.RegenerateMessage(ctx, viewer(ctx), in))
}

func (r mutation) CreateConversationItems(ctx context.Context, conversationID string, items models.JSON) (*models.CreateConversationItemsPayload, error) {
	return settle(r.conversations.CreateItems(ctx, viewer(ctx), conversationID, items))
}

func (r mutation) DeleteConversationItem(ctx context.Context, conversationID, id string) (*models.DeleteConversationItemPayload, error) {
	return settle(r.conversations.DeleteItem(ctx, viewer(ctx), conversationID, id))
}

func (r subscription) SendMessage(ctx context.Context, in models.SendMessageInput) (<-chan *models.ChatCompletionChunk, error) {
	return pump(r.StreamSendMessage(ctx, in))
}

// StreamSendMessage is the subscription sendMessage without its channel.
func (r *Resolver) StreamSendMessage(ctx context.Context, in models.SendMessageInput) (*Feed[*models.ChatCompletionChunk], error) {
	return feed(ctx, failedChunk)(r.chat.StreamMessageTurn(ctx, viewer(ctx), in))
}

func (r subscription) ConversationEvents(ctx context.Context, id string) (<-chan *models.ConversationEvent, error) {
	return pump(feed(ctx, noEvent)(r.conversations.Watch(ctx, viewer(ctx), id)))
}

// noEvent ends a subscription whose database is gone: it has no event for a failure.
func noEvent(int, *models.Error) *models.ConversationEvent { return nil }

func (r conversation) Messages(
	ctx context.Context, c *models.Conversation, first *int, after *string, last *int, before *string,
	order *models.OrderDirection, branch *models.MessageBranch, leafID *string,
) (*models.ConversationMessageConnection, error) {
	return r.conversations.MessagesOf(ctx, viewer(ctx), c, messagesArgs(first, after, last, before, order, branch, leafID))
}

func messagesArgs(first *int, after *string, last *int, before *string, order *models.OrderDirection, branch *models.MessageBranch, leafID *string) models.MessagesArgs {
	return models.MessagesArgs{
		PageArgs: models.PageArgs{First: first, After: after, Last: last, Before: before, Order: order}, Branch: branch, LeafID: leafID,
	}
}
