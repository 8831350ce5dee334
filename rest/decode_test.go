package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coaidev/coai/models"
)

// decodeAs decodes a body as the endpoint that takes a T does.
func decodeAs[T any](s strictness) func(body string) (any, error) {
	return func(body string) (any, error) {
		in := new(T)
		err := unmarshal([]byte(body), in, s)
		return in, err
	}
}

func TestMistakesAreNamedByPathAndExpectation(t *testing.T) {
	chat := decodeAs[models.ChatCompletionInput](passUnknown)
	createKey := decodeAs[models.CreateAPIKeyInput](refuseUnknown)
	updateKey := decodeAs[models.UpdateAPIKeyInput](refuseUnknown)
	createChannel := decodeAs[models.CreateChannelInput](refuseUnknown)
	updateChannel := decodeAs[models.UpdateChannelInput](refuseUnknown)
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)

	for _, c := range []struct {
		name    string
		decode  func(string) (any, error)
		body    string
		code    string
		param   string
		message string // a part of it
	}{
		{"no JSON", chat, `hello`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"cut off", chat, `{"model":"m","messages":[`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"white space only", chat, " \r\n\t", models.CodeInvalidJSON, "", "no body"},
		{"an array", chat, `[]`, models.CodeInvalidValue, "", "must be a JSON object; got an array"},
		{"null", chat, `null`, models.CodeInvalidValue, "", "must be a JSON object; got null"},
		{"a string", chat, ` "x"`, models.CodeInvalidValue, "", "must be a JSON object; got a string"},
		{"something behind it", chat, `{"model":"m"} {}`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"a byte behind it", chat, `{"model":"m"}x`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"a comma too many", chat, `{"model":"m",}`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"a comment", chat, `{/* */"model":"m"}`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"single quotes", chat, `{'model':'m'}`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"NaN", chat, `{"temperature":NaN}`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"a repeated name", chat, `{"model":"a","model":"b"}`, models.CodeInvalidJSON, "model", "'model' occurs twice"},
		{"a repeated name inside", chat, `{"messages":[{"role":"user","role":"user"}]}`, models.CodeInvalidJSON, "messages[0].role", "occurs twice"},
		{"a repeated name in what is not typed", chat, `{"x":{"a":{"b":1,"b":2}}}`, models.CodeInvalidJSON, "x.a.b", "occurs twice"},
		{"a repeated name in raw JSON", chat, `{"tool_choice":{"a":1,"a":2}}`, models.CodeInvalidJSON, "tool_choice.a", "occurs twice"},
		{"invalid UTF-8", chat, "{\"model\":\"\xff\"}", models.CodeInvalidJSON, "", "not valid JSON"},
		{"invalid UTF-8 in what is not typed", chat, "{\"x\":\"\xc3\x28\"}", models.CodeInvalidJSON, "", "not valid JSON"},
		{"half a surrogate pair", chat, `{"model":"\ud800"}`, models.CodeInvalidJSON, "", "not valid JSON"},
		{"a raw control character", chat, "{\"model\":\"\x00\"}", models.CodeInvalidJSON, "", "not valid JSON"},
		{"deep arrays", chat, `{"x":` + deep + `}`, models.CodeInvalidJSON, "", "nest at most 100 deep"},
		{"deep objects", chat, strings.Repeat(`{"x":`, 101) + "1" + strings.Repeat("}", 101), models.CodeInvalidJSON, "", "nest at most 100 deep"},

		{"a number for the model", chat, `{"model":7}`, models.CodeInvalidValue, "model", "expected a string, but got a number"},
		{"a string for messages", chat, `{"messages":"hi"}`, models.CodeInvalidValue, "messages", "expected an array, but got a string"},
		{"a string for a message", chat, `{"messages":["hi"]}`, models.CodeInvalidValue, "messages[0]", "expected an object, but got a string"},
		{"a number for content", chat, `{"messages":[{},{},{"content":5}]}`, models.CodeInvalidValue, "messages[2].content", "expected a string or an array of content parts, but got a number"},
		{"an object for content", chat, `{"messages":[{"content":{"text":"x"}}]}`, models.CodeInvalidValue, "messages[0].content", "a string or an array of content parts, but got an object"},
		{"a string for a part", chat, `{"messages":[{"content":["x"]}]}`, models.CodeInvalidValue, "messages[0].content[0]", "expected an object, but got a string"},
		{"a number for a part's text", chat, `{"messages":[{"content":[{"type":"text","text":1}]}]}`, models.CodeInvalidValue, "messages[0].content[0].text", "expected a string, but got a number"},
		{"a string for an image", chat, `{"messages":[{"content":[{"type":"image_url","image_url":"https://x"}]}]}`, models.CodeInvalidValue, "messages[0].content[0].image_url", "expected an object"},
		{"a string for stream", chat, `{"stream":"true"}`, models.CodeInvalidValue, "stream", "expected a boolean, but got a string"},
		{"a fraction for n", chat, `{"n":1.5}`, models.CodeInvalidValue, "n", "expected an integer, but got 1.5"},
		{"too many digits for n", chat, `{"n":99999999999999999999}`, models.CodeInvalidValue, "n", "expected an integer, but got 99999999999999999999"},
		{"a string for temperature", chat, `{"temperature":"0.5"}`, models.CodeInvalidValue, "temperature", "expected a number, but got a string"},
		{"too large a temperature", chat, `{"temperature":1e999}`, models.CodeInvalidValue, "temperature", "expected a number, but got 1e999"},
		{"a number for stop", chat, `{"stop":1}`, models.CodeInvalidValue, "stop", "a string or an array of strings, but got a number"},
		{"a number among stops", chat, `{"stop":["a",1]}`, models.CodeInvalidValue, "stop[1]", "expected a string, but got a number"},
		{"a number among metadata", chat, `{"metadata":{"a":1}}`, models.CodeInvalidValue, "metadata.a", "expected a string, but got a number"},
		{"arguments as an object", chat, `{"messages":[{"tool_calls":[{"function":{"arguments":{}}}]}]}`, models.CodeInvalidValue, "messages[0].tool_calls[0].function.arguments", "expected a string, but got an object"},

		{"an unknown field", createKey, `{"name":"a","color":"red"}`, models.CodeUnsupportedParameter, "color", "Unknown parameter: 'color'"},
		{"another case", createKey, `{"Name":"a"}`, models.CodeUnsupportedParameter, "Name", "Unknown parameter: 'Name'"},
		{"a field that is not an input", createKey, `{"name":"a","id":"key_1"}`, models.CodeUnsupportedParameter, "id", "Unknown parameter"},
		{"an unknown field inside", createChannel, `{"limits":{"rps":1}}`, models.CodeUnsupportedParameter, "limits.rps", "Unknown parameter"},
		{"an unknown field inside an omittable", updateChannel, `{"settings":{"timeout":1}}`, models.CodeUnsupportedParameter, "settings.timeout", "Unknown parameter"},
		{"a number for an omittable", updateKey, `{"name":1}`, models.CodeInvalidValue, "name", "expected a string, but got a number"},
		{"a string for an omittable list", updateKey, `{"scopes":"chat"}`, models.CodeInvalidValue, "scopes", "expected an array, but got a string"},
		{"a number in an omittable list", updateKey, `{"scopes":["chat",2]}`, models.CodeInvalidValue, "scopes[1]", "expected a string, but got a number"},
		{"a string for a limit", updateChannel, `{"limits":{"rpm":"5"}}`, models.CodeInvalidValue, "limits.rpm", "expected an integer, but got a string"},
		{"a number in a mapping", updateChannel, `{"model_mapping":{"a":1}}`, models.CodeInvalidValue, "model_mapping.a", "expected a string, but got a number"},
		{"a word for a time", createKey, `{"expires_at":"tomorrow"}`, models.CodeInvalidValue, "expires_at", "Unix seconds, or in RFC 3339"},
		{"a fraction for a time", createKey, `{"expires_at":1.5}`, models.CodeInvalidValue, "expires_at", "but got 1.5"},
		{"a time before 1970", updateKey, `{"expires_at":-1}`, models.CodeInvalidValue, "expires_at", "but got -1"},
		{"a time beyond all years", updateKey, `{"expires_at":1e300}`, models.CodeInvalidValue, "expires_at", "but got 1e300"},
		{"a list for a time", updateKey, `{"expires_at":[1]}`, models.CodeInvalidValue, "expires_at", "but got an array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.decode(c.body)
			var e *models.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a *models.Error", err)
			}
			if e.Kind != models.KindInvalid || e.Code != c.code || e.Param != c.param {
				t.Errorf("got kind %d, code %q, param %q, message %q; want code %q, param %q", e.Kind, e.Code, e.Param, e.Message, c.code, c.param)
			}
			if !strings.Contains(e.Message, c.message) {
				t.Errorf("message %q, want %q in it", e.Message, c.message)
			}
			for _, leak := range []string{"models.", "jsontext", "unmarshal", "Go "} {
				if strings.Contains(e.Message, leak) {
					t.Errorf("message %q speaks of the implementation: %q", e.Message, leak)
				}
			}
		})
	}
}

