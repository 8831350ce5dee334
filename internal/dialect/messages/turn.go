package messages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

const blockKinds = "text, image, document, search_result, tool_use, tool_result, thinking, redacted_thinking"

// turn translates one message; a user's may become several.
func (t *translator) turn(v dialect.Value) {
	if !t.Object(v) {
		return
	}
	role, content := t.Text(v, "role"), v.Get("content")
	if !content.Given() {
		t.Fail(models.Missing(content.Path))
		return
	}
	switch role {
	case "user":
		t.user(content)
	case "assistant":
		t.assistant(content)
	default:
		t.Fail(models.Invalid(v.Get("role").Path, "'%s' must be user or assistant; got '%s'. A system prompt goes into 'system'.", v.Get("role").Path, dialect.Clip(role)))
	}
}

// user translates a user's turn: first the tool results, which must follow the
// calls at once, then the images in them, as tools answer in text, then the rest.
func (t *translator) user(content dialect.Value) {
	if content.Is() {
		t.say(models.RoleMessageUser, models.TextContent(t.Plain(content)))
		return
	}
	blocks := t.List(content, models.MaxContentParts)
	if len(blocks) == 0 {
		t.Fail(models.Invalid(content.Path, "'%s' must have at least one block.", content.Path))
	}
	var parts []models.ContentPart
	for _, b := range blocks {
		if b.Kind() == "tool_result" {
			parts = append(parts, t.result(b)...)
		}
	}
	for _, b := range blocks {
		if b.Kind() != "tool_result" {
			parts = append(parts, t.part(b)...)
		}
	}
	if len(parts) > models.MaxContentParts {
		t.Fail(models.Invalid(content.Path, "'%s' must have at most %d blocks, those inside of others included.", content.Path, models.MaxContentParts))
	}
	switch {
	case len(parts) == 1 && parts[0].Text != nil:
		t.say(models.RoleMessageUser, models.TextContent(*parts[0].Text))
	case len(parts) > 0:
		t.say(models.RoleMessageUser, &models.MessageContent{Parts: parts})
	}
}

// result makes a tool's message of a result. Upstreams take only text in it:
// what else the tool gave is for the user's message that follows.
func (t *translator) result(b dialect.Value) (rest []models.ContentPart) {
	id := t.Name(b, "tool_use_id")
	var text strings.Builder
	if failed := t.Bool(b, "is_error"); failed != nil && *failed {
		text.WriteString("Error: ")
	}
	switch content := b.Get("content"); {
	case !content.Given():
	case content.Is():
		text.WriteString(t.Plain(content))
	default:
		for i, inner := range t.List(content, models.MaxContentParts) {
			if k := inner.Kind(); k == "tool_result" || k == "tool_use" {
				t.unknownBlock(inner, "'%s' in a tool result must be one of text, image, document, search_result; got '%s'.", k)
				return nil
			}
			for _, p := range t.part(inner) {
				if p.Text == nil {
					rest = append(rest, p)
					continue
				}
				if i > 0 {
					text.WriteByte('\n')
				}
				text.WriteString(*p.Text)
			}
		}
	}
	if len(rest) > 0 {
		of := fmt.Sprintf("From the result of the tool call %s:", id)
		rest = append([]models.ContentPart{{Type: "text", Text: &of}}, rest...)
	}
	at := len(t.out)
	if at >= 2 && t.out[at-1].Role == models.RoleMessageUser && t.out[at-2].Role == models.RoleMessageTool {
		at-- // the turn before had results too: all of them come before what was said
	}
	t.out = slices.Insert(t.out, at, models.ChatMessage{Role: models.RoleMessageTool, ToolCallID: &id, Content: models.TextContent(text.String())})
	return rest
}

// part translates a block of what a user says, or a tool.
func (t *translator) part(b dialect.Value) []models.ContentPart {
	if !t.Object(b) {
		return nil
	}
	switch kind := b.Kind(); kind {
	case "text":
		return text(t.Text(b, "text"))
	case "image":
		return t.image(b)
	case "document":
		return t.document(b)
	case "search_result":
		s := t.Text(b, "title") + "\n" + t.Text(b, "source")
		for _, inner := range t.List(b.Get("content"), models.MaxContentParts) {
			s += "\n" + t.Text(inner, "text")
		}
		return text(s)
	case "tool_use", "thinking", "redacted_thinking":
		t.Fail(models.Invalid(b.Path, "'%s': a user's turn has no %s block.", b.Path, kind))
	default:
		t.unknownBlock(b, "The type of '%s' must be one of "+blockKinds+"; got '%s'.", kind)
	}
	return nil
}

