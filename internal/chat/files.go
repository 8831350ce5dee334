package chat

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/files"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// Limits of the files that one request refers to.
const (
	maxAttachments = 50
	maxAttached    = 50 << 20 // bytes of all of them: OpenAI's limit
	maxImage       = 20 << 20 // bytes
	maxDocument    = 32 << 20 // bytes: Anthropic's limit of a request
)

const (
	typePDF     = "application/pdf"
	familyImage = "image/"
)

// attachments are the files that a request refers to, as its upstream gets them:
// no upstream knows the ids of the product, and no client may reach what an
// upstream has stored for others.
type attachments struct {
	s    *Service
	ctx  context.Context //nolint:containedctx // for as long as the request is admitted
	v    *models.Viewer
	sees bool // the model takes images
	pdf  bool // all upstreams of the model take PDF files

	known map[string]*attachment
	size  int64 // of the data
	text  int   // bytes of text that was taken out
}

// attachment is a file as a model gets it: Data in base64 with its Type, or Text.
type attachment struct {
	name string
	kind string // media type
	data string
	text string
}

func (a *attachment) url() string { return "data:" + a.kind + ";base64," + a.data }

func (s *Service) attachments(ctx context.Context, v *models.Viewer, route *channels.Route) *attachments {
	a := &attachments{s: s, ctx: ctx, v: v, sees: true, known: map[string]*attachment{}}
	if route == nil {
		return a
	}
	// A model that nobody has described may be able to do anything.
	if can := route.Model.Capabilities; len(can) > 0 {
		a.sees = slices.Contains(can, "vision")
	}
	a.pdf = a.sees && route.AllServe(func(p providers.Provider) bool {
		r, ok := p.(providers.DocumentReader)
		return ok && r.ReadsDocuments()
	})
	return a
}

// get loads a file of the viewer's by its id, which stands at a path of the
// request. image says that it must be one.
func (a *attachments) get(id, at string, image bool) (*attachment, error) {
	found, ok := a.known[id]
	if !ok {
		var err error
		if found, err = a.load(id); err != nil {
			if e := new(models.Error); asInput(err, &e) {
				named := *e
				named.Param = at
				return nil, &named
			}
			return nil, err
		}
		a.known[id] = found
	}
	if image && !strings.HasPrefix(found.kind, familyImage) {
		return nil, models.Invalid(at, "The file '%s' is of the type %s, not an image.", id, found.kind)
	}
	return found, nil
}

// asInput finds an error that is about the file, and not about us.
func asInput(err error, e **models.Error) bool {
	known, ok := models.AsError(err)
	*e = known
	return ok && (known.Kind == models.KindInvalid || known.Kind == models.KindNotFound)
}

func (a *attachments) load(id string) (*attachment, error) {
	if a.s.files == nil {
		return nil, models.NotFound("file", id)
	}
	if len(a.known) == maxAttachments {
		return nil, models.Invalid("", "A request can refer to at most %d files.", maxAttachments)
	}
	f, err := a.s.files.File(a.ctx, a.v, id)
	if err != nil {
		return nil, err //nolint:wrapcheck // its error is the client's
	}
	most := int64(maxDocument)
	if strings.HasPrefix(f.ContentType, familyImage) {
		most = maxImage
		if err := a.image(f); err != nil {
			return nil, err
		}
	}
	if a.size += f.Bytes; a.size > maxAttached {
		return nil, models.Invalid("", "The files that a request refers to can have at most %d bytes together.", maxAttached)
	}
	data, err := a.s.files.Read(a.ctx, f, most)
	if err != nil {
		return nil, err //nolint:wrapcheck // its error is the client's, or named
	}
	out := &attachment{name: f.Filename, kind: f.ContentType}
	if most == maxImage || a.pdf && f.ContentType == typePDF || audioFormat(f.ContentType) != "" {
		out.data = base64.StdEncoding.EncodeToString(data)
		return out, nil
	}
	text, err := a.s.files.Text(a.ctx, f, data, files.MaxText-a.text)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	a.text += len(text)
	out.text = fmt.Sprintf("<file name=%q>\n%s\n</file>", f.Filename, text)
	return out, nil
}

func (a *attachments) image(f *models.File) error {
	switch f.ContentType {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
	default:
		return models.Invalid("", "The file '%s' is of the type %s; images must be PNG, JPEG, GIF or WebP.", f.ID, f.ContentType)
	}
	if !a.sees {
		return models.Invalid("", "The file '%s' is an image, and this model takes none.", f.ID)
	}
	return nil
}

// audioFormat is how chat completions name a recording's format; empty: it is none.
func audioFormat(contentType string) string {
	switch contentType {
	case "audio/wav", "audio/x-wav":
		return "wav"
	case "audio/mpeg":
		return "mp3"
	}
	return ""
}

