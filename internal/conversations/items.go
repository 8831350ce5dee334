package conversations

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/dialect/responses"
	"github.com/coaidev/coai/models"
)

// The prefixes of items' ids. What follows is that of the message's own id, for a
// call with its number behind it: an item is found by its id alone.
const (
	callPrefix   = "fc_"
	outputPrefix = "fco_"
)

// fromItems translates items into messages, one behind the other. before are the
// items that they follow: an output must have its call.
func fromItems(items models.JSON, before []models.JSON) ([]*models.ConversationMessage, error) {
	given := gjson.ParseBytes(items)
	if !given.Exists() || given.Type == gjson.Null {
		return nil, nil
	}
	if !given.IsArray() {
		return nil, models.Invalid("items", "'items' must be an array of items.")
	}
	switch n := len(given.Array()); {
	case n == 0:
		return nil, nil
	case n > models.MaxItems:
		return nil, models.Invalid("items", "'items' must have at most %d items; got %d.", models.MaxItems, n)
	}
	request, err := responses.Translate(&models.CreateResponseInput{Model: "none", Input: items, Conversation: models.JSON(`"-"`)}, "", before, nil)
	if err != nil {
		e, known := models.AsError(err)
		if !known {
			return nil, err //nolint:wrapcheck // the dialect's own
		}
		e.Param = strings.Replace(e.Param, "input", "items", 1)
		e.Message = strings.Replace(e.Message, "'input", "'items", 1)
		return nil, e
	}
	said := request.Chat.Messages[len(request.Chat.Messages)-request.Own:]
	if err := models.ValidateMessages("items", said); err != nil {
		return nil, err
	}
	rows := make([]*models.ConversationMessage, len(said))
	for i := range said {
		if rows[i], err = rowOf(&said[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// itemsOf are the items of a message: at least one.
func itemsOf(m *models.ConversationMessage) []models.ResponseItem {
	suffix := strings.TrimPrefix(m.ID, models.MessagePrefix)
	said, status := m.Message(), "completed"
	switch m.Status {
	case models.MessageInProgress:
		status = "in_progress"
	case models.MessageInterrupted, models.MessageFailed:
		status = "incomplete"
	case models.MessageCompleted:
	}
	if m.Role == models.RoleMessageTool {
		id := outputPrefix + suffix
		call := ""
		if said.ToolCallID != nil {
			call = *said.ToolCallID
		}
		return []models.ResponseItem{{ID: id, Raw: encode(map[string]any{
			"id": id, "type": "function_call_output", "call_id": call, "output": m.Text(), "status": status,
		})}}
	}
	var items []models.ResponseItem
	if !m.Empty() && (said.Content != nil || said.Refusal != nil) || len(said.ToolCalls) == 0 {
		role := m.Role
		if role == models.RoleMessageFunction {
			role = models.RoleMessageTool
		}
		items = append(items, models.ResponseItem{ID: m.ID, Raw: encode(map[string]any{
			"id": m.ID, "type": "message", "role": role, "status": status, "content": partsOf(m),
		})})
	}
	for i, call := range said.ToolCalls {
		id := callPrefix + suffix + "_" + strconv.Itoa(i)
		item := map[string]any{"id": id, "type": "function_call", "status": status, "call_id": "", "name": "", "arguments": ""}
		if call.ID != nil {
			item["call_id"] = *call.ID
		}
		if f := call.Function; f != nil {
			if f.Name != nil {
				item["name"] = *f.Name
			}
			if f.Arguments != nil {
				item["arguments"] = *f.Arguments
			}
		}
		items = append(items, models.ResponseItem{ID: id, Raw: encode(item)})
	}
	return items
}

func encode(v any) models.JSON {
	b, err := json.Marshal(v)
	if err != nil { // the values are plain
		return models.JSON("null")
	}
	return b
}

// partsOf is the content of a message in the language of responses.
func partsOf(m *models.ConversationMessage) []any {
	said, parts := m.Message(), []any{}
	text := func(s string) any {
		if m.Role == models.RoleMessageAssistant {
			return map[string]any{"type": "output_text", "text": s, "annotations": []any{}, "logprobs": []any{}}
		}
		return map[string]any{"type": "input_text", "text": s}
	}
	if c := said.Content; c != nil {
		if c.Text != nil {
			parts = append(parts, text(*c.Text))
		}
		for _, p := range c.Parts {
			switch {
			case p.Text != nil:
				parts = append(parts, text(*p.Text))
			case p.Refusal != nil:
				parts = append(parts, map[string]any{"type": "refusal", "refusal": *p.Refusal})
			case p.ImageURL != nil:
				detail := "auto"
				if p.ImageURL.Detail != nil {
					detail = *p.ImageURL.Detail
				}
				parts = append(parts, map[string]any{"type": "input_image", "image_url": p.ImageURL.URL, "detail": detail, "file_id": nil})
			case p.InputAudio != nil:
				parts = append(parts, map[string]any{"type": "input_audio", "input_audio": p.InputAudio})
			case p.File != nil:
				file := map[string]any{"type": "input_file"}
				for key, value := range map[string]*string{"file_id": p.File.FileID, "file_data": p.File.FileData, "filename": p.File.Filename} {
					if value != nil {
						file[key] = *value
					}
				}
				parts = append(parts, file)
			}
		}
	}
	if said.Refusal != nil {
		parts = append(parts, map[string]any{"type": "refusal", "refusal": *said.Refusal})
	}
	return parts
}

// messageID is the id of the message that an item belongs to.
func messageID(itemID string) string {
	if rest, ok := strings.CutPrefix(itemID, outputPrefix); ok {
		return models.MessagePrefix + rest
	}
	if rest, ok := strings.CutPrefix(itemID, callPrefix); ok {
		rest, _, _ = strings.Cut(rest, "_")
		return models.MessagePrefix + rest
	}
	return itemID
}

// Items lists the active branch of one of the viewer's conversations as items.
// Scope: conversations.
func (s *Service) Items(ctx context.Context, v *models.Viewer, id string, args models.PageArgs) (*models.Connection[models.ResponseItem], error) {
	c, err := s.Conversation(ctx, v, id)
	if err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	if page.Backward {
		return nil, models.Invalid("before", "Items are paged forward, by 'after'.")
	}
	// Each message has an item at least: so many messages hold the page, and one that
	// the page begins in.
	rows, err := s.chosen(ctx, choose{ids: []string{id}, branch: models.BranchActive, page: models.Page{
		Limit: page.Limit + page.Offset + 1, Key: before(messageID(page.Key), page.Descending), Descending: page.Descending,
	}})
	if err != nil {
		return nil, err
	}
	var items []*models.ResponseItem
	for _, m := range rows[c.ID] {
		list := itemsOf(m)
		for i := range list {
			at := i
			if page.Descending {
				at = len(list) - 1 - i
			}
			items = append(items, &list[at])
		}
	}
	for i, item := range items {
		if page.Key != "" && item.ID == page.Key {
			items = items[i+1:]
			break
		}
	}
	items = items[min(page.Offset, len(items)):]
	more := len(items) > page.Limit
	if more {
		items = items[:page.Limit]
	}
	count := func(ctx context.Context) (int, error) {
		all, err := s.branchOf(ctx, c)
		if err != nil {
			return 0, err
		}
		n := 0
		for _, m := range all {
			n += len(itemsOf(m))
		}
		return n, nil
	}
	return models.NewConnection(page, items, more, func(i *models.ResponseItem) string { return i.ID }, count), nil
}

// before is a key just outside the message, so that a page behind it has the message
// too: ids go on with digits and lower-case letters only.
func before(id string, descending bool) string {
	switch {
	case id == "":
		return ""
	case descending:
		return id + "0"
	}
	return id[:len(id)-1]
}

// Item is an item of one of the viewer's conversations. Scope: conversations.
func (s *Service) Item(ctx context.Context, v *models.Viewer, conversationID, id string) (*models.ResponseItem, error) {
	m, err := s.MessageIn(ctx, v, conversationID, messageID(id))
	if err != nil {
		return nil, itemError(err, id)
	}
	for _, item := range itemsOf(m) {
		if item.ID == id {
			return &item, nil
		}
	}
	return nil, models.NotFound("item", id)
}

func itemError(err error, id string) error {
	if e, known := models.AsError(err); known && e.Kind == models.KindNotFound {
		return models.NotFound("item", id)
	}
	return err
}

// CreateItems adds items to the active branch of one of the viewer's conversations.
// Scope: conversations.
func (s *Service) CreateItems(ctx context.Context, v *models.Viewer, id string, items models.JSON) (*models.CreateConversationItemsPayload, error) {
	if err := v.Require(models.ScopeConversations); err != nil {
		return nil, err
	}
	if !gjson.ParseBytes(items).Exists() {
		return nil, models.Missing("items")
	}
	var rows []*models.ConversationMessage
	_, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		if err := open(c); err != nil {
			return err
		}
		parent, err := parentOf(ctx, tx, c, models.Omittable[*string]{}, "")
		if err != nil {
			return err
		}
		said, err := branch(ctx, tx, parent)
		if err != nil {
			return err
		}
		if rows, err = fromItems(items, []models.JSON{joined(said)}); err != nil {
			return err
		}
		return s.add(ctx, tx, c, parent, rows)
	})
	if err != nil {
		return nil, err
	}
	p := &models.CreateConversationItemsPayload{Items: []models.ResponseItem{}}
	for _, m := range rows {
		p.Items = append(p.Items, itemsOf(m)...)
	}
	return p, nil
}

// joined are the items of messages as one array.
func joined(rows []*models.ConversationMessage) models.JSON {
	list := []models.JSON{}
	for _, m := range rows {
		if m.Role == models.RoleMessageAssistant && m.Empty() {
			continue
		}
		for _, item := range itemsOf(m) {
			list = append(list, item.Raw)
		}
	}
	return encode(list)
}

// DeleteItem deletes an item, and with it the message that it belongs to, as
// [Service.DeleteMessage] does. Scope: conversations.
func (s *Service) DeleteItem(ctx context.Context, v *models.Viewer, conversationID, id string) (*models.DeleteConversationItemPayload, error) {
	if _, err := s.Item(ctx, v, conversationID, id); err != nil {
		return nil, err
	}
	done, err := s.DeleteMessage(ctx, v, messageID(id))
	if err != nil {
		return nil, fmt.Errorf("delete item: %w", itemError(err, id))
	}
	return &models.DeleteConversationItemPayload{Conversation: done.Conversation}, nil
}

// BranchItems are all items of the active branch of one of the viewer's
// conversations, the oldest first, as one array. Scope: conversations.
func (s *Service) BranchItems(ctx context.Context, v *models.Viewer, id string) (models.JSON, error) {
	c, err := s.Conversation(ctx, v, id)
	if err != nil {
		return nil, err
	}
	rows, err := s.branchOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return joined(rows), nil
}

func (s *Service) branchOf(ctx context.Context, c *models.Conversation) ([]*models.ConversationMessage, error) {
	if c.LeafID == nil {
		return nil, nil
	}
	return branch(ctx, s.db.Read(), &models.ConversationMessage{ID: *c.LeafID})
}
