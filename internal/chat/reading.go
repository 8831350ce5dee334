package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// reading is what an attempt's answer has told so far. It looks into the bytes
// only for what it needs, and changes only the usage in them.
type reading struct {
	accepted bool            // the upstream took the request
	head     gjson.Result    // the first chunk's, for the usage chunk
	produced strings.Builder // all text, reasoning and arguments, to count if the upstream does not
	finished bool            // the chunk just read ends a choice
	usage    *models.Usage   // the upstream's numbers; after settlement those of the record
	rawUsage string          // the upstream's usage object with all its fields
	usageAt  int             // where it is in a whole answer; 0: nobody knows
	asTold   bool            // usage says no more and nothing else than rawUsage
	images   int64           // that were made
	audioMS  int64           // of audio that was transcribed
}

var usageNull = []byte(`,"usage":null`) //nolint:gochecknoglobals // a constant

// chunk reads a chunk and brings its usage into OpenAI's form: null on every
// chunk but the last when the client wants usage, absent when it does not.
// keep is false for a chunk that carries nothing else. text is the chunk's, where
// it is known to be no more than one; nil: nobody knows. raw may be changed.
func (r *reading) chunk(raw, text []byte, wantsUsage bool) (out []byte, keep bool) {
	if !r.head.Exists() {
		r.head = gjson.ParseBytes(raw)
	}
	empty := true
	r.finished = false
	if text == nil {
		text, _ = providers.PlainText(raw)
	}
	if text != nil {
		empty = false
		r.produced.Write(text)
	} else {
		gjson.GetBytes(raw, "choices").ForEach(func(_, choice gjson.Result) bool {
			empty = false
			r.produce(choice.Get("delta"))
			r.produced.WriteString(choice.Get("text").Str) // of a text completion
			if choice.Get("finish_reason").Type == gjson.String {
				r.finished = true
			}
			return true
		})
	}
	if !bytes.Contains(raw, []byte(`"usage"`)) {
		if wantsUsage {
			return insertUsageNull(raw), !empty
		}
		return raw, !empty
	}
	if at := bytes.Index(raw, usageNull); at >= 0 {
		if wantsUsage {
			return raw, !empty
		}
		return append(raw[:at], raw[at+len(usageNull):]...), !empty
	}
	r.takeUsage(gjson.GetBytes(raw, "usage"))
	var err error
	if wantsUsage {
		out, err = sjson.SetRawBytes(raw, "usage", []byte("null"))
	} else {
		out, err = sjson.DeleteBytes(raw, "usage")
	}
	if err != nil {
		return raw, !empty
	}
	return out, !empty
}

func insertUsageNull(raw []byte) []byte {
	end := bytes.LastIndexByte(raw, '}')
	if end < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+len(usageNull))
	out = append(out, raw[:end]...)
	if len(bytes.TrimSpace(raw[:end])) > 1 { // more than the opening brace
		out = append(out, usageNull...)
	} else {
		out = append(out, usageNull[1:]...)
	}
	return append(out, raw[end:]...)
}

// whole reads a whole answer, which must not change afterwards.
func (r *reading) whole(raw []byte) {
	gjson.Parse(providers.View(raw)).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "choices":
			value.ForEach(func(_, choice gjson.Result) bool {
				r.produce(choice.Get("message"))
				r.produced.WriteString(choice.Get("text").Str)
				return true
			})
		case "usage":
			r.takeUsage(value)
			r.usageAt = value.Index
		}
		return true
	})
}

// produce collects what the model wrote. It is counted only if the upstream
// tells no numbers.
func (r *reading) produce(message gjson.Result) {
	message.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "content", "refusal", "reasoning_content", "reasoning":
			if value.Type == gjson.String {
				r.produced.WriteString(value.Str)
			}
		case "tool_calls":
			value.ForEach(func(_, call gjson.Result) bool {
				r.call(call.Get("function"))
				return true
			})
		case "function_call":
			r.call(value)
		}
		return true
	})
}

func (r *reading) call(function gjson.Result) {
	r.produced.WriteString(function.Get("name").Str)
	r.produced.WriteString(function.Get("arguments").Str)
}

// tokens counts roughly what was produced: a quarter of its bytes.
func (r *reading) tokens() int64 { return int64(r.produced.Len()+3) / 4 }

// takeUsage keeps the upstream's numbers. Upstreams that send them on every
// chunk send running totals: the last counts.
func (r *reading) takeUsage(u gjson.Result) {
	if !u.IsObject() {
		return
	}
	parsed, ok := plainUsage(u)
	if !ok {
		parsed = new(models.Usage)
		if json.Unmarshal([]byte(u.Raw), parsed) != nil {
			return
		}
	}
	if parsed.PromptTokens < 0 || parsed.CompletionTokens < 0 {
		return
	}
	if parsed.PromptTokens == 0 && parsed.CompletionTokens == 0 && parsed.TotalTokens == 0 {
		return // an empty object is no answer: count ourselves
	}
	r.asTold = ok && parsed.PromptTokens > 0 && parsed.CompletionTokens > 0 && parsed.TotalTokens > 0
	if parsed.TotalTokens == 0 {
		parsed.TotalTokens = parsed.PromptTokens + parsed.CompletionTokens
	}
	// Prices are ours: what an upstream says of them is its own business.
	parsed.Cost, parsed.CostDetails, parsed.Estimated = nil, nil, false
	r.usage, r.rawUsage = parsed, u.Raw
}

