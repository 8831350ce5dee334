package anthropic

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/models"
)

// The types of blocks.
const (
	blockText     = "text"
	blockImage    = "image"
	blockDocument = "document"
	blockUse      = "tool_use"
	blockResult   = "tool_result"
	blockThinking = "thinking"
	blockRedacted = "redacted_thinking"
)

// block is a piece of a turn: the members that its type has are set.
type block struct {
	Type         string          `json:"type"`
	Text         string          `json:"text,omitempty"`
	Source       *source         `json:"source,omitempty"`
	Title        string          `json:"title,omitempty"`
	ID           string          `json:"id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        json.RawMessage `json:"input,omitempty"`
	ToolUseID    string          `json:"tool_use_id,omitempty"`
	Content      []block         `json:"content,omitempty"`
	Thinking     json.RawMessage `json:"thinking,omitempty"`
	Signature    json.RawMessage `json:"signature,omitempty"`
	Data         json.RawMessage `json:"data,omitempty"`
	CacheControl json.RawMessage `json:"cache_control,omitempty"`
}

type source struct {
	Type      string `json:"type"` // base64, text or url
	MediaType string `json:"media_type,omitempty"`
	Data      string `json:"data,omitempty"`
	URL       string `json:"url,omitempty"`
}

// rank is the block's place in its turn: results before everything else.
func (b block) rank() int {
	if b.Type == blockResult {
		return 0
	}
	return 1
}

func (b block) thinks() bool { return b.Type == blockThinking || b.Type == blockRedacted }

// content translates a message's content. Empty texts are left out: Anthropic
// refuses them.
func (t *translation) content(at string, i int, m *models.ChatMessage) ([]block, error) {
	if m.Content == nil {
		return nil, nil
	}
	raw := t.rawMessage(i)
	parts := raw.Get("content").Array()
	var blocks []block
	if m.Content.Text != nil {
		if strings.TrimSpace(*m.Content.Text) != "" {
			blocks = append(blocks, block{Type: blockText, Text: *m.Content.Text})
		}
		t.mark(blocks, raw)
		return blocks, nil
	}
	for k := range m.Content.Parts {
		b, err := part(indexed(at+".content", k), &m.Content.Parts[k])
		if err != nil {
			return nil, err
		}
		if b.Type == blockText && strings.TrimSpace(b.Text) == "" {
			continue
		}
		if len(parts) == len(m.Content.Parts) {
			b.CacheControl = rawOf(parts[k].Get("cache_control"))
		}
		blocks = append(blocks, b)
	}
	t.mark(blocks, raw)
	return blocks, nil
}

// textOnly translates content in which Anthropic takes nothing but text.
func (t *translation) textOnly(at string, i int, m *models.ChatMessage) ([]block, error) {
	blocks, err := t.content(at, i, m)
	if err != nil {
		return nil, err
	}
	if k := slices.IndexFunc(blocks, func(b block) bool { return b.Type != blockText }); k >= 0 {
		return nil, invalid(at+".content", "must be text in a message of the role %s for this model.", m.Role)
	}
	return blocks, nil
}

// mark puts the cache_control of a whole message onto its last block.
func (t *translation) mark(blocks []block, message gjson.Result) {
	if !message.Exists() || len(blocks) == 0 {
		return
	}
	if c := rawOf(message.Get("cache_control")); c != nil {
		blocks[len(blocks)-1].CacheControl = c
	}
}

// part translates one part of a message.
func part(at string, p *models.ContentPart) (block, error) {
	switch {
	case p.Text != nil:
		return block{Type: blockText, Text: *p.Text}, nil
	case p.Refusal != nil:
		return block{Type: blockText, Text: *p.Refusal}, nil
	case p.ImageURL != nil:
		return image(at+".image_url.url", p.ImageURL.URL)
	case p.File != nil:
		return document(at+".file", p.File)
	case p.InputAudio != nil:
		return block{}, invalid(at+".type", "must not be input_audio: this model does not hear.")
	}
	return block{}, invalid(at+".type", "is not one that this model takes.")
}

// image translates an image. One on the web is fetched by Anthropic, not here.
func image(at, address string) (block, error) {
	scheme, _, _ := strings.Cut(address, ":")
	switch strings.ToLower(scheme) {
	case "http", "https":
		return block{Type: blockImage, Source: &source{Type: "url", URL: address}}, nil
	case "data":
	default:
		return block{}, invalid(at, "must be an https or a data URL.")
	}
	kind, data, ok := dataURL(address)
	if !ok {
		return block{}, invalid(at, "must be a data URL of the form data:image/png;base64,...")
	}
	switch kind {
	case "image/jpg":
		kind = "image/jpeg"
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return block{}, invalid(at, "must be an image of the type jpeg, png, gif or webp.")
	}
	return block{Type: blockImage, Source: &source{Type: "base64", MediaType: kind, Data: data}}, nil
}

// document translates a file: a PDF, or a text.
func document(at string, f *models.FilePart) (block, error) {
	if f.FileID != nil {
		return block{}, invalid(at+".file_id", "is not supported by this model's upstream: send the content as 'file_data'.")
	}
	if f.FileData == nil || *f.FileData == "" {
		return block{}, invalid(at+".file_data", "is required.")
	}
	b := block{Type: blockDocument}
	if f.Filename != nil {
		b.Title = *f.Filename
	}
	kind, data, ok := dataURL(*f.FileData)
	if !ok {
		if strings.HasPrefix(*f.FileData, "data:") {
			return block{}, invalid(at+".file_data", "must be base64, or a data URL of the form data:application/pdf;base64,...")
		}
		kind, data = "application/pdf", *f.FileData
		if name := strings.ToLower(b.Title); strings.HasSuffix(name, ".txt") || strings.HasSuffix(name, ".md") {
			kind = "text/plain"
		}
	}
	switch {
	case kind == "application/pdf":
		b.Source = &source{Type: "base64", MediaType: kind, Data: data}
	case strings.HasPrefix(kind, "text/"):
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil || !utf8.Valid(text) || len(text) == 0 {
			return block{}, invalid(at+".file_data", "must be UTF-8 text in base64.")
		}
		b.Source = &source{Type: blockText, MediaType: "text/plain", Data: string(text)}
	default:
		return block{}, invalid(at+".file_data", "must be a PDF or a text file for this model.")
	}
	return b, nil
}

// dataURL takes a base64 data URL apart.
// https://www.rfc-editor.org/rfc/rfc2397
func dataURL(address string) (mediaType, data string, ok bool) {
	head, data, found := strings.Cut(address, ",")
	if !found || len(head) < len("data:") || !strings.EqualFold(head[:len("data:")], "data:") || !strings.HasSuffix(strings.ToLower(head), ";base64") {
		return "", "", false
	}
	mediaType, _, _ = strings.Cut(head[len("data:"):], ";")
	return strings.ToLower(strings.TrimSpace(mediaType)), data, data != ""
}
