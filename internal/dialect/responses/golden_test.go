package responses_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/dialect/responses"
	"github.com/coaidev/coai/models"
)

var update = flag.Bool("update", false, "write the wanted files of the golden cases anew")

var ids = regexp.MustCompile(`(call)_[0-9a-v]{26}|("completed_at": ?)\d+`)

const id = "resp_00000000000000000000000000"

var created = time.Unix(1700000000, 0)

// Each folder of testdata is a case. request.json is translated to chat.json and
// stored as items.json, or fails as error.json says; completion.json is answered
// with response.json; chunks.jsonl are streamed as events.txt.
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
				request(t, dir, src)
			case "completion.json":
				var body models.ChatCompletionBody
				if err := json.Unmarshal(src, &body); err != nil {
					t.Fatal(err)
				}
				w := responses.NewWriter(&models.CreateResponseInput{Model: "asked"}, id, created)
				var r models.Response
				if err := errors.Join(w.Whole(&body, body.Usage), w.Response(&r)); err != nil {
					t.Fatal(err)
				}
				golden(t, dir+"response.json", pretty(t, r.Raw))
			case "chunks.jsonl":
				golden(t, dir+"events.txt", stream(t, src))
			}
		})
	}
}

func request(t *testing.T, dir string, src []byte) {
	t.Helper()
	var in models.CreateResponseInput
	if err := json.Unmarshal(src, &in); err != nil {
		t.Fatal(err)
	}
	out, err := responses.Translate(&in, id, nil, nil)
	if err != nil {
		e, _ := models.AsError(err)
		golden(t, dir+"error.json", pretty(t, map[string]string{"code": e.Code, "param": e.Param, "message": e.Message}))
		return
	}
	if err := out.Chat.Validate(); err != nil {
		t.Errorf("the translation is not valid: %v", err)
	}
	golden(t, dir+"chat.json", pretty(t, struct {
		models.ChatCompletionInput

		Extra models.JSON `json:"extra,omitempty"`
	}{out.Chat, out.Chat.Extra}))
	golden(t, dir+"items.json", pretty(t, out.Items))
}

func TestFollowing(t *testing.T) {
	first := models.JSON(`[{"type":"message","role":"user","content":[{"type":"input_text","text":"Go."}],"id":"msg_0"}]`)
	answer := models.JSON(`[{"type":"function_call","id":"fc_0","call_id":"c0","name":"f","arguments":"{}"}]`)
	in := &models.CreateResponseInput{Model: "m", Input: models.JSON(`[{"id":"fc_1"},{"type":"function_call_output","call_id":"c0","output":"x"},{"type":"function_call_output","call_id":"c1","output":"y"}]`)}
	if got := responses.References(in); !slices.Equal(got, []string{"fc_1"}) {
		t.Fatalf("%v", got)
	}
	out, err := responses.Translate(in, id, []models.JSON{first, answer}, map[string]models.JSON{
		"fc_1": models.JSON(`{"type":"function_call","id":"fc_1","call_id":"c1","name":"g","arguments":"{}"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	roles := ""
	for _, m := range out.Chat.Messages {
		roles += string(m.Role) + " "
	}
	if roles != "user assistant tool tool " || len(out.Chat.Messages[1].ToolCalls) != 2 {
		t.Errorf("%s", roles)
	}
	if item := responses.ItemID("fc_", id, 'o', 3); responses.Owner(item) != id || responses.Owner("fc_1") != "" {
		t.Errorf("the owner of %s is %s", item, responses.Owner(item))
	}
}

func stream(t *testing.T, src []byte) []byte {
	t.Helper()
	w := responses.NewWriter(&models.CreateResponseInput{Model: "asked"}, id, created)
	var out bytes.Buffer
	var usage *models.Usage
	write := func(events []*models.StreamEvent, err error) {
		for _, e := range events {
			out.WriteString(e.Type + " " + string(e.Data) + "\n")
		}
		if err != nil {
			out.WriteString("error: " + err.Error() + "\n")
			for _, e := range w.Fail(models.Unavailable(models.CodeUpstreamError, "%v", err)) {
				out.WriteString(e.Type + " " + string(e.Data) + "\n")
			}
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
	w.Finish(usage)
	write(w.End())
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
	got = ids.ReplaceAll(got, []byte("$1${2}0"))
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
