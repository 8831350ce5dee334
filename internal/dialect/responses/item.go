package responses

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

const (
	idLength  = 26 // of what follows the prefix of the product's ids
	reference = "item_reference"
)

// ItemID is the id of an item of a response: the kind's prefix, the response's
// own id, and the item's number, so that an item is found by its id alone. side
// is 'i' for input and 'o' for output.
func ItemID(prefix, responseID string, side byte, n int) string {
	return fmt.Sprintf("%s%s%c%04x", prefix, strings.TrimPrefix(responseID, models.ResponsePrefix), side, n)
}

// Owner is the id of the response that an item belongs to, empty when the item's
// id is none that the product gives.
func Owner(itemID string) string {
	_, rest, ok := strings.Cut(itemID, "_")
	if !ok || len(rest) <= idLength {
		return ""
	}
	return models.ResponsePrefix + rest[:idLength]
}

// References are the ids of the stored items that a request refers to, each once.
func References(in *models.CreateResponseInput) []string {
	var ids []string
	seen := map[string]bool{}
	gjson.ParseBytes(in.Input).ForEach(func(_, item gjson.Result) bool {
		if id := item.Get("id").Str; id != "" && refers(item) && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
		return len(ids) < models.MaxMessages
	})
	return ids
}

// refers says whether an item stands for a stored one. Its type may be absent.
func refers(item gjson.Result) bool {
	kind := item.Get("type")
	return kind.Str == reference || item.IsObject() && kind.Type == gjson.Null && item.Get("id").Exists() && !item.Get("role").Exists()
}

// own reads the request's own input, and gives it as it is stored: references
// resolved, each item with its type and id, contents as parts.
func (t *translator) own(v dialect.Value, id string) models.JSON {
	items := models.JSON("[")
	add := func(raw []byte) {
		if len(items) > 1 {
			items = append(items, ',')
		}
		items = append(items, raw...)
	}
	if v.Is() {
		part := gjson.AppendJSONString([]byte(`{"type":"message","role":"user","content":`), t.Plain(v))
		t.say(models.RoleMessageUser, models.TextContent(v.Str))
		add(normal(append(part, '}'), id, 0))
		return append(items, ']')
	}
	for i, item := range t.List(v, models.MaxMessages) {
		if !t.Object(item) || t.Failed() {
			break
		}
		if refers(item.Result) {
			known, ok := t.found[item.Get("id").Str]
			if !ok {
				t.Fail(&models.Error{
					Kind: models.KindNotFound, Code: models.CodeResourceNotFound, Param: item.Get("id").Path,
					Message: fmt.Sprintf("Item with id '%s' not found. Items are kept for 30 days, unless 'store' is false.", dialect.Clip(item.Get("id").Str)),
				})
				break
			}
			t.item(dialect.Value{Result: gjson.ParseBytes(known), Path: item.Path})
			add(known)
			continue
		}
		t.item(item)
		add(normal([]byte(item.Raw), id, i))
	}
	t.flush()
	return append(items, ']')
}

