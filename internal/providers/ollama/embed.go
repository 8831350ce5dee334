package ollama

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Serves implements [providers.Relayer].
func (p *Provider) Serves(e providers.Endpoint) bool { return e == providers.Embeddings }

// embedRequest is the body of /api/embed.
type embedRequest struct {
	Model      string                     `json:"model"`
	Input      json.RawMessage            `json:"input"`
	Dimensions json.RawMessage            `json:"dimensions,omitempty"`
	Truncate   json.RawMessage            `json:"truncate,omitempty"`
	KeepAlive  json.RawMessage            `json:"keep_alive,omitempty"`
	Options    map[string]json.RawMessage `json:"options,omitempty"`
}

// embeddings is OpenAI's answer.
// https://platform.openai.com/docs/api-reference/embeddings/create
type embeddings struct {
	Object string         `json:"object"`
	Data   []embedding    `json:"data"`
	Model  string         `json:"model"`
	Usage  *embeddedUsage `json:"usage,omitempty"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // numbers, or base64 of little-endian 32-bit floats
}

type embeddedUsage struct {
	PromptTokens int64 `json:"prompt_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
}

// Relay implements [providers.Relayer], for embeddings.
func (p *Provider) Relay(ctx context.Context, call providers.Call) (*providers.Reply, error) {
	if !p.Serves(call.Endpoint) {
		return nil, &providers.Error{Class: providers.NoModel, Message: "The upstream does not serve this endpoint."}
	}
	body, asBase64, failure := p.embedBody(call)
	if failure != nil {
		return nil, failure
	}
	ex, err := p.post(ctx, "api/embed", "application/json", call.Model, call.Asked, body)
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	raw, err := ex.ReadAll(p.client.MaxBytes())
	if err != nil {
		return nil, err
	}
	out, err := embedAnswer(raw, call.Asked, asBase64)
	if err != nil {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not embeddings.", err)
	}
	return &providers.Reply{ContentType: "application/json", Body: io.NopCloser(bytes.NewReader(out))}, nil
}

// embedBody translates the request, and says whether base64 is asked for.
func (p *Provider) embedBody(call providers.Call) (body []byte, asBase64 bool, failure *providers.Error) {
	r := embedRequest{Model: call.Model, Options: map[string]json.RawMessage{}}
	gjson.ParseBytes(call.Body).ForEach(func(key, value gjson.Result) bool {
		raw := json.RawMessage(value.Raw)
		switch key.Str {
		case "input":
			if !isText(value) {
				failure = invalid("input", "'input' must be a string or an array of strings: the upstream of this model, Ollama, takes no tokens.", nil)
			}
			r.Input = raw
		case "encoding_format":
			asBase64 = value.Str == "base64"
			if !asBase64 && value.Str != "float" && value.Type != gjson.Null {
				failure = invalid("encoding_format", "'encoding_format' must be float or base64.", nil)
			}
		case "dimensions":
			r.Dimensions = raw
		case "truncate":
			r.Truncate = raw
		case "keep_alive":
			r.KeepAlive = raw
		case "num_ctx":
			r.Options[key.Str] = raw
		case "model", "user":
		default:
			failure = p.unsupported(clip(key.Str))
		}
		return failure == nil
	})
	switch {
	case failure != nil:
		return nil, false, failure
	case r.Input == nil:
		return nil, false, &providers.Error{
			Class: providers.Rejected, Code: models.CodeMissingParameter, Param: "input", Message: "Missing required parameter: 'input'.",
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, false, invalid("", "The request cannot be sent to the upstream.", err)
	}
	return body, asBase64, nil
}

// isText says whether an input is a text or a list of texts.
func isText(input gjson.Result) bool {
	if !input.IsArray() {
		return input.Type == gjson.String
	}
	texts := true
	input.ForEach(func(_, v gjson.Result) bool {
		texts = v.Type == gjson.String
		return texts
	})
	return texts
}

// embedAnswer puts Ollama's answer into OpenAI's form.
func embedAnswer(raw []byte, model string, asBase64 bool) ([]byte, error) {
	var answer struct {
		Embeddings      []json.RawMessage `json:"embeddings"`
		PromptEvalCount *int64            `json:"prompt_eval_count"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("decode embeddings: %w", err)
	}
	if answer.Embeddings == nil {
		return nil, fmt.Errorf("there are no embeddings")
	}
	out := embeddings{Object: "list", Model: model, Data: make([]embedding, len(answer.Embeddings))}
	for i, numbers := range answer.Embeddings {
		var vector []float32
		if err := json.Unmarshal(numbers, &vector); err != nil {
			return nil, fmt.Errorf("decode embedding: %w", err)
		}
		out.Data[i] = embedding{Object: "embedding", Index: i, Embedding: numbers}
		if asBase64 {
			b := make([]byte, 0, 4*len(vector))
			for _, x := range vector {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			out.Data[i].Embedding = base64.StdEncoding.EncodeToString(b)
		}
	}
	if n := answer.PromptEvalCount; n != nil && *n >= 0 {
		out.Usage = &embeddedUsage{PromptTokens: *n, TotalTokens: *n}
	}
	b, err := json.Marshal(&out)
	if err != nil {
		return nil, fmt.Errorf("encode embeddings: %w", err)
	}
	return b, nil
}
