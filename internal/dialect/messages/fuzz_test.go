package messages_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/coaidev/coai/internal/dialect/messages"
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
		var in models.CreateMessageInput
		if !utf8.Valid(b) || json.Unmarshal(b, &in) != nil || in.Model == "" {
			return
		}
		in.Model = "m"
		out, err := messages.Translate(&in)
		if err != nil {
			if e, known := models.AsError(err); !known || e.Kind != models.KindInvalid || e.Message == "" || e.Param == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		if err := out.Validate(); err != nil {
			t.Fatalf("the translation is not valid: %v", err)
		}
		if b, err := json.Marshal(out); err != nil || !json.Valid(b) {
			t.Fatalf("the translation is no JSON: %v", err)
		}
	})
}

// Whatever an upstream sends, blocks come one at a time under growing indexes,
// and each that is started is stopped.
func FuzzWriter(f *testing.F) {
	f.Add([]byte(`[{"choices":[{"delta":{"content":"a"}}]},{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]},{"choices":[{"delta":{"reasoning_content":"b"},"finish_reason":"length"}]}]`))
	f.Add([]byte(`[{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}},{"index":0,"function":{"name":"g"}},{"index":1,"function":{"name":"f"}}]}}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var chunks []models.ChunkBody
		if json.Unmarshal(b, &chunks) != nil {
			return
		}
		w := messages.NewWriter("m")
		open, next, ended := -1, 0, false
		check := func(events []*models.StreamEvent, err error) bool {
			for _, e := range events {
				var v struct {
					Type  string
					Index *int
				}
				if err := json.Unmarshal(e.Data, &v); err != nil || v.Type != e.Type || ended {
					t.Fatalf("%s %s: %v", e.Type, e.Data, err)
				}
				switch e.Type {
				case "content_block_start":
					if open >= 0 || *v.Index != next {
						t.Fatalf("block %d starts while %d is open", *v.Index, open)
					}
					open, next = next, next+1
				case "content_block_delta":
					if *v.Index != open {
						t.Fatalf("delta for %d while %d is open", *v.Index, open)
					}
				case "content_block_stop":
					if *v.Index != open {
						t.Fatalf("%d stops while %d is open", *v.Index, open)
					}
					open = -1
				case "message_stop":
					ended = true
				}
			}
			return err == nil
		}
		for i := range chunks {
			if !check(w.Chunk(&chunks[i])) {
				return
			}
		}
		if check(w.End(nil)) && (open >= 0 || !ended) {
			t.Fatalf("the block %d is never stopped", open)
		}
	})
}