// normal gives an item the members that stored items have.
func normal(item []byte, responseID string, n int) []byte {
	v := gjson.ParseBytes(item)
	put := func(key string, value any) {
		if gjson.GetBytes(item, key).Type == gjson.Null {
			if b, err := sjson.SetBytes(item, key, value); err == nil {
				item = b
			}
		}
	}
	kind := v.Get("type").Str
	if kind == "" {
		kind = "message"
	}
	prefix := map[string]string{"message": models.MessagePrefix, "function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}[kind]
	put("type", kind)
	put("id", ItemID(prefix, responseID, 'i', n))
	if kind != "reasoning" {
		put("status", "completed")
	}
	if content := v.Get("content"); kind == "message" && content.Type == gjson.String {
		part := `[{"type":"input_text","text":` + content.Raw + `}]`
		if v.Get("role").Str == "assistant" {
			part = `[{"type":"output_text","text":` + content.Raw + `,"annotations":[],"logprobs":[]}]`
		}
		if b, err := sjson.SetRawBytes(item, "content", []byte(part)); err == nil {
			item = b
		}
	}
	return item
}

func (t *translator) say(role models.MessageRole, c *models.MessageContent) {
	t.flush()
	t.out = append(t.out, models.ChatMessage{Role: role, Content: c})
}

// flush says what tool results held beside text, behind the last of them.
func (t *translator) flush() {
	if len(t.rest) == 0 {
		return
	}
	parts := t.rest
	t.rest = nil
	t.out = append(t.out, models.ChatMessage{Role: models.RoleMessageUser, Content: &models.MessageContent{Parts: parts}})
}

// item translates one item.
func (t *translator) item(v dialect.Value) {
	switch kind := v.Kind(); {
	case kind == "message", kind == "" && v.Get("role").Given() && !v.Get("type").Given():
		t.message(v)
	case kind == "function_call":
		t.call(v)
	case kind == "function_call_output":
		t.output(v)
	case kind == "reasoning": // means something to the model that wrote it alone
	case kind == "":
		t.Fail(models.Missing(v.Get("type").Path))
	default:
		t.Unsupported(v.Get("type").Path, "'%s' must be one of message, function_call, function_call_output, reasoning, item_reference; got '%s'.", v.Get("type").Path, dialect.Clip(kind))
	}
}

func (t *translator) message(v dialect.Value) {
	role := models.MessageRole(t.Text(v, "role"))
	content := v.Get("content")
	if !content.Given() {
		t.Fail(models.Missing(content.Path))
		return
	}
	switch role {
	case models.RoleMessageUser, models.RoleMessageSystem, models.RoleMessageDeveloper, models.RoleMessageAssistant:
	case models.RoleMessageTool, models.RoleMessageFunction:
		fallthrough
	default:
		t.Fail(models.Invalid(v.Get("role").Path, "'%s' must be one of user, assistant, system, developer; got '%s'.", v.Get("role").Path, dialect.Clip(string(role))))
		return
	}
	if content.Is() {
		t.say(role, models.TextContent(t.Plain(content)))
		return
	}
	parts := t.parts(content, role)
	if len(parts) == 0 && !t.Failed() {
		if role == models.RoleMessageAssistant { // an answer without a text
			return
		}
		t.Fail(models.Invalid(content.Path, "'%s' must have at least one part.", content.Path))
		return
	}
	plain := len(parts) == 1 || role != models.RoleMessageUser
	var text strings.Builder
	for _, p := range parts {
		if plain = plain && p.Text != nil; plain {
			text.WriteString(*p.Text)
		}
	}
	if plain {
		t.say(role, models.TextContent(text.String()))
		return
	}
	t.say(role, &models.MessageContent{Parts: parts})
}

func (t *translator) parts(content dialect.Value, role models.MessageRole) []models.ContentPart {
	list := t.List(content, models.MaxContentParts)
	parts := make([]models.ContentPart, 0, len(list))
	for _, p := range list {
		if !t.Object(p) {
			return nil
		}
		kind := p.Kind()
		if text := kind == "input_text" || kind == "output_text" || kind == "text" || kind == "refusal"; !text && role != models.RoleMessageUser {
			t.Fail(models.Invalid(p.Get("type").Path, "'%s' must be input_text, or output_text or refusal of an assistant; got '%s'.", p.Get("type").Path, dialect.Clip(kind)))
			return nil
		}
		switch kind {
		case "input_text", "output_text", "text":
			s := t.Text(p, "text")
			parts = append(parts, models.ContentPart{Type: "text", Text: &s})
		case "refusal":
			s := t.Text(p, "refusal")
			parts = append(parts, models.ContentPart{Type: "text", Text: &s})
		case "input_image":
			image := &models.ImageURL{Detail: t.Optional(p, "detail"), FileID: t.Optional(p, "file_id"), Path: p.Get("file_id").Path}
			if image.FileID == nil {
				image.URL = t.Name(p, "image_url")
			}
			parts = append(parts, models.ContentPart{Type: "image_url", ImageURL: image})
		case "input_file":
			parts = append(parts, t.file(p))
		case "input_audio":
			audio := p.Get("input_audio")
			parts = append(parts, models.ContentPart{Type: kind, InputAudio: &models.InputAudio{Data: t.Name(audio, "data"), Format: t.Name(audio, "format")}})
		case "":
			t.Fail(models.Missing(p.Get("type").Path))
		default:
			t.Unsupported(p.Get("type").Path, "'%s' must be one of input_text, input_image, input_file, input_audio, output_text, refusal; got '%s'.", p.Get("type").Path, dialect.Clip(kind))
		}
	}
	return parts
}

func (t *translator) file(p dialect.Value) models.ContentPart {
	if p.Get("file_url").Given() {
		t.Unsupported(p.Get("file_url").Path, "Files by 'file_url' are not supported; send 'file_data'.")
	}
	f := &models.FilePart{FileID: t.Optional(p, "file_id"), FileData: t.Optional(p, "file_data"), Filename: t.Optional(p, "filename"), Path: p.Get("file_id").Path}
	if f.FileID == nil && f.FileData == nil {
		t.Fail(models.Missing(p.Get("file_data").Path))
	}
	return models.ContentPart{Type: "file", File: f}
}

// call adds a call to the assistant's message before it, or begins one.
func (t *translator) call(v dialect.Value) {
	id, name, kind := t.Name(v, "call_id"), t.FunctionName(v, "name"), "function"
	arguments := t.Text(v, "arguments")
	t.calls[id] = true
	last := len(t.out) - 1
	if last < t.base || last < 0 || t.out[last].Role != models.RoleMessageAssistant || len(t.rest) > 0 {
		t.say(models.RoleMessageAssistant, nil)
		last = len(t.out) - 1
	}
	t.out[last].ToolCalls = append(t.out[last].ToolCalls, models.ToolCall{
		ID: &id, Type: &kind, Function: &models.FunctionCall{Name: &name, Arguments: &arguments},
	})
}

// output makes a tool's message. Upstreams take only text in it: what else the
// tool gave goes into a user's message behind the results.
func (t *translator) output(v dialect.Value) {
	id, output := t.Name(v, "call_id"), v.Get("output")
	if !t.calls[id] {
		t.Fail(models.Invalid(v.Get("call_id").Path, "No tool call found for the function call output with call_id '%s'.", dialect.Clip(id)))
	}
	text := ""
	switch {
	case !output.Given():
		t.Fail(models.Missing(output.Path))
	case output.Is():
		text = t.Plain(output)
	default:
		of := fmt.Sprintf("From the output of the function call %s:", id)
		for _, p := range t.parts(output, models.RoleMessageUser) {
			if p.Text != nil {
				if text != "" {
					text += "\n"
				}
				text += *p.Text
				continue
			}
			if of != "" {
				label := of
				t.rest = append(t.rest, models.ContentPart{Type: "text", Text: &label})
				of = ""
			}
			t.rest = append(t.rest, p)
		}
	}
	t.out = append(t.out, models.ChatMessage{Role: models.RoleMessageTool, ToolCallID: &id, Content: models.TextContent(text)})
}
