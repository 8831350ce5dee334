package responses_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/coaidev/coai/internal/dialect/responses"
	"github.com/coaidev/coai/models"
)

// Whatever a client sends, the translation is a valid request, or there is an
// error that the client can act on.
func FuzzTranslate(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/*/request.json")
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in models.CreateResponseInput
		if !utf8.Valid(b) || json.Unmarshal(b, &in) != nil || in.Model == "" {
			return
		}
		in.Model = "m"
		out, err := responses.Translate(&in, id, nil, nil)
		if err != nil {
			if e, known := models.AsError(err); !known || e.Kind != models.KindInvalid && e.Kind != models.KindNotFound || e.Message == "" || e.Param == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		if err := out.Chat.Validate(); err != nil {
			t.Fatalf("the translation is not valid: %v", err)
		}
		if !json.Valid(out.Items) {
			t.Fatalf("the items are no JSON: %s", out.Items)
		}
		if b, err := json.Marshal(out.Chat); err != nil || !json.Valid(b) {
			t.Fatalf("the translation is no JSON: %v", err)
		}
	})
}

// Whatever an upstream sends, items come one after the other, each that is added
// is done, and numbers grow by one.
func FuzzWriter(f *testing.F) {
	f.Add([]byte(`[{"choices":[{"delta":{"content":"a"}}]},{"choices":[{"delta":{"refusal":"no"}}]},{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]},{"choices":[{"delta":{"reasoning_content":"b"},"finish_reason":"length"}]}]`))
	f.Add([]byte(`[{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}},{"index":0,"function":{"name":"g"}},{"index":1,"function":{"name":"f"}}]}}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var chunks []models.ChunkBody
		if json.Unmarshal(b, &chunks) != nil {
			return
		}
		w := responses.NewWriter(&models.CreateResponseInput{Model: "m"}, id, created)
		number, open, next, last := 0, "", 0, ""
		check := func(events []*models.StreamEvent, err error) bool {
			for _, e := range events {
				var v struct {
					Type   string
					Number *int   `json:"sequence_number"`
					Index  *int   `json:"output_index"`
					ItemID string `json:"item_id"`
					Item   struct{ ID string }
				}
				if err := json.Unmarshal(e.Data, &v); err != nil || v.Type != e.Type || *v.Number != number {
					t.Fatalf("%s %s: %v", e.Type, e.Data, err)
				}
				number++
				last = e.Type
				switch e.Type {
				case "response.output_item.added":
					if open != "" || *v.Index != next {
						t.Fatalf("%s while %s is open", e.Data, open)
					}
					open, next = v.Item.ID, next+1
				case "response.output_item.done":
					if v.Item.ID != open {
						t.Fatalf("%s while %s is open", e.Data, open)
					}
					open = ""
				}
				if v.ItemID != "" && v.ItemID != open {
					t.Fatalf("%s while %s is open", e.Data, open)
				}
			}
			return err == nil
		}
		ok := true
		for i := range chunks {
			if ok = ok && check(w.Chunk(&chunks[i])); !ok {
				break
			}
		}
		if ok {
			w.Finish(nil)
			ok = check(w.End())
		}
		if !ok {
			check(w.Fail(models.Unavailable(models.CodeUpstreamError, "x")), nil)
		}
		if open != "" || ok == (last == "response.failed") {
			t.Fatalf("the item %s is never done; the last event is %s", open, last)
		}
	})
}
