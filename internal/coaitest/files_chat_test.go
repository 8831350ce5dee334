package coaitest_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// png is an image of one dot, and pdf a document that says Hello.
const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"

const pdf = `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj
4 0 obj<</Length 47>>stream
BT /F1 24 Tf 20 100 Td (Hello document) Tj ET  
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R/Size 6>>
`

func dataURL(kind, data string) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString([]byte(data))
}

// Messages refer to files by their ids; upstreams get the files.
func TestFilesInMessages(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	up := coaitest.NewUpstream(t, coaitest.Whole("Hi"))
	p.Channel(up, nil)
	claude := coaitest.NewUpstream(t, answers(coaitest.Anthropic(), coaitest.Answer{Text: []string{"Hi"}}))
	anthropicChannel(p, claude, object{"models": []string{"claude-test"}})
	direct := coaitest.NewUpstream(t, coaitest.Status(200, "application/json", `{"id":"resp_1","object":"response","status":"completed","model":"gpt-direct","output":[],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`))
	p.Channel(direct, object{"models": []string{"gpt-direct"}, "settings": object{"quirks": []string{"responses"}}})

	image, document, text := upload(t, p, key, "dot.png", png), upload(t, p, key, "hello.pdf", pdf), upload(t, p, key, "note.md", "# Note")
	archive := upload(t, p, key, "a.zip", "PK\x05\x06"+strings.Repeat("\x00", 18))
	foreign := upload(t, p, p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "other"}), "secret.txt", "secret")
	last := func(u *coaitest.Upstream) gjson.Result {
		calls := u.Calls()
		return gjson.ParseBytes(calls[len(calls)-1].Body)
	}
	ask := func(path string, body string) *coaitest.Response { return p.Do("POST", path, key, body) }

	t.Run("chat", func(t *testing.T) {
		body := `{"model":"gpt-test", "unknown":[ 1 ],"messages":[{"role":"user","content":[{"type":"text","text":"See"},` +
			`{"type":"image_url","image_url":{"file_id":"` + image.ID + `","detail":"low"},"cache_control":{"type":"ephemeral"}},` +
			`{"type":"image_url","image_url":{"url":"` + image.ID + `"}},` +
			`{"type":"file","file":{"file_id":"` + document.ID + `"}},{"type":"file","file":{"file_id":"` + text.ID + `"}},{"type":"file","file":{"file_id":"` + image.ID + `"}}]}]}`
		if res := ask("/v1/chat/completions", body); res.Status != http.StatusOK {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		got := last(up)
		for path, want := range map[string]string{
			"unknown": "[ 1 ]", "messages.0.content.0.text": "See", "messages.0.content.#": "6",
			"messages.0.content.1.image_url.url": dataURL("image/png", png), "messages.0.content.1.image_url.detail": "low",
			"messages.0.content.1.image_url.file_id": "", "messages.0.content.1.cache_control.type": "ephemeral",
			"messages.0.content.2.image_url.url":  dataURL("image/png", png),
			"messages.0.content.3.file.file_data": dataURL("application/pdf", pdf), "messages.0.content.3.file.filename": "hello.pdf", "messages.0.content.3.file.file_id": "",
			"messages.0.content.4.type": "text", "messages.0.content.4.text": "<file name=\"note.md\">\n# Note\n</file>", "messages.0.content.4.file": "",
			"messages.0.content.5.type": "image_url",
		} {
			if got.Get(path).String() != want {
				t.Errorf("%s is %.200s, want %.200s", path, got.Get(path), want)
			}
		}
	})
	t.Run("graphql", func(t *testing.T) {
		const mutation = `mutation($id: String!) { createChatCompletion(input: {model: "gpt-test", messages: [{role: USER, content: {parts: [{imageUrl: {fileId: $id}}]}}]}) { chatCompletion { id } userErrors { message } } }`
		if errs := p.GraphQL(key, mutation, object{"id": image.ID}, nil); len(errs) > 0 {
			t.Fatal(errs)
		}
		if got := last(up).Get("messages.0.content.0.image_url.url").Str; got != dataURL("image/png", png) {
			t.Errorf("%.300s", got)
		}
	})
	t.Run("extracted", func(t *testing.T) {
		// The echo takes no PDF files, and says what it got.
		res := ask("/v1/chat/completions", `{"model":"echo","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"`+document.ID+`"}}]}]}`)
		if got := gjson.GetBytes(res.Body, "choices.0.message.content").Str; !strings.Contains(got, "Hello document") {
			t.Errorf("%d %s", res.Status, res.Body)
		}
	})
	t.Run("responses", func(t *testing.T) {
		for _, c := range []struct{ model, store string }{{"gpt-test", "true"}, {"gpt-direct", "false"}} {
			res := ask("/v1/responses", `{"model":"`+c.model+`","store":`+c.store+`,"input":[{"role":"user","content":[{"type":"input_image","file_id":"`+image.ID+`"},{"type":"input_file","file_id":"`+document.ID+`"},{"type":"input_file","file_id":"`+text.ID+`"}]}]}`)
			if res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
		}
		got := last(up).Get("messages.0.content")
		if got.Get("0.image_url.url").Str != dataURL("image/png", png) || got.Get("1.file.file_data").Str != dataURL("application/pdf", pdf) || !strings.Contains(got.Get("2.text").Str, "# Note") {
			t.Errorf("translated: %.500s", got)
		}
		got = last(direct).Get("input.0.content")
		if got.Get("0.image_url").Str != dataURL("image/png", png) || got.Get("1.file_data").Str != dataURL("application/pdf", pdf) || got.Get("1.filename").Str != "hello.pdf" ||
			got.Get("2.type").Str != "input_text" || strings.Contains(got.Raw, "file_id") {
			t.Errorf("native: %.500s", got)
		}
	})
	t.Run("messages", func(t *testing.T) {
		content := `[{"type":"image","source":{"type":"file","file_id":"` + image.ID + `"}},{"type":"document","title":"T","cache_control":{"type":"ephemeral"},"source":{"type":"file","file_id":"` + document.ID + `"}},{"type":"document","source":{"type":"file","file_id":"` + text.ID + `"}}]`
		for _, model := range []string{"claude-test", "gpt-test"} {
			res := ask("/v1/messages", `{"model":"`+model+`","max_tokens":10,"messages":[{"role":"user","content":`+content+`}]}`)
			if res.Status != http.StatusOK {
				t.Fatalf("%s: %d %s", model, res.Status, res.Body)
			}
		}
		got := last(claude).Get("messages.0.content")
		if got.Get("0.source.data").Str != base64.StdEncoding.EncodeToString([]byte(png)) || got.Get("0.source.media_type").Str != "image/png" ||
			got.Get("1.source.type").Str != "base64" || got.Get("1.title").Str != "T" || got.Get("1.cache_control.type").Str != "ephemeral" || !strings.Contains(got.Get("2.text").Str, "# Note") {
			t.Errorf("native: %.500s", got)
		}
		got = last(up).Get("messages.0.content")
		if got.Get("0.image_url.url").Str != dataURL("image/png", png) || got.Get("1.file.file_data").Str != dataURL("application/pdf", pdf) {
			t.Errorf("translated: %.500s", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		n := len(up.Calls()) + len(direct.Calls()) + len(claude.Calls())
		for name, c := range map[string]struct {
			path, body string
			status     int
			code       string
			param      string
		}{
			"another account's": {"/v1/chat/completions", `{"model":"gpt-test","messages":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"file","file":{"file_id":"` + foreign.ID + `"}}]}]}`, 404, models.CodeResourceNotFound, "messages[1].content[1].file.file_id"},
			"an upstream's own": {"/v1/chat/completions", `{"model":"gpt-test","messages":[{"role":"user","content":[{"type":"file","file":{"file\u005fid":"file-abc"}}]}]}`, 404, models.CodeResourceNotFound, "messages[0].content[0].file.file_id"},
			"no text":           {"/v1/chat/completions", `{"model":"gpt-test","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"` + archive.ID + `"}}]}]}`, 400, models.CodeInvalidValue, "messages[0].content[0].file.file_id"},
			"no image":          {"/v1/chat/completions", `{"model":"gpt-test","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + text.ID + `"}}]}]}`, 400, models.CodeInvalidValue, "messages[0].content[0].image_url.url"},
			"response":          {"/v1/responses", `{"model":"gpt-test","input":[{"role":"user","content":[{"type":"input_file","file_id":"` + foreign.ID + `"}]}]}`, 404, models.CodeResourceNotFound, "input[0].content[0].file_id"},
			"native response":   {"/v1/responses", `{"model":"gpt-direct","store":false,"input":[{"role":"user","content":[{"type":"input_file","fil\u0065_id":"` + foreign.ID + `"}]}]}`, 404, models.CodeResourceNotFound, "input[0].content[0].file_id"},
			"container":         {"/v1/responses", `{"model":"gpt-direct","store":false,"input":"x","tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]}`, 400, models.CodeUnsupportedParameter, "tools[0].container.file_ids"},
		} {
			res := ask(c.path, c.body)
			e := res.Error(t)
			if res.Status != c.status || e.Code != c.code || e.Param == nil || *e.Param != c.param {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
		}
		res := ask("/v1/messages", `{"model":"claude-test","max_tokens":10,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"`+foreign.ID+`"}}]}]}`)
		if res.Status != http.StatusNotFound {
			t.Errorf("message: %d %s", res.Status, res.Body)
		}
		if more := len(up.Calls()) + len(direct.Calls()) + len(claude.Calls()); more != n {
			t.Errorf("%d upstream calls for refused requests", more-n)
		}
	})
}
