package gemini

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

const (
	maxBatch  = 100  // of batchEmbedContents
	maxInputs = 2048 // OpenAI's
)

// embedRequest asks for the embedding of one text.
// https://ai.google.dev/api/embeddings#EmbedContentRequest
type embedRequest struct {
	Model                string          `json:"model"`
	Content              content         `json:"content"`
	TaskType             json.RawMessage `json:"taskType,omitempty"`
	OutputDimensionality *int            `json:"outputDimensionality,omitempty"`
}

type embedding struct {
	Values []float32 `json:"values"`
}

type embedResponse struct {
	Embedding     *embedding     `json:"embedding"`
	Embeddings    []embedding    `json:"embeddings"`
	UsageMetadata *usageMetadata `json:"usageMetadata"`
	Error         json.RawMessage
}

// embedCall is OpenAI's request.
// https://platform.openai.com/docs/api-reference/embeddings/create
type embedCall struct {
	texts      []string
	dimensions *int
	base64     bool
	task       json.RawMessage // an extra member: Gemini's task type
}

// embed answers an embeddings request in OpenAI's language. Many texts are asked
// for in batches, one after the other.
func (p *Provider) embed(ctx context.Context, call providers.Call) ([]byte, error) {
	in, err := p.readEmbedCall(call)
	if err != nil {
		return nil, err
	}
	vectors, prompt := make([][]float32, 0, len(in.texts)), int64(0)
	for from := 0; from < len(in.texts); from += maxBatch {
		batch := in.texts[from:min(from+maxBatch, len(in.texts))]
		r, err := p.embedBatch(ctx, call, in, batch)
		if err != nil {
			return nil, err
		}
		for _, e := range r.Embeddings {
			if len(e.Values) == 0 {
				return nil, upstream.Malformed(0, "The upstream sent an empty embedding.", nil)
			}
			if in.dimensions != nil {
				normalize(e.Values)
			}
			vectors = append(vectors, e.Values)
		}
		if r.UsageMetadata != nil {
			prompt += r.UsageMetadata.PromptTokenCount
		}
	}
	return in.answer(call.Asked, vectors, prompt)
}

func (p *Provider) embedBatch(ctx context.Context, call providers.Call, in *embedCall, texts []string) (*embedResponse, error) {
	model := names{upstream: call.Model, client: call.Asked}
	requests := make([]embedRequest, len(texts))
	for i, text := range texts {
		requests[i] = embedRequest{
			Model: resource(call.Model), Content: content{Parts: []*part{{Text: text}}},
			TaskType: in.task, OutputDimensionality: in.dimensions,
		}
	}
	method, body := "embedContent", any(&requests[0])
	if len(texts) > 1 {
		method, body = "batchEmbedContents", map[string]any{"requests": requests}
	}
	ex, err := p.post(ctx, model, method, "", "application/json", body)
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	raw, err := p.readJSON(ex)
	if err != nil {
		return nil, err
	}
	r := new(embedResponse)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is no embedding, or cut short.", err)
	}
	if len(r.Error) > 0 && string(r.Error) != "null" {
		return nil, p.answeredError(model, raw)
	}
	if r.Embedding != nil && len(r.Embeddings) == 0 {
		r.Embeddings = []embedding{*r.Embedding}
	}
	if len(r.Embeddings) != len(texts) {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer does not have an embedding for each text.", nil)
	}
	return r, nil
}

func (p *Provider) readEmbedCall(call providers.Call) (*embedCall, error) {
	in := new(embedCall)
	if !gjson.ValidBytes(call.Body) {
		return nil, invalid("", "The body must be a JSON object.")
	}
	var err error
	gjson.ParseBytes(call.Body).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "model", "user":
		case "input":
			in.texts, err = embedInputs(v)
		case "encoding_format":
			if in.base64 = v.Str == "base64"; !in.base64 && v.Str != "float" && v.Type != gjson.Null {
				err = invalid("encoding_format", "'encoding_format' must be float or base64.")
			}
		case "dimensions":
			if n := int(v.Int()); v.Type == gjson.Number && n > 0 {
				in.dimensions = &n
			} else if v.Type != gjson.Null {
				err = invalid("dimensions", "'dimensions' must be a whole number of at least 1.")
			}
		case "task_type":
			in.task = json.RawMessage(v.Raw)
		default:
			if !p.drop && v.Type != gjson.Null {
				err = unsupported(key.Str, fmt.Sprintf("'%s' is not supported by the model '%s'.", key.Str, call.Asked))
			}
		}
		return err == nil
	})
	if err == nil && in.texts == nil {
		err = &providers.Error{
			Class: providers.Rejected, Code: models.CodeMissingParameter, Param: "input",
			Message: "Missing required parameter: 'input'.",
		}
	}
	return in, err
}

// embedInputs reads a text or an array of texts. Tokens are refused: they are
// those of OpenAI's models.
func embedInputs(v gjson.Result) ([]string, error) {
	list := []gjson.Result{v}
	if v.IsArray() {
		list = v.Array()
	}
	if len(list) == 0 || len(list) > maxInputs {
		return nil, invalid("input", fmt.Sprintf("'input' must have between 1 and %d texts.", maxInputs))
	}
	texts := make([]string, len(list))
	for i, text := range list {
		if text.Type != gjson.String {
			return nil, invalid("input", "'input' must be a string or an array of strings: this model takes no arrays of tokens.")
		}
		if text.Str == "" {
			return nil, invalid("input", "'input' must not hold an empty string.")
		}
		texts[i] = text.Str
	}
	return texts, nil
}

// normalize makes a vector's length 1, as OpenAI's are. Gemini does so only for
// vectors of full size. https://ai.google.dev/gemini-api/docs/embeddings#quality-for-smaller-dimensions
func normalize(v []float32) {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	length := math.Sqrt(sum)
	if length == 0 || math.Abs(length-1) < 1e-6 {
		return
	}
	for i, x := range v {
		v[i] = float32(float64(x) / length)
	}
}

type embeddingItem struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // numbers, or their bytes in base64
}

type embeddingUsage struct {
	PromptTokens int64 `json:"prompt_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
}

type embeddingList struct {
	Object string          `json:"object"`
	Data   []embeddingItem `json:"data"`
	Model  string          `json:"model"`
	Usage  *embeddingUsage `json:"usage,omitempty"` // nil when the upstream gave no number
}

func (in *embedCall) answer(model string, vectors [][]float32, prompt int64) ([]byte, error) {
	out := embeddingList{Object: "list", Data: make([]embeddingItem, len(vectors)), Model: model}
	for i, v := range vectors {
		out.Data[i] = embeddingItem{Object: "embedding", Index: i, Embedding: v}
		if in.base64 {
			out.Data[i].Embedding = floatBytes(v)
		}
	}
	if prompt > 0 {
		out.Usage = &embeddingUsage{PromptTokens: prompt, TotalTokens: prompt}
	}
	b, err := json.Marshal(&out)
	if err != nil {
		return nil, fmt.Errorf("encode embeddings: %w", err)
	}
	return b, nil
}

// floatBytes is how OpenAI packs a vector: 32 bits each, little endian, base64.
func floatBytes(v []float32) string {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(b)
}
