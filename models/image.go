package models

import "unicode/utf8"

// Limits of a request for images: OpenAI's.
const (
	MaxImages         = 10
	maxImagePrompt    = 32_000 // characters
	maxPartialImages  = 3
	maxImageParameter = 64
)

// CreateImageInput is a request for images.
// https://platform.openai.com/docs/api-reference/images/create
type CreateImageInput struct {
	Model          string  `json:"model"`
	Prompt         string  `json:"prompt"`
	N              *int    `json:"n,omitempty"`
	Size           *string `json:"size,omitempty"`
	Quality        *string `json:"quality,omitempty"`
	Style          *string `json:"style,omitempty"`
	Background     *string `json:"background,omitempty"`
	OutputFormat   *string `json:"output_format,omitempty"`
	ResponseFormat *string `json:"response_format,omitempty"` // url or b64_json
	PartialImages  *int    `json:"partial_images,omitempty"`
	User           *string `json:"user,omitempty"`
	Stream         *bool   `json:"stream,omitempty"`

	Extra JSON   `json:"-"` // see [ChatCompletionInput]
	Raw   []byte `json:"-"` // see [ChatCompletionInput]
}

// Validate checks the input, and names the first mistake by its path.
func (in *CreateImageInput) Validate() error {
	if err := validModel(in.Model); err != nil {
		return err
	}
	if in.Prompt == "" {
		return Missing("prompt")
	}
	if n := utf8.RuneCountInString(in.Prompt); n > maxImagePrompt {
		return Invalid("prompt", "'prompt' must have at most %d characters; got %d.", maxImagePrompt, n)
	}
	if err := validNumbers(number[int]{"n", in.N, 1, MaxImages}, number[int]{"partial_images", in.PartialImages, 0, maxPartialImages}); err != nil {
		return err
	}
	for _, f := range []struct {
		param string
		v     *string
	}{
		{"size", in.Size}, {"quality", in.Quality}, {"style", in.Style},
		{"background", in.Background}, {"output_format", in.OutputFormat},
	} {
		if f.v != nil {
			if err := validName(f.param, *f.v, 1, maxImageParameter); err != nil {
				return err
			}
		}
	}
	if err := validChoice("response_format", in.ResponseFormat, "url, b64_json", "url", "b64_json"); err != nil {
		return err
	}
	return validObject("extra", in.Extra)
}

// Streams says whether the client asked for a stream.
func (in *CreateImageInput) Streams() bool { return in.Stream != nil && *in.Stream }

// ImageList is an answer with images.
type ImageList struct {
	Answer

	body *imageBody
}

type imageBody struct {
	Created int64   `json:"created"`
	Data    []Image `json:"data"`
}

// Image is an image, in base64 or by its URL.
type Image struct {
	B64JSON       *string `json:"b64_json"`
	URL           *string `json:"url"`
	RevisedPrompt *string `json:"revised_prompt"`
}

func (l *ImageList) decode() (*imageBody, error) { return decodeAnswer(&l.Answer, &l.body) }

// Created is when they were made, in Unix seconds.
func (l *ImageList) Created() (int64, error) {
	return read(l.decode, func(b *imageBody) int64 { return b.Created })
}

// Data are the images.
func (l *ImageList) Data() ([]Image, error) {
	return read(l.decode, func(b *imageBody) []Image { return b.Data })
}

// CreateImagePayload answers createImage.
type CreateImagePayload struct {
	Payload
	Images *ImageList
}