func TestEveryFieldOfACompletionIsRead(t *testing.T) {
	body := `{
		"model":"m", "unknown":{"kept":[1,2]}, "temperature":0.5, "top_p":1, "n":2, "max_tokens":5, "max_completion_tokens":6,
		"stop":"END", "presence_penalty":-1, "frequency_penalty":1, "logprobs":true, "top_logprobs":3, "seed":-9007199254740993,
		"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"z":1,"a":2},"strict":true}},{"type":"custom","custom":{"name":"c"}}],
		"tool_choice":"auto", "parallel_tool_calls":false, "functions":[{"name":"g"}], "function_call":{"name":"g"},
		"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"b":{},"a":{}}}},
		"reasoning_effort":"low", "user":"u", "metadata":{"k":"v"}, "stream":true, "stream_options":{"include_usage":true,"include_obfuscation":false},
		"messages":[
			{"role":"system","content":"be brief"},
			{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"https://x","detail":"low"}},
				{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}},{"type":"file","file":{"file_id":"file-1"}}],"name":"n"},
			{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"c1","content":"done \u0000 \ud83d\ude00"}
		]}`
	var got, want models.ChatCompletionInput
	if err := unmarshal([]byte(body), &got, passUnknown); err != nil {
		t.Fatal(err)
	}
	// The models' own methods, which other callers use, must read the same.
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if string(got.Tools[0].Function.Parameters) != `{"z":1,"a":2}` {
		t.Errorf("the order of a schema's keys is lost: %s", got.Tools[0].Function.Parameters)
	}
	if *got.Seed != -9007199254740993 {
		t.Errorf("seed %d lost digits", *got.Seed)
	}
	if got.Messages[2].Content != nil || got.Messages[3].Content.String() != "done \x00 😀" {
		t.Errorf("contents %+v", got.Messages)
	}
}

