package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/models"
)

// mentionsFiles says whether a request may refer to a file: whether the text has
// the member's name, be it with an escaped letter in it. It is a mere scan.
func mentionsFiles(text []byte) bool {
	return bytes.Contains(text, []byte("file_id")) || bytes.Contains(text, []byte(`\u005`)) || bytes.Contains(text, []byte(`\u006`))
}

// messageFiles puts the files that a request in Anthropic's language refers to in
// the place of their ids.
func (s *Service) messageFiles(ctx context.Context, v *models.Viewer, in *models.CreateMessageInput) error {
	if !mentionsFiles(in.Messages) {
		return nil
	}
	if err := v.Require(models.ScopeChat); err != nil {
		return err
	}
	e := &rewrite{text: in.Messages}
	e.files = func() *attachments {
		route, err := s.channels.Plan(v, in.Model)
		if err != nil {
			route = nil // translating finds the mistakes in their order
		}
		return s.attachments(ctx, v, route)
	}
	e.each(gjson.ParseBytes(in.Messages), "messages", func(turn gjson.Result, at string) {
		e.each(turn.Get("content"), at+".content", e.block)
	})
	text, err := e.done()
	if err != nil || text == nil {
		return err
	}
	in.Messages, in.Attached = text, e.attached
	in.Raw, err = within(in.Raw, "messages", text)
	return err
}

// responseFiles is messageFiles for a response that its upstream makes alone.
func (s *Service) responseFiles(ctx context.Context, v *models.Viewer, in *models.CreateResponseInput) error {
	if !mentionsFiles(in.Input) && !mentionsFiles(in.Tools) {
		return nil
	}
	e := &rewrite{text: in.Input}
	e.files = func() *attachments {
		route, err := s.channels.Plan(v, in.Model)
		if err != nil {
			route = nil
		}
		return s.attachments(ctx, v, route)
	}
	e.each(gjson.ParseBytes(in.Input), "input", func(item gjson.Result, at string) {
		for _, member := range []string{"content", "output"} {
			if inner := item.Get(member); inner.IsObject() { // a screenshot
				e.item(inner, at+"."+member)
			} else {
				e.each(inner, at+"."+member, e.item)
			}
		}
	})
	e.each(gjson.ParseBytes(in.Tools), "tools", func(tool gjson.Result, at string) {
		if tool.Get("container.file_ids.#").Int() > 0 {
			e.fail(unsupportedFile(at + ".container.file_ids"))
		}
	})
	text, err := e.done()
	if err != nil || text == nil {
		return err
	}
	in.Input, in.Attached = text, e.attached
	in.Raw, err = within(in.Raw, "input", text)
	return err
}

func within(raw []byte, member string, text []byte) ([]byte, error) {
	if raw == nil {
		return nil, nil
	}
	raw, err := sjson.SetRawBytes(raw, member, text)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", member, err)
	}
	return raw, nil
}

func unsupportedFile(at string) error {
	return &models.Error{
		Kind: models.KindInvalid, Code: models.CodeUnsupportedParameter, Param: at,
		Message: fmt.Sprintf("Files by id are not supported in '%s'.", at),
	}
}

// rewrite replaces parts of a JSON text that refer to files.
type rewrite struct {
	text     []byte
	files    func() *attachments // made at the first file
	held     *attachments
	out      bytes.Buffer
	end      int // of what is written to out
	attached int
	err      error
}

func (e *rewrite) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// each calls fn for the entries of an array, until something fails.
func (e *rewrite) each(list gjson.Result, at string, fn func(entry gjson.Result, at string)) {
	if !list.IsArray() {
		return
	}
	i := 0
	list.ForEach(func(_, entry gjson.Result) bool {
		fn(entry, fmt.Sprintf("%s[%d]", at, i))
		i++
		return e.err == nil
	})
}

