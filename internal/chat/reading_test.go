package chat

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

// slow reads a chunk by parsing all of it.
func slow(raw []byte) (produced string, finished, empty bool) {
	var r reading
	empty = true
	gjson.GetBytes(raw, "choices").ForEach(func(_, choice gjson.Result) bool {
		empty = false
		r.produce(choice.Get("delta"))
		finished = finished || choice.Get("finish_reason").Type == gjson.String
		return true
	})
	return r.produced.String(), finished, empty
}

func TestPlainChunks(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"id":"c","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}],"usage":null}`:                        true,
		`{"choices":[{"finish_reason":null,"delta":{"content":" there"}}]}`:                                                                    true,
		`{"choices":[{"delta":{"content":""}}]}`:                                                                                               true,
		`{"choices":[{"index":0,"delta":{"content":"a \"quote\""},"finish_reason":null}]}`:                                                     false,
		`{"choices":[{"index":0,"delta":{"content":"end"},"finish_reason":"stop"}]}`:                                                           false,
		`{"choices":[{"finish_reason":"stop","delta":{"content":"end"}}]}`:                                                                     false,
		`{"choices":[{"index":0,"delta":{"content":"x","reasoning":"y"},"finish_reason":null}]}`:                                               false,
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":"x"},"finish_reason":null}]}`:                                            false,
		`{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null},{"index":1,"delta":{"content":"y"},"finish_reason":null}]}`:      false,
		`{"choices":[{"index":1,"delta":{"role":"assistant"},"finish_reason":null},{"index":0,"delta":{"content":"x"},"finish_reason":null}]}`: false,
		`{"choices":[{"index":0,"delta":{"content":null},"finish_reason":null}]}`:                                                              false,
		`{"choices": [{"index": 0, "delta": {"content": "spaced"}, "finish_reason": null}]}`:                                                   false,
		`{"choices":[],"usage":{"prompt_tokens":1}}`:                                                                                           false,
		`{"choices":[{"index":0,"delta":{"refusal":"\"delta\":{\"content\":\"no\"}"},"finish_reason":null}]}`:                                  false,
	} {
		text, ok := providers.PlainText([]byte(raw))
		if ok != want {
			t.Errorf("PlainText(%s) = %v", raw, ok)
		}
		if produced, finished, empty := slow([]byte(raw)); ok && (string(text) != produced || finished || empty) {
			t.Errorf("%s: plain says %q; the parser %q, finished %v, empty %v", raw, text, produced, finished, empty)
		}
	}
}

// FuzzPlain holds the short way against the parser.
func FuzzPlain(f *testing.F) {
	f.Add(`{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}`)
	f.Add(`{"choices":[{"index":0,"delta":{"content":"a","content":"b"},"finish_reason":null}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, raw := range []string{
			`{"choices":[{"index":0,"delta":{"content":` + string(gjson.AppendJSONString(nil, text)) + `},"finish_reason":null}]}`,
			`{"note":` + string(gjson.AppendJSONString(nil, text)) + `,"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}`,
		} {
			got, ok := providers.PlainText([]byte(raw))
			if produced, finished, empty := slow([]byte(raw)); ok && (string(got) != produced || finished || empty) {
				t.Errorf("%s: plain says %q; the parser %q, finished %v, empty %v", raw, got, produced, finished, empty)
			}
		}
	})
}

// FuzzUsage holds the short way to read a usage object against the decoder, and the
// short way to write a cost into an answer against the long one.
func FuzzUsage(f *testing.F) {
	for _, seed := range []string{
		`{"prompt_tokens":21,"completion_tokens":16,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,"x":{}},"mine":[1]}`,
		`{"prompt_tokens":1,"prompt_tokens":2,"total_tokens":0}`, `{"prompt_tokens":1.0}`, `{"prompt_tokens":"1"}`, `{"PROMPT_TOKENS":5}`,
		`{"prompt_tokens":1,"completion_tokens_details":null,"cost":0.5}`, `{"total_tokens":9223372036854775808}`, `{}`, `{"prompt_tokens":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u := gjson.Parse(text)
		if !gjson.Valid(text) || !u.IsObject() {
			t.Skip()
		}
		if got, ok := plainUsage(u); ok {
			want := new(models.Usage)
			if err := json.Unmarshal([]byte(u.Raw), want); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s is read as %+v, want %+v, %v", text, got, want, err)
			}
		}
		answer := []byte(`{"id":"c","usage":` + u.Raw + `,"choices":[]}`)
		for _, cost := range []*models.Nanos{nil, new(models.Nanos)} {
			var r reading
			r.whole(answer)
			if !r.asTold {
				continue
			}
			r.usage.Cost = cost
			if cost != nil {
				*cost = 1_500_000
				r.usage.CostDetails = &models.CostDetails{PromptCost: 1_000_000, CompletionCost: 500_000}
			}
			short, ok := r.spliceCost(answer)
			r.asTold = false
			long, err := r.withUsage(answer)
			if !ok || err != nil || string(short) != string(long) {
				t.Errorf("%s becomes %s, want %s, %v", answer, short, long, err)
			}
		}
	})
}
