package gemini

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/coaidev/coai/models"
)

// parts translates what a message says. Empty texts are left out: Gemini
// refuses them.
func (t *translation) parts(c *models.MessageContent, at string) ([]*part, error) {
	if c == nil {
		return nil, nil
	}
	if c.Text != nil {
		if *c.Text == "" {
			return nil, nil
		}
		return []*part{{Text: *c.Text}}, nil
	}
	var list []*part
	for i := range c.Parts {
		p, err := t.part(&c.Parts[i], fmt.Sprintf("%s[%d]", at, i))
		if err != nil {
			return nil, err
		}
		if p != nil {
			list = append(list, p)
		}
	}
	return list, nil
}

func (t *translation) part(p *models.ContentPart, at string) (*part, error) {
	switch {
	case p.Text != nil:
		return textPart(*p.Text), nil
	case p.Refusal != nil:
		return textPart(*p.Refusal), nil
	case p.ImageURL != nil:
		return t.image(p.ImageURL, at+".image_url.url")
	case p.InputAudio != nil:
		return audio(p.InputAudio, at+".input_audio")
	case p.File != nil:
		return document(p.File, at+".file")
	}
	return nil, nil //nolint:nilnil // Validate lets no empty part through
}

func textPart(s string) *part {
	if s == "" {
		return nil
	}
	return &part{Text: s}
}

// image takes an image from its data URL, or notes that it is to be fetched.
// How closely the model looks is left to it: `detail` is a hint.
func (t *translation) image(image *models.ImageURL, at string) (*part, error) {
	if !isDataURL(image.URL) {
		p := &part{}
		t.files = append(t.files, file{url: image.URL, at: at, into: p})
		return p, nil
	}
	b, ok := dataURL(image.URL)
	if !ok || !strings.HasPrefix(b.MimeType, "image/") {
		return nil, invalid(at, "'"+at+"' must be an http or https URL, or a data URL of an image such as data:image/png;base64,...")
	}
	return &part{InlineData: b}, nil
}

// https://ai.google.dev/gemini-api/docs/audio#supported-formats, with the names
// that OpenAI's clients use.
func audio(a *models.InputAudio, at string) (*part, error) {
	switch a.Format {
	case "wav", "mp3", "aiff", "aac", "ogg", "flac":
	default:
		return nil, invalid(at+".format", "'"+at+".format' must be one of wav, mp3, aiff, aac, ogg, flac.")
	}
	data, ok := plainBase64(a.Data)
	if !ok {
		return nil, invalid(at+".data", "'"+at+".data' must be base64.")
	}
	return &part{InlineData: &blob{MimeType: "audio/" + a.Format, Data: data}}, nil
}

// document takes a file from its data URL, or a PDF from plain base64.
func document(f *models.FilePart, at string) (*part, error) {
	switch {
	case f.FileID != nil && *f.FileID != "":
		return nil, invalid(at+".file_id", "'"+at+".file_id' cannot be used with this model: send the file in 'file_data'.")
	case f.FileData == nil:
		return nil, invalid(at+".file_data", "'"+at+".file_data' is required with this model.")
	case isDataURL(*f.FileData):
		if b, ok := dataURL(*f.FileData); ok && b.MimeType != "" {
			return &part{InlineData: b}, nil
		}
	default:
		if data, ok := plainBase64(*f.FileData); ok {
			return &part{InlineData: &blob{MimeType: "application/pdf", Data: data}}, nil
		}
	}
	return nil, invalid(at+".file_data", "'"+at+".file_data' must be a data URL such as data:application/pdf;base64,..., or a PDF in base64.")
}

func isDataURL(s string) bool { return len(s) >= 5 && strings.EqualFold(s[:5], "data:") }

// dataURL takes a data URL apart. https://www.rfc-editor.org/rfc/rfc2397
func dataURL(s string) (*blob, bool) {
	head, data, found := strings.Cut(s[len("data:"):], ",")
	if !found {
		return nil, false
	}
	mediaType, parameters, _ := strings.Cut(head, ";")
	b := &blob{MimeType: strings.ToLower(strings.TrimSpace(mediaType))}
	if strings.HasSuffix(strings.ToLower(";"+parameters), ";base64") {
		b.Data, found = plainBase64(data)
		return b, found
	}
	text, err := url.PathUnescape(data)
	b.Data = base64.StdEncoding.EncodeToString([]byte(text))
	return b, err == nil && text != ""
}

// plainBase64 checks that text is base64, and gives it in the standard alphabet
// and without line breaks.
func plainBase64(text string) (string, bool) {
	odd := false
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
		case c == '-', c == '_', c == '\n', c == '\r', c == ' ':
			odd = true
		default:
			return "", false
		}
	}
	if odd {
		text = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "", " ", "").Replace(text)
	}
	return text, text != ""
}
