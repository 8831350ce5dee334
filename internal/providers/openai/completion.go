package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
)

// checkCompletion checks that a body is a completion, and mends its finish reasons.
func (p *Provider) checkCompletion(req providers.Request, raw []byte) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer is empty.", nil)
	}
	if raw[0] != '{' || !gjson.ValidBytes(raw) {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer is not a JSON object, or cut short.", nil)
	}
	if !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	if e := p.answeredError(req, raw, false); e != nil {
		return nil, e
	}
	choices := gjson.Get(providers.View(raw), "choices")
	if !choices.IsArray() || !choices.Get("0.message").IsObject() {
		return nil, upstream.Malformed(http.StatusOK, "The upstream's answer is not a chat completion.", nil)
	}
	var err error
	position := -1
	choices.ForEach(func(_, c gjson.Result) bool {
		position++
		reason := c.Get("finish_reason").Str
		right := finishReason(reason, c.Get("message.tool_calls.0").Exists())
		if string(right) != reason {
			raw, err = set(raw, "choices."+strconv.Itoa(position)+".finish_reason", strconv.Quote(string(right)))
		}
		return err == nil
	})
	return raw, err
}

// wireChunk is a chunk whose parts keep the upstream's bytes.
type wireChunk struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Created           int64           `json:"created"`
	Model             string          `json:"model"`
	ServiceTier       json.RawMessage `json:"service_tier,omitempty"`
	SystemFingerprint json.RawMessage `json:"system_fingerprint,omitempty"`
	Choices           []wireChoice    `json:"choices"`
	Usage             json.RawMessage `json:"usage,omitempty"`
}

type wireChoice struct {
	Index        int64           `json:"index"`
	Delta        json.RawMessage `json:"delta"`
	Logprobs     json.RawMessage `json:"logprobs"`
	FinishReason *string         `json:"finish_reason"`
}

// chunksOf cuts a checked completion into the chunks that a streaming upstream
// would have sent: for each choice the role, the message and the end, then the
// usage.
func chunksOf(raw []byte) ([][]byte, error) {
	root := gjson.ParseBytes(raw)
	chunk := wireChunk{
		ID: root.Get("id").Str, Object: "chat.completion.chunk",
		Created: root.Get("created").Int(), Model: root.Get("model").Str,
		ServiceTier: rawOf(root.Get("service_tier")), SystemFingerprint: rawOf(root.Get("system_fingerprint")),
	}
	var chunks [][]byte
	add := func(choices ...wireChoice) error {
		chunk.Choices = append([]wireChoice{}, choices...)
		b, err := json.Marshal(&chunk)
		chunks = append(chunks, b)
		return err
	}
	var err error
	root.Get("choices").ForEach(func(_, c gjson.Result) bool {
		index, reason := c.Get("index").Int(), c.Get("finish_reason").Str
		var delta []byte
		if delta, err = deltaOf(c.Get("message")); err != nil {
			return false
		}
		for _, part := range []wireChoice{
			{Index: index, Delta: json.RawMessage(`{"role":"assistant","content":""}`)},
			{Index: index, Delta: delta, Logprobs: rawOf(c.Get("logprobs"))},
			{Index: index, Delta: json.RawMessage(`{}`), FinishReason: &reason},
		} {
			if err = add(part); err != nil {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("cut completion into chunks: %w", err)
	}
	if usage := root.Get("usage"); usage.IsObject() {
		chunk.Usage = rawOf(usage)
		if err := add(); err != nil {
			return nil, fmt.Errorf("make usage chunk: %w", err)
		}
	}
	return chunks, nil
}

// deltaOf is a message as a delta: without the role, which goes ahead, and with
// an index for each tool call.
func deltaOf(message gjson.Result) ([]byte, error) {
	out := []byte{'{'}
	message.ForEach(func(key, value gjson.Result) bool {
		if key.Str == "role" || value.Type == gjson.Null {
			return true
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, key.Raw...), ':'), value.Raw...)
		return true
	})
	out = append(out, '}')
	var err error
	position := -1
	message.Get("tool_calls").ForEach(func(_, _ gjson.Result) bool {
		position++
		i := strconv.Itoa(position)
		out, err = set(out, "tool_calls."+i+".index", i)
		return err == nil
	})
	return out, err
}

func rawOf(r gjson.Result) json.RawMessage {
	if !r.Exists() {
		return nil
	}
	return json.RawMessage(r.Raw)
}