func TestNullIsAsAbsent(t *testing.T) {
	var in models.ChatCompletionInput
	body := `{"model":null,"messages":null,"temperature":null,"stop":null,"tools":null,"tool_choice":null,"functions":null,"function_call":null,
		"response_format":null,"metadata":null,"stream":null,"stream_options":null,"seed":null,"user":null}`
	if err := unmarshal([]byte(body), &in, passUnknown); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in, models.ChatCompletionInput{}) {
		t.Errorf("got %+v", in)
	}
}

func TestPatchTellsAbsentFromNull(t *testing.T) {
	var in models.UpdateChannelInput
	body := `{"credential":null,"base_url":"https://x","models":["a"],"model_mapping":{"a":"b"},"limits":null,"settings":{"headers":{"X-A":"1"}},"status":"disabled","weight":3}`
	if err := unmarshal([]byte(body), &in, refuseUnknown); err != nil {
		t.Fatal(err)
	}
	if v, ok := in.Credential.ValueOK(); !ok || v != nil {
		t.Errorf("credential %v, %v; want null", v, ok)
	}
	if v, ok := in.Limits.ValueOK(); !ok || v != nil {
		t.Errorf("limits %v, %v; want null", v, ok)
	}
	if in.Name.IsSet() || in.Priority.IsSet() {
		t.Error("absent fields count as set")
	}
	if v := in.BaseURL.Value(); v == nil || *v != "https://x" {
		t.Errorf("base_url %v", v)
	}
	if v := in.Models.Value(); len(v) != 1 || v[0] != "a" {
		t.Errorf("models %v", v)
	}
	if v := in.ModelMapping.Value(); v["a"] != "b" {
		t.Errorf("model_mapping %v", v)
	}
	if v := in.Settings.Value(); v == nil || v.Headers["X-A"] != "1" {
		t.Errorf("settings %v", v)
	}
	if v := in.Status.Value(); v == nil || *v != models.ChannelDisabled {
		t.Errorf("status %v", v)
	}
	if v := in.Weight.Value(); v == nil || *v != 3 {
		t.Errorf("weight %v", v)
	}
}

