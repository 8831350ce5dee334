package messages_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/coaidev/coai/internal/dialect/messages"
	"github.com/coaidev/coai/models"
)

var update = flag.Bool("update", false, "write the wanted files of the golden cases anew")

var ids = regexp.MustCompile(`(msg|toolu)_[0-9a-v]{26}`)

// Each folder of testdata is a case. request.json is translated to chat.json, or
// fails as error.json says; completion.json is answered with message.json;
// chunks.jsonl are streamed as events.txt.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/*.json*")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dir, file := filepath.Split(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			switch file {
			case "request.json":
				var in models.CreateMessageInput
				if err := json.Unmarshal(src, &in); err != nil {
					t.Fatal(err)
				}
				out, err := messages.Translate(&in)
				if err != nil {
					e, _ := models.AsError(err)
					golden(t, dir+"error.json", pretty(t, map[string]string{"code": e.Code, "param": e.Param, "message": e.Message}))
					return
				}
				if err := out.Validate(); err != nil {
					t.Errorf("the translation is not valid: %v", err)
				}
				golden(t, dir+"chat.json", pretty(t, struct {
					models.ChatCompletionInput

					Extra models.JSON `json:"extra,omitempty"`
				}{out, out.Extra}))
			case "completion.json":
				var body models.ChatCompletionBody
				if err := json.Unmarshal(src, &body); err != nil {
					t.Fatal(err)
				}
				m, err := messages.Answer(&body, "asked", body.Usage)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, dir+"message.json", pretty(t, m.Raw))
			case "chunks.jsonl":
				golden(t, dir+"events.txt", stream(t, src))
			}
		})
	}
}

func stream(t *testing.T, src []byte) []byte {
	t.Helper()
	w := messages.NewWriter("asked")
	var out bytes.Buffer
	var usage *models.Usage
	write := func(events []*models.StreamEvent, err error) {
		for _, e := range events {
			out.WriteString(e.Type + " " + string(e.Data) + "\n")
		}
		if err != nil {
			out.WriteString("error: " + err.Error() + "\n")
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(src))
	for lines.Scan() {
		var chunk models.ChunkBody
		if err := json.Unmarshal(lines.Bytes(), &chunk); err != nil {
			t.Fatal(err)
		}
		if chunk.Usage != nil {
			usage = chunk.Usage
		}
		events, err := w.Chunk(&chunk)
		write(events, err)
		if err != nil {
			return out.Bytes()
		}
	}
	write(w.End(usage))
	return out.Bytes()
}

func pretty(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	got = ids.ReplaceAll(got, []byte("${1}_ID"))
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\ngot  %s\nwant %s", path, got, want)
	}
}