func text(s string) []models.ContentPart { return []models.ContentPart{{Type: "text", Text: &s}} }

func (t *translator) unknownBlock(b dialect.Value, format, kind string) {
	if !t.Object(b) {
		return
	}
	if kind == "" {
		t.Fail(models.Missing(b.Get("type").Path))
		return
	}
	t.Unsupported(b.Get("type").Path, format, b.Path, dialect.Clip(kind))
}

func (t *translator) image(b dialect.Value) []models.ContentPart {
	source := b.Get("source")
	if !source.Given() {
		t.Fail(models.Missing(source.Path))
		return nil
	}
	url := ""
	switch kind := source.Kind(); kind {
	case "base64":
		url = t.dataURL(source, "image/")
	case "url":
		url = t.Name(source, "url")
	default:
		t.Unsupported(source.Path, "'%s' must be of type base64 or url; got '%s'.", source.Path, dialect.Clip(kind))
	}
	return []models.ContentPart{{Type: "image_url", ImageURL: &models.ImageURL{URL: url}}}
}

// dataURL makes a URL of base64 data.
func (t *translator) dataURL(source dialect.Value, family string) string {
	media := t.Name(source, "media_type")
	if !strings.HasPrefix(media, family) || strings.ContainsAny(media, ";, \t\r\n") {
		at := source.Get("media_type").Path
		t.Fail(models.Invalid(at, "'%s' must begin with %s; got '%s'.", at, family, dialect.Clip(media)))
	}
	return "data:" + media + ";base64," + t.Name(source, "data")
}

func (t *translator) document(b dialect.Value) []models.ContentPart {
	source, title := b.Get("source"), t.Optional(b, "title")
	heading := ""
	if title != nil && *title != "" {
		heading = *title + "\n"
	}
	if about := t.Optional(b, "context"); about != nil && *about != "" {
		heading += *about + "\n"
	}
	switch kind := source.Kind(); kind {
	case "base64":
		data, name := t.dataURL(source, "application/pdf"), "document.pdf"
		if title != nil && *title != "" {
			name = *title
		}
		return []models.ContentPart{{Type: "file", File: &models.FilePart{FileData: &data, Filename: &name}}}
	case "text":
		return text(heading + t.Text(source, "data"))
	case "content":
		content := source.Get("content")
		if content.Is() {
			return text(heading + t.Plain(content))
		}
		var parts []models.ContentPart
		if heading != "" {
			parts = text(heading)
		}
		for _, inner := range t.List(content, models.MaxContentParts) {
			switch k := inner.Kind(); k {
			case "text", "image":
				parts = append(parts, t.part(inner)...)
			default:
				t.unknownBlock(inner, "'%s' in a document must be of type text or image; got '%s'.", k)
			}
		}
		return parts
	default:
		t.Unsupported(source.Path, "'%s' must be of type base64, text or content; got '%s'.", source.Path, dialect.Clip(kind))
	}
	return nil
}

// assistant translates a turn of the model's. Its thinking is dropped: its
// signatures are worth nothing elsewhere.
func (t *translator) assistant(content dialect.Value) {
	if content.Is() {
		t.say(models.RoleMessageAssistant, models.TextContent(t.Plain(content)))
		return
	}
	var said strings.Builder
	spoke := false
	m := models.ChatMessage{Role: models.RoleMessageAssistant}
	for _, b := range t.List(content, models.MaxContentParts) {
		switch kind := b.Kind(); kind {
		case "text":
			spoke = true
			said.WriteString(t.Text(b, "text"))
		case "tool_use":
			m.ToolCalls = append(m.ToolCalls, t.call(b))
		case "thinking", "redacted_thinking":
		default:
			t.unknownBlock(b, "The type of '%s' must be one of text, tool_use, thinking, redacted_thinking; got '%s'.", kind)
			return
		}
	}
	if spoke || len(m.ToolCalls) == 0 {
		m.Content = models.TextContent(said.String())
	}
	t.out = append(t.out, m)
}

func (t *translator) call(b dialect.Value) models.ToolCall {
	id, name, kind := t.Name(b, "id"), t.FunctionName(b, "name"), "function"
	arguments := "{}"
	if input := b.Get("input"); input.Given() && t.Object(input) {
		arguments = string(input.Bytes())
	}
	return models.ToolCall{ID: &id, Type: &kind, Function: &models.FunctionCall{Name: &name, Arguments: &arguments}}
}
