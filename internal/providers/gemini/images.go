package gemini

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// imageCall is OpenAI's request for an image, as far as Gemini has words for it.
// https://platform.openai.com/docs/api-reference/images/create
type imageCall struct {
	prompt string
	ratio  string // such as 3:2; empty: as the model likes
	url    bool   // a data URL is wanted in the place of base64
}

// imageList is OpenAI's answer.
type imageList struct {
	Created      int64       `json:"created"`
	Data         []imageItem `json:"data"`
	OutputFormat string      `json:"output_format,omitempty"`
	Usage        *imageUsage `json:"usage,omitempty"`
}

type imageItem struct {
	B64JSON string `json:"b64_json,omitempty"`
	URL     string `json:"url,omitempty"`
}

type imageUsage struct {
	InputTokens        int64              `json:"input_tokens"`
	OutputTokens       int64              `json:"output_tokens"`
	TotalTokens        int64              `json:"total_tokens"`
	InputTokensDetails imageTokensDetails `json:"input_tokens_details"`
}

type imageTokensDetails struct {
	TextTokens  int64 `json:"text_tokens"`
	ImageTokens int64 `json:"image_tokens"`
}

// drawing makes an image from a text. Of a size only the shape is taken: the
// resolution is the model's own.
// https://ai.google.dev/gemini-api/docs/image-generation
func (p *Provider) drawing(ctx context.Context, call providers.Call) ([]byte, error) {
	in, err := p.readImageCall(call)
	if err != nil {
		return nil, err
	}
	var config generationConfig
	config.set("responseModalities", []string{"IMAGE"})
	if in.ratio != "" {
		config.set("imageConfig", map[string]string{"aspectRatio": in.ratio})
	}
	model := names{upstream: call.Model, client: call.Asked}
	ex, err := p.post(ctx, model, "generateContent", "", "application/json", &generateRequest{
		Contents: []*content{{Role: roleUser, Parts: []*part{{Text: in.prompt}}}}, GenerationConfig: &config,
	})
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	raw, err := p.readJSON(ex)
	if err != nil {
		return nil, err
	}
	r, err := p.decode(model, raw)
	if err != nil {
		if e := providers.AsError(err); e.Param == "messages" {
			e.Param = "prompt"
		}
		return nil, err
	}
	out, err := in.answer(r)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode images: %w", err)
	}
	return b, nil
}

func (in *imageCall) answer(r *generateResponse) (*imageList, error) {
	out := &imageList{Created: time.Now().Unix()}
	for i := range r.Candidates {
		for _, part := range r.Candidates[i].Content.Parts {
			if part == nil || part.InlineData == nil || part.Thought { // a thought is a draft
				continue
			}
			out.OutputFormat = strings.TrimPrefix(part.InlineData.MimeType, "image/")
			if in.url {
				out.Data = append(out.Data, imageItem{URL: inlineURL(part.InlineData)})
			} else {
				out.Data = append(out.Data, imageItem{B64JSON: part.InlineData.Data})
			}
		}
	}
	if len(out.Data) == 0 {
		if len(r.Candidates) > 0 && finishReason(r.Candidates[0].FinishReason, 0, false) == models.FinishContentFilter {
			return nil, &providers.Error{
				Class: providers.Rejected, Code: models.CodeContentFilter, Param: "prompt",
				Message: "The upstream's content filter let no image through.",
			}
		}
		return nil, upstream.Malformed(0, "The upstream made no image.", nil)
	}
	if u := r.UsageMetadata.usage(); u != nil {
		out.Usage = &imageUsage{
			InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens, TotalTokens: u.TotalTokens,
			InputTokensDetails: imageTokensDetails{TextTokens: u.PromptTokens},
		}
	}
	return out, nil
}

func (p *Provider) readImageCall(call providers.Call) (*imageCall, error) {
	if !gjson.ValidBytes(call.Body) {
		return nil, invalid("", "The body must be a JSON object.")
	}
	in := new(imageCall)
	var err error
	gjson.ParseBytes(call.Body).ForEach(func(key, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		known := false
		switch key.Str {
		case "model", "user":
			known = true
		case "prompt":
			in.prompt, known = v.Str, true
		case "size":
			known = true
			in.ratio, err = aspectRatio(v.Str)
		case "n":
			known = v.Type == gjson.Number && v.Num == 1
		case "response_format":
			known, in.url = v.Str == "b64_json" || v.Str == "url", v.Str == "url"
		case "quality":
			known = v.Str == "auto" || v.Str == "standard"
		case "background", "moderation":
			known = v.Str == "auto"
		case "stream":
			known = v.Type == gjson.False
		}
		if !known && !p.drop {
			err = unsupported(key.Str, fmt.Sprintf("'%s' with this value is not supported by the model '%s'.", key.Str, call.Asked))
		}
		return err == nil
	})
	if err == nil && strings.TrimSpace(in.prompt) == "" {
		err = &providers.Error{
			Class: providers.Rejected, Code: models.CodeMissingParameter, Param: "prompt",
			Message: "Missing required parameter: 'prompt'.",
		}
	}
	return in, err
}

// aspectRatio is the shape nearest to a size such as 1536x1024.
func aspectRatio(size string) (string, error) {
	if size == "auto" {
		return "", nil
	}
	w, h, found := strings.Cut(size, "x")
	width, errW := strconv.Atoi(w)
	height, errH := strconv.Atoi(h)
	if !found || errW != nil || errH != nil || width < 1 || height < 1 {
		return "", invalid("size", "'size' must be auto, or a width and a height such as 1536x1024.")
	}
	best, least := "", math.Inf(1)
	for _, r := range []struct{ w, h float64 }{{1, 1}, {3, 2}, {2, 3}, {4, 3}, {3, 4}, {5, 4}, {4, 5}, {16, 9}, {9, 16}, {21, 9}} {
		if off := math.Abs(math.Log(float64(width) / float64(height) * r.h / r.w)); off < least {
			best, least = fmt.Sprintf("%g:%g", r.w, r.h), off
		}
	}
	return best, nil
}
