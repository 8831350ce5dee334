package conversations

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	exportSize = 50      // messages that are in memory at a time
	maxExport  = 8 << 20 // bytes of an export that is one text
)

// Export writes one of the viewer's conversations out, a few messages at a time.
// What is wrong is told before the first byte, but for a database that goes away.
// Scope: conversations.
func (s *Service) Export(ctx context.Context, v *models.Viewer, id string, format models.ExportFormat, w io.Writer) error {
	if err := format.Validate(); err != nil {
		return err
	}
	c, err := s.Conversation(ctx, v, id)
	if err != nil {
		return err
	}
	ids, err := s.exported(ctx, c, format)
	if err != nil {
		return err
	}
	out := exporter{w: w}
	out.begin(c, format)
	for chunk := range slices.Chunk(ids, exportSize) {
		var rows []*models.ConversationMessage
		err := s.db.Read().NewSelect().Model(&rows).Where("cm.id IN (?)", bun.List(chunk)).OrderExpr("cm.id").Scan(ctx)
		if err != nil {
			return fmt.Errorf("load messages: %w", err)
		}
		for _, m := range rows {
			out.message(m, format)
		}
		if out.err != nil {
			break
		}
	}
	out.end(format)
	return out.err
}

// exported are the ids of the messages that an export has.
func (s *Service) exported(ctx context.Context, c *models.Conversation, format models.ExportFormat) ([]string, error) {
	choice := choose{ids: []string{c.ID}, branch: models.BranchAll}
	if format == models.ExportMarkdown {
		choice.branch = models.BranchActive
	}
	query, args := choice.source()
	var ids []string
	if err := s.db.Read().NewRaw(query+" SELECT id FROM path ORDER BY id", args...).Scan(ctx, &ids); err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	return ids, nil
}

// ExportText is [Service.Export] as one text, of at most 8 MiB.
func (s *Service) ExportText(ctx context.Context, v *models.Viewer, id string, format models.ExportFormat) (*string, error) {
	b := new(strings.Builder)
	if err := s.Export(ctx, v, id, format, limited{b}); err != nil {
		return nil, err
	}
	text := b.String()
	return &text, nil
}

// limited refuses more than one text may have.
type limited struct{ *strings.Builder }

func (l limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxExport {
		return 0, models.Invalid("id", "The conversation has more than %d bytes. Export it over REST, which has no such limit.", maxExport)
	}
	return l.Builder.Write(p) //nolint:wrapcheck // never fails
}

// exporter writes until something fails.
type exporter struct {
	w    io.Writer
	some bool
	err  error
}

func (e *exporter) print(parts ...string) {
	for _, p := range parts {
		if e.err == nil && p != "" {
			_, e.err = io.WriteString(e.w, p)
		}
	}
}

func (e *exporter) json(v any) {
	if e.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = e.w.Write(b)
	}
	e.err = err
}

func (e *exporter) begin(c *models.Conversation, format models.ExportFormat) {
	if format == models.ExportJSON {
		e.print(`{"object":"conversation.export","conversation":`)
		e.json(c.View())
		e.print(`,"messages":[`)
		return
	}
	title := c.Title
	if title == "" {
		title = "Conversation"
	}
	e.print("# ", clean(title), "\n\n")
	if c.Model != nil {
		e.print("Model: `", *c.Model, "`  \n")
	}
	e.print("Begun: ", c.CreatedAt.Format("2006-01-02 15:04:05 MST"), "\n")
	if c.SystemPrompt != nil && *c.SystemPrompt != "" {
		e.print("\n## Instructions\n\n", *c.SystemPrompt, "\n")
	}
}

func (e *exporter) message(m *models.ConversationMessage, format models.ExportFormat) {
	if format == models.ExportJSON {
		if e.some {
			e.print(",")
		}
		e.some = true
		e.json(m.View())
		return
	}
	names := map[models.MessageRole]string{
		models.RoleMessageUser: "User", models.RoleMessageAssistant: "Assistant", models.RoleMessageTool: "Tool",
		models.RoleMessageSystem: "System", models.RoleMessageDeveloper: "Developer", models.RoleMessageFunction: "Function",
	}
	e.print("\n## ", names[m.Role])
	if m.Model != nil {
		e.print(" (", *m.Model, ")")
	}
	e.print("\n\n")
	if text := m.Text(); text != "" {
		e.print(text, "\n")
	}
	if r := m.Refusal(); r != nil {
		e.print(*r, "\n")
	}
	if content := m.Message().Content; content != nil {
		for _, p := range content.Parts {
			e.part(p)
		}
	}
	for _, call := range m.ToolCalls() {
		if call.Function == nil || call.Function.Name == nil {
			continue
		}
		arguments := ""
		if call.Function.Arguments != nil {
			arguments = *call.Function.Arguments
		}
		fence := fenceFor(arguments)
		e.print("\nCalls `", *call.Function.Name, "`:\n\n", fence, "json\n", arguments, "\n", fence, "\n")
	}
	if m.Status != models.MessageCompleted {
		e.print("\n*", strings.ReplaceAll(string(m.Status), "_", " "), "*\n")
	}
}

func (e *exporter) part(p models.ContentPart) {
	switch {
	case p.ImageURL != nil && strings.HasPrefix(p.ImageURL.URL, "data:"):
		e.print("\n*[image]*\n")
	case p.ImageURL != nil:
		e.print("\n![image](<", strings.NewReplacer("<", "%3C", ">", "%3E", "\n", "").Replace(p.ImageURL.URL), ">)\n")
	case p.InputAudio != nil:
		e.print("\n*[audio]*\n")
	case p.File != nil && p.File.Filename != nil:
		e.print("\n*[file ", clean(*p.File.Filename), "]*\n")
	case p.File != nil:
		e.print("\n*[file]*\n")
	}
}

// fenceFor is a fence that the text cannot end.
func fenceFor(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence
}

func (e *exporter) end(format models.ExportFormat) {
	if format == models.ExportJSON {
		e.print("]}")
	}
}