// plainUsage reads a usage object as nearly all are: of whole numbers, and of
// details that are objects of such. ok is false for one that needs a decoder, or
// that tells a price.
func plainUsage(u gjson.Result) (out *models.Usage, ok bool) {
	out, ok = new(models.Usage), true
	number := func(into *int64, v gjson.Result) {
		n, err := strconv.ParseInt(v.Raw, 10, 64)
		*into, ok = n, ok && err == nil && *into == 0 // what is told twice is for the decoder
	}
	// The members of an object go where field says; of others the decoder would not
	// mind capitals.
	details := func(object gjson.Result, first bool, field func(name string) *int64) {
		ok = ok && object.IsObject() && first
		object.ForEach(func(key, value gjson.Result) bool {
			if into := field(key.Str); into != nil {
				number(into, value)
			} else {
				ok = ok && key.Str == strings.ToLower(key.Str)
			}
			return ok
		})
	}
	u.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens":
			number(&out.PromptTokens, value)
		case "completion_tokens":
			number(&out.CompletionTokens, value)
		case "total_tokens":
			number(&out.TotalTokens, value)
		case "prompt_tokens_details":
			d := new(models.PromptTokensDetails)
			details(value, out.PromptTokensDetails == nil, func(name string) *int64 {
				switch name {
				case "cached_tokens":
					return &d.CachedTokens
				case "audio_tokens":
					return &d.AudioTokens
				case "cache_write_tokens":
					return &d.CacheWriteTokens
				case "image_tokens":
					return &d.ImageTokens
				}
				return nil
			})
			out.PromptTokensDetails = d
		case "completion_tokens_details":
			d := new(models.CompletionTokensDetails)
			details(value, out.CompletionTokensDetails == nil, func(name string) *int64 {
				switch name {
				case "reasoning_tokens":
					return &d.ReasoningTokens
				case "audio_tokens":
					return &d.AudioTokens
				case "accepted_prediction_tokens":
					return &d.AcceptedPredictionTokens
				case "rejected_prediction_tokens":
					return &d.RejectedPredictionTokens
				}
				return nil
			})
			out.CompletionTokensDetails = d
		case "cost", "cost_details", "estimated":
			ok = false
		default: // the decoder does not mind capitals
			ok = ok && key.Str == strings.ToLower(key.Str)
		}
		return ok
	})
	return out, ok
}

// withUsage writes the settled usage into a JSON object, keeping the fields of
// the upstream's own that are not ours.
func (r *reading) withUsage(raw []byte) ([]byte, error) {
	if r.asTold && !r.usage.Estimated {
		if out, ok := r.spliceCost(raw); ok {
			return out, nil
		}
	}
	value, err := json.Marshal(r.usage)
	if err == nil && r.rawUsage != "" {
		merged := []byte(r.rawUsage)
		gjson.ParseBytes(value).ForEach(func(key, v gjson.Result) bool {
			theirs := gjson.GetBytes(merged, key.Str)
			if !theirs.IsObject() && theirs.Raw != v.Raw { // the upstream's details have more fields than we know
				merged, err = sjson.SetRawBytes(merged, key.Str, []byte(v.Raw))
			}
			return err == nil
		})
		for _, theirs := range []string{"cost", "cost_details"} {
			if err == nil && !gjson.GetBytes(value, theirs).Exists() {
				merged, err = sjson.DeleteBytes(merged, theirs)
			}
		}
		value = merged
	}
	if err == nil && gjson.GetBytes(raw, "usage").Raw != string(value) {
		raw, err = sjson.SetRawBytes(raw, "usage", value)
	}
	if err != nil {
		return nil, fmt.Errorf("write usage: %w", err)
	}
	return raw, nil
}

// spliceCost is withUsage for an answer whose usage is as the upstream told it but
// for the cost, when it is still where it was read.
func (r *reading) spliceCost(raw []byte) (out []byte, ok bool) {
	end := r.usageAt + len(r.rawUsage)
	if r.usageAt == 0 || end > len(raw) || string(raw[r.usageAt:end]) != r.rawUsage {
		return nil, false
	}
	if r.usage.Cost == nil {
		return raw, true
	}
	cost, err := json.Marshal(struct {
		Cost        *models.Nanos       `json:"cost"`
		CostDetails *models.CostDetails `json:"cost_details,omitempty"`
	}{r.usage.Cost, r.usage.CostDetails})
	if err != nil {
		return nil, false
	}
	out = make([]byte, 0, len(raw)+len(cost))
	out = append(append(out, raw[:end-1]...), ',')
	return append(append(out, cost[1:]...), raw[end:]...), true
}

// usageChunk is the chunk that ends a stream whose client wants usage.
func (r *reading) usageChunk(j *job) ([]byte, error) {
	raw := []byte(`{"object":"chat.completion.chunk","choices":[]}`)
	var err error
	for _, key := range []string{"id", "created", "model", "service_tier", "system_fingerprint"} {
		if v := r.head.Get(key); v.Exists() && err == nil {
			raw, err = sjson.SetRawBytes(raw, key, []byte(v.Raw))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write usage chunk: %w", err)
	}
	return r.withUsage(j.rename(raw))
}