// TestEveryOmittableHasADecoder: without one a mistake inside it has no path.
func TestEveryOmittableHasADecoder(t *testing.T) {
	for _, in := range []any{models.UpdateAPIKeyInput{}, models.UpdateChannelInput{}, models.UpdateViewerInput{}, models.UpdateUserInput{}} {
		typ := reflect.TypeOf(in)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "preferences" {
				continue // any JSON: Validate looks at it
			}
			// No field takes an array of arrays; a field without a decoder of ours
			// answers with the words of encoding/json.
			target := reflect.New(typ)
			err := unmarshal([]byte(`{"`+name+`":[[0]]}`), target.Interface(), refuseUnknown)
			if err == nil || !strings.Contains(err.Error(), "expected ") {
				t.Errorf("%s.%s: %v", typ.Name(), name, err)
			}
		}
	}
}

func TestTimesAreUnixSecondsOrRFC3339(t *testing.T) {
	want := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, body := range []string{
		`{"name":"k","expires_at":1769860800}`, `{"name":"k","expires_at":1.7698608e9}`,
		`{"name":"k","expires_at":"2026-01-31T12:00:00Z"}`, `{"name":"k","expires_at":"2026-01-31T14:00:00+02:00"}`,
	} {
		var create models.CreateAPIKeyInput
		if err := unmarshal([]byte(body), &create, refuseUnknown); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if create.ExpiresAt == nil || !create.ExpiresAt.Equal(want) || create.ExpiresAt.Location() != time.UTC {
			t.Errorf("%s: got %v, want %v", body, create.ExpiresAt, want)
		}
		var update models.UpdateAPIKeyInput
		if err := unmarshal([]byte(body), &update, refuseUnknown); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if at := update.ExpiresAt.Value(); at == nil || !at.Equal(want) {
			t.Errorf("%s: got %v, want %v", body, at, want)
		}
	}
	var update models.UpdateAPIKeyInput
	if err := unmarshal([]byte(`{"expires_at":null}`), &update, refuseUnknown); err != nil {
		t.Fatal(err)
	}
	if at, ok := update.ExpiresAt.ValueOK(); !ok || at != nil {
		t.Errorf("null: got %v, %v", at, ok)
	}
}

func TestBodyIsRead(t *testing.T) {
	h := &handler{cfg: Config{MaxBody: 3 << 20}}
	body := bytes.Repeat([]byte("x"), 5<<19) // 2.5 MiB: beyond the first read
	for _, c := range []struct {
		name     string
		declared int64
		body     []byte
	}{
		{"of declared length", 0, body},
		{"of unknown length", -1, body},
		{"small", 0, []byte("{}")},
		{"small and of unknown length", -1, []byte("{}")},
		{"as long as it may be", -1, make([]byte, 3<<20)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", iotest.OneByteReader(bytes.NewReader(c.body)))
			r.Header.Set("Content-Type", "application/json")
			if r.ContentLength = int64(len(c.body)); c.declared < 0 {
				r.ContentLength = -1
			}
			got, err := h.readBody(httptest.NewRecorder(), r)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.body) {
				t.Errorf("got %d bytes, want %d", len(got), len(c.body))
			}
			if c.declared >= 0 && cap(got) != len(got) {
				t.Errorf("%d bytes in a buffer of %d", len(got), cap(got))
			}
		})
	}
}