// fileID is the id of the file that a part refers to, and its path below the
// part; empty: it refers to none.
func fileID(p *models.ContentPart) (id, at string, image bool) {
	switch {
	case p.File != nil && p.File.FileID != nil && *p.File.FileID != "":
		return *p.File.FileID, ".file.file_id", false
	case p.ImageURL == nil:
	case p.ImageURL.FileID != nil && *p.ImageURL.FileID != "":
		return *p.ImageURL.FileID, ".image_url.file_id", true
	case strings.HasPrefix(p.ImageURL.URL, models.FilePrefix):
		return p.ImageURL.URL, ".image_url.url", true
	}
	return "", "", false
}

// resolveFiles puts the files that messages refer to in the place of their ids.
// A request without such a part is left as it is.
func (s *Service) resolveFiles(ctx context.Context, v *models.Viewer, in *models.ChatCompletionInput, route *channels.Route) error {
	var a *attachments
	var edits []edit
	for i := range in.Messages {
		c := in.Messages[i].Content
		if c == nil {
			continue
		}
		for k := range c.Parts {
			id, below, image := fileID(&c.Parts[k])
			if id == "" {
				continue
			}
			if a == nil {
				a = s.attachments(ctx, v, route)
				in.Messages = slices.Clone(in.Messages)
			}
			at := fmt.Sprintf("messages[%d].content[%d]%s", i, k, below)
			if origin := origin(&c.Parts[k]); origin != "" {
				at = origin
			}
			found, err := a.get(id, at, image)
			if err != nil {
				return err
			}
			if in.Messages[i].Content == c {
				in.Messages[i].Content = &models.MessageContent{Parts: slices.Clone(c.Parts)}
			}
			part := found.part(&c.Parts[k])
			in.Messages[i].Content.Parts[k] = part
			if in.Raw != nil {
				edits = append(edits, edit{path: fmt.Sprintf("messages.%d.content.%d", i, k), part: part})
			}
			in.Attached += len(found.data) // the same file counts each time it is sent
		}
	}
	if len(edits) == 0 {
		return nil
	}
	raw, err := splice(in.Raw, edits)
	if err != nil {
		return err
	}
	in.Raw = raw
	return nil
}

// origin is the path of an id in a request that was translated.
func origin(p *models.ContentPart) string {
	if p.File != nil {
		return p.File.Path
	}
	return p.ImageURL.Path
}

// part is the attachment as a part of a chat message.
func (a *attachment) part(was *models.ContentPart) models.ContentPart {
	switch {
	case a.data == "":
		text := a.text
		return models.ContentPart{Type: "text", Text: &text}
	case strings.HasPrefix(a.kind, familyImage):
		image := &models.ImageURL{URL: a.url()}
		if was.ImageURL != nil {
			image.Detail = was.ImageURL.Detail
		}
		return models.ContentPart{Type: "image_url", ImageURL: image}
	case audioFormat(a.kind) != "":
		return models.ContentPart{Type: "input_audio", InputAudio: &models.InputAudio{Data: a.data, Format: audioFormat(a.kind)}}
	}
	url, name := a.url(), a.name
	return models.ContentPart{Type: "file", File: &models.FilePart{FileData: &url, Filename: &name}}
}

// edit puts a part into the place of another.
type edit struct {
	path string // gjson's
	part models.ContentPart
}

// splice makes all edits, which come in the order of the text, in one copy of it.
// What else a part had, such as a cache mark, stays.
func splice(raw []byte, edits []edit) ([]byte, error) {
	var out bytes.Buffer
	end := 0
	for _, e := range edits {
		was := gjson.GetBytes(raw, e.path)
		if !was.IsObject() || was.Index < end || was.Index == 0 {
			return nil, models.Invalid(e.path, "The part that refers to a file cannot be found in the request's text.")
		}
		part, err := mergePart(was, e.part)
		if err != nil {
			return nil, fmt.Errorf("write file part: %w", err)
		}
		out.Write(raw[end:was.Index])
		out.Write(part)
		end = was.Index + len(was.Raw)
	}
	out.Write(raw[end:])
	return out.Bytes(), nil
}

// mergePart writes a part, with the members of the one before that it does not replace.
func mergePart(was gjson.Result, now models.ContentPart) ([]byte, error) {
	part, err := json.Marshal(now)
	if err != nil {
		return nil, err //nolint:wrapcheck // by the caller
	}
	was.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "type", "text", "image_url", "input_audio", "file", "refusal", "file_id":
		default:
			part, err = sjson.SetRawBytes(part, gjson.Escape(key.Str), []byte(value.Raw))
		}
		return err == nil
	})
	return part, err
}