// get loads a file for a part of the request.
func (e *rewrite) get(id, at string, image bool) *attachment {
	if e.held == nil {
		e.held = e.files()
	}
	found, err := e.held.get(id, at, image)
	if err != nil {
		e.fail(err)
		return nil
	}
	e.attached += len(found.data)
	return found
}

// put writes a part in the place of another, whose other members stay.
func (e *rewrite) put(was gjson.Result, drop []string, now map[string]any) {
	part := []byte(was.Raw)
	var err error
	for _, name := range drop {
		if part, err = sjson.DeleteBytes(part, name); err != nil {
			e.fail(fmt.Errorf("write file part: %w", err))
			return
		}
	}
	text, err := json.Marshal(now)
	if err != nil {
		e.fail(fmt.Errorf("write file part: %w", err))
		return
	}
	gjson.ParseBytes(part).ForEach(func(key, value gjson.Result) bool {
		if _, set := now[key.Str]; !set {
			text, err = sjson.SetRawBytes(text, gjson.Escape(key.Str), []byte(value.Raw))
		}
		return err == nil
	})
	if err != nil || was.Index < e.end {
		e.fail(fmt.Errorf("write file part: %w", err))
		return
	}
	e.out.Write(e.text[e.end:was.Index])
	e.out.Write(text)
	e.end = was.Index + len(was.Raw)
}

// done is the text with all changes; nil when there is none.
func (e *rewrite) done() ([]byte, error) {
	if e.err != nil || e.end == 0 {
		return nil, e.err
	}
	e.out.Write(e.text[e.end:])
	return e.out.Bytes(), nil
}

// block replaces a block of Anthropic's language, and those in a tool's result.
func (e *rewrite) block(b gjson.Result, at string) {
	kind, source := b.Get("type").Str, b.Get("source")
	switch {
	case kind == "tool_result":
		e.each(b.Get("content"), at+".content", e.block)
		return
	case kind == "container_upload":
		e.fail(unsupportedFile(at + ".file_id"))
		return
	case source.Get("type").Str != "file" || kind != "image" && kind != "document":
		return
	}
	id := source.Get("file_id").Str
	if id == "" {
		e.fail(models.Missing(at + ".source.file_id"))
		return
	}
	found := e.get(id, at+".source.file_id", kind == "image")
	if found == nil {
		return
	}
	switch {
	case found.data == "":
		e.put(b, []string{"source", "title", "context", "citations"}, map[string]any{"type": "text", "text": found.text})
	case audioFormat(found.kind) != "":
		e.fail(models.Invalid(at+".source.file_id", "The file '%s' is of the type %s, which cannot be given to this model.", id, found.kind))
	default:
		kind = "document"
		if found.kind != typePDF {
			kind = "image"
		}
		e.put(b, nil, map[string]any{"type": kind, "source": map[string]any{"type": "base64", "media_type": found.kind, "data": found.data}})
	}
}

// item replaces a part in the language of responses.
func (e *rewrite) item(p gjson.Result, at string) {
	id, kind := p.Get("file_id"), p.Get("type").Str
	if id.Type != gjson.String || id.Str == "" || kind == "output_text" || kind == "refusal" {
		return
	}
	at += ".file_id"
	if kind != "input_image" && kind != "input_file" {
		e.fail(unsupportedFile(at))
		return
	}
	found := e.get(id.Str, at, kind == "input_image")
	if found == nil {
		return
	}
	switch drop := []string{"file_id", "filename", "file_data"}; {
	case found.data == "":
		e.put(p, append(drop, "detail"), map[string]any{"type": "input_text", "text": found.text})
	case audioFormat(found.kind) != "":
		e.fail(models.Invalid(at, "The file '%s' is of the type %s, which cannot be given to this model.", id.Str, found.kind))
	case found.kind == typePDF:
		e.put(p, drop, map[string]any{"type": "input_file", "filename": found.name, "file_data": found.url()})
	default:
		e.put(p, drop, map[string]any{"type": "input_image", "image_url": found.url()})
	}
}