func TestBodyIsRefused(t *testing.T) {
	h := &handler{cfg: Config{MaxBody: 100}}
	for _, c := range []struct {
		name        string
		contentType string
		encoding    string
		length      int64
		code        string
	}{
		{"declared too long", "application/json", "", 101, models.CodeRequestTooLarge},
		{"too long without a declaration", "application/json", "", -1, models.CodeRequestTooLarge},
		{"a form", "application/x-www-form-urlencoded", "", 50, models.CodeUnsupportedMediaType},
		{"no content type", "", "", 50, models.CodeUnsupportedMediaType},
		{"a broken content type", "application/json; =", "", 50, models.CodeUnsupportedMediaType},
		{"another charset", "application/json; charset=latin1", "", 50, models.CodeUnsupportedMediaType},
		{"compressed", "application/json", "gzip", 50, models.CodeUnsupportedMediaType},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 200)))
			r.ContentLength = c.length
			r.Header.Set("Content-Type", c.contentType)
			r.Header.Set("Content-Encoding", c.encoding)
			_, err := h.readBody(httptest.NewRecorder(), r)
			var e *models.Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
	r := httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(errors.New("reset")))
	r.Header.Set("Content-Type", "application/json; charset=UTF-8")
	if _, err := h.readBody(httptest.NewRecorder(), r); err == nil || !strings.Contains(err.Error(), "ended early") {
		t.Errorf("a body that breaks off: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
		`{"messages":[{"content":[{"type":"text","text":"a\\\"b"}]}],"stop":["a"],"stream":true}`,
		`{"name":"x","models":["a"],"model_mapping":{"a":"b"},"limits":null,"expires_at":17}`,
		`{"a":"\\","b":"\\\"","c":[[[]]]}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `[`, `nul`, "", strings.Repeat("[", 200),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, into := range []any{new(models.ChatCompletionInput), new(models.CreateChannelInput), new(models.UpdateChannelInput), new(models.UpdateAPIKeyInput)} {
			s := refuseUnknown
			if _, chat := into.(*models.ChatCompletionInput); chat {
				s = passUnknown
			}
			original := bytes.Clone(body)
			err := unmarshal(body, into, s)
			if !bytes.Equal(body, original) {
				t.Fatal("decoding changed the bytes, which are forwarded")
			}
			var e *models.Error
			switch {
			case err == nil && !json.Valid(body):
				t.Fatalf("took what is not JSON: %q", body)
			case err != nil && (!errors.As(err, &e) || e.Kind != models.KindInvalid || e.Message == ""):
				t.Fatalf("%q: %v is no client's mistake", body, err)
			}
		}
		if json.Valid(body) && tooDeep(body) != (depth(body) > maxDepth) {
			t.Fatalf("tooDeep(%q) = %v at depth %d", body, tooDeep(body), depth(body))
		}
	})
}

// depth is how deep valid JSON nests.
func depth(body []byte) (most int) {
	dec, now := json.NewDecoder(bytes.NewReader(body)), 0
	for {
		tok, err := dec.Token()
		if err != nil {
			return most
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			now++
			most = max(most, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"model":"gpt-4o","messages":[` + strings.Repeat(`{"role":"user","content":"`+strings.Repeat("some words ", 20)+`"},`, 100) + `{"role":"user","content":"hi"}],"stream":true}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		in := models.ChatCompletionInput{Raw: body}
		if err := unmarshal(body, &in, passUnknown); err != nil {
			b.Fatal(err)
		}
	}
}
