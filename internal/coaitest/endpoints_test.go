package coaitest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// form is a transcription request.
func form(t *testing.T, filename string, audio []byte, fields ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if filename != "" {
		part, err := w.CreateFormFile("file", filename)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(audio)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

// endpoint is how each endpoint is asked, and what an upstream answers.
type endpoint struct {
	path      string
	body      object
	operation models.Operation
	answer    string // of a scripted upstream
	prompt    int64  // tokens of the answer
	output    int64
}

func endpoints() map[string]endpoint {
	return map[string]endpoint{
		"embeddings": {
			"/v1/embeddings", object{"input": "Hello"}, models.OperationEmbeddings,
			`{"object":"list","model":"up","data":[{"object":"embedding","index":0,"embedding":[0.5,-1]}],"usage":{"prompt_tokens":7,"total_tokens":7},"their":1}`, 7, 0,
		},
		"completions": {
			"/v1/completions", object{"prompt": "Hello"}, models.OperationTextCompletion,
			`{"id":"cmpl-1","object":"text_completion","created":1,"model":"up","choices":[{"index":0,"text":"Hi","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"their":1}`, 3, 2,
		},
		"images": {
			"/v1/images/generations", object{"prompt": "A dot", "n": 2}, models.OperationImage,
			`{"created":1,"data":[{"b64_json":"AA=="},{"b64_json":"AA=="}],"usage":{"input_tokens":4,"output_tokens":9,"total_tokens":13},"their":1}`, 4, 9,
		},
		"moderations": {
			"/v1/moderations", object{"input": "Hello"}, models.OperationModeration,
			`{"id":"modr-1","model":"up","results":[{"flagged":true,"categories":{"hate":true},"category_scores":{"hate":1}}],"their":1}`, 0, 0,
		},
	}
}

func (e endpoint) ask(model string) object {
	in := object{"model": model, "unknown_field": 17}
	for k, v := range e.body {
		in[k] = v
	}
	return in
}

// Every endpoint passes bytes on, fails over, prices and accounts as chat does.
func TestEndpointsPassThrough(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		t.Run(name, func(t *testing.T) {
			coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
				p := coaitest.Start(t, b)
				broken := coaitest.NewUpstream(t, coaitest.Status(500, "application/json", `{"error":{"message":"down","type":"server_error"}}`))
				good := coaitest.NewUpstream(t, coaitest.Status(200, "application/json", e.answer))
				p.Channel(broken, object{"name": "broken", "priority": 10})
				channel := p.Channel(good, object{"name": "good", "model_mapping": object{"gpt-test": "up"}})
				save := `mutation { saveModel(input: {name: "gpt-test", pricing: {prompt: "1", completion: "2"}}) { userErrors { message } } }`
				if errs := p.GraphQL(coaitest.AdminKey, save, nil, nil); len(errs) > 0 {
					t.Fatal(errs)
				}
				res := p.Do("POST", e.path, coaitest.AdminKey, e.ask("gpt-test"))
				if res.Status != http.StatusOK {
					t.Fatalf("%d %s", res.Status, res.Body)
				}
				if res.Header.Get("X-Coai-Channel") != channel || res.Header.Get("Openai-Processing-Ms") == "" {
					t.Errorf("headers %v", res.Header)
				}
				var got struct {
					Model string
					Their int
					Usage struct{ Cost *float64 }
				}
				res.JSON(t, &got)
				if got.Their != 1 || got.Model != "" && got.Model != "gpt-test" {
					t.Errorf("%s", res.Body)
				}
				call := good.Calls()[0]
				if call.Path != e.path || !bytes.Contains(call.Body, []byte(`"unknown_field":17`)) || !bytes.Contains(call.Body, []byte(`"model":"up"`)) {
					t.Errorf("upstream got %s %s", call.Path, call.Body)
				}
				rows := p.Usage(2)
				first, rec := rows[0], rows[1]
				if first.ErrorCode != models.CodeUpstreamError || first.Cost != 0 || first.Operation != e.operation {
					t.Errorf("first attempt %+v", first)
				}
				cost := models.Nanos(e.prompt*1000 + e.output*2000)
				if rec.ErrorCode != "" || rec.Operation != e.operation || rec.PromptTokens != e.prompt || rec.CompletionTokens != e.output ||
					rec.Cost != cost || rec.Estimated || rec.ChannelID != channel || rec.UpstreamModel != "up" {
					t.Errorf("second attempt %+v", rec)
				}
				if e.prompt > 0 && (got.Usage.Cost == nil || *got.Usage.Cost == 0) {
					t.Errorf("no cost in %s", res.Body)
				}
				if user := p.Do("POST", e.path, p.UserKey(nil), e.ask("gpt-test")); user.Header.Get("X-Coai-Channel") != "" {
					t.Error("a user sees the channel")
				}
			})
		})
	}
}

// What an upstream answers wrongly is never a success, and never shows its text.
func TestEndpointsUpstreamFaults(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	for name, c := range map[string]struct {
		reply  coaitest.Reply
		status int
		code   string
	}{
		"cut short":   {coaitest.Status(200, "application/json", `{"object":"list","data":[{"embed`), 503, models.CodeUpstreamError},
		"empty":       {coaitest.Status(200, "application/json", ""), 503, models.CodeUpstreamError},
		"web page":    {coaitest.Status(200, "text/html", "<html>secret.internal</html>"), 503, models.CodeUpstreamError},
		"not a list":  {coaitest.Status(200, "application/json", `{"object":"list"}`), 503, models.CodeUpstreamError},
		"error in it": {coaitest.Status(200, "application/json", `{"error":{"message":"secret.internal","type":"server_error"}}`), 503, models.CodeUpstreamError},
		"rejected":    {coaitest.Status(400, "application/json", `{"error":{"message":"dimensions is wrong","type":"invalid_request_error","param":"dimensions"}}`), 400, models.CodeInvalidValue},
		"bad vector":  {coaitest.Status(200, "application/json", `{"object":"list","data":[{"embedding":"AAA"}]}`), 503, models.CodeUpstreamError},
	} {
		u := coaitest.NewUpstream(t, c.reply)
		p.Channel(u, object{"name": name, "models": []string{name}})
		res := p.Do("POST", "/v1/embeddings", coaitest.AdminKey, object{"model": name, "input": "x"})
		if e := res.Error(t); res.Status != c.status || e.Code != c.code || strings.Contains(e.Message, "secret.internal") {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
}

// Both formats of vectors work, whatever the upstream answers with; missing
// usage is counted here.
func TestEmbeddingFormats(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	packed := base64.StdEncoding.EncodeToString([]byte{0, 0, 0, 0x3f, 0, 0, 0x80, 0xbf}) // 0.5, -1
	for i, answered := range []string{"[0.5,-1]", `"` + packed + `"`} {
		u := coaitest.NewUpstream(t, coaitest.Status(200, "application/json", `{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":`+answered+`}]}`))
		name := fmt.Sprintf("m%d", i)
		p.Channel(u, object{"name": name, "models": []string{name}})
		for format, want := range map[string]string{"float": "[0.5,-1]", "base64": `"` + packed + `"`} {
			res := p.Do("POST", "/v1/embeddings", coaitest.AdminKey, object{"model": name, "input": []string{"hello world", "hello"}, "encoding_format": format})
			if res.Status != 200 || !bytes.Contains(res.Body, []byte(`"embedding":`+want)) || !bytes.Contains(res.Body, []byte(`"estimated":true`)) {
				t.Errorf("%s from %s: %d %s", format, answered, res.Status, res.Body)
			}
		}
	}
	for _, rec := range p.Usage(4) {
		if rec.PromptTokens != 3 || !rec.Estimated {
			t.Errorf("%+v", rec)
		}
	}
}

// Streamed text completions: native ones with the usage hidden or shown, and
// those of a model that only chats.
func TestTextCompletionStreams(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		piece := func(text, finish string) string {
			return `{"id":"cmpl-1","object":"text_completion","created":1,"model":"up","choices":[{"index":0,"text":"` + text + `","logprobs":null,"finish_reason":` + finish + `}],"usage":null}`
		}
		usage := `{"id":"cmpl-1","object":"text_completion","created":1,"model":"up","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`
		whole := coaitest.Events(piece("Hel", "null"), piece("lo", `"stop"`), usage, coaitest.Done)
		u := coaitest.NewUpstream(t, whole)
		p.Channel(u, object{"model_mapping": object{"gpt-test": "up"}})
		for _, model := range []string{"gpt-test", "echo"} {
			for _, shown := range []bool{false, true} {
				in := object{"model": model, "prompt": "Hello", "stream": true}
				if shown {
					in["stream_options"] = object{"include_usage": true}
				}
				events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/completions", coaitest.AdminKey, in)).All()
				if n := len(events); n < 2 || events[n-1] != coaitest.Done {
					t.Fatalf("%q", events)
				}
				text, tokens := "", int64(0)
				for _, e := range events[:len(events)-1] {
					c := decode[struct {
						Object, Model string
						Choices       []struct{ Text string }
						Usage         *struct {
							TotalTokens int64 `json:"total_tokens"`
						}
					}](t, e)
					if c.Object != "text_completion" || c.Model != model {
						t.Errorf("%s", e)
					}
					for _, choice := range c.Choices {
						text += choice.Text
					}
					if c.Usage != nil {
						tokens = c.Usage.TotalTokens
					}
				}
				if text != "Hello" || (tokens > 0) != shown {
					t.Errorf("%s: %q with %d tokens; %q", model, text, tokens, events)
				}
			}
		}
		if sent := u.Calls()[0].Body; !bytes.Contains(sent, []byte(`"include_usage":true`)) {
			t.Errorf("usage was not asked for: %s", sent)
		}
		u.Then(coaitest.Events(piece("Hel", "null")))
		events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/completions", coaitest.AdminKey, object{"model": "gpt-test", "prompt": "Hello", "stream": true})).All()
		if last := events[len(events)-1]; !strings.Contains(last, `"upstream_error"`) {
			t.Errorf("a cut stream ends with %q", last)
		}
		rows := p.Usage(5)
		for i, rec := range rows {
			if rec.Operation != models.OperationTextCompletion || !rec.Stream || rec.PromptTokens == 0 || rec.CompletionTokens == 0 {
				t.Errorf("%d: %+v", i, rec)
			}
		}
		if rows[4].ErrorCode != models.CodeUpstreamError || !rows[4].Estimated {
			t.Errorf("%+v", rows[4])
		}
	})
}

// Speech passes through as it is made; the record is settled before the last
// byte is out, and the client's leaving reaches the upstream.
func TestSpeech(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		more, gone := make(chan struct{}), make(chan struct{})
		u := coaitest.NewUpstream(t, func(w http.ResponseWriter, _ *coaitest.Call) {
			w.Header().Set("Content-Type", "audio/mpeg")
			_, _ = w.Write([]byte("first "))
			w.(http.Flusher).Flush()
			<-more
			_, _ = w.Write([]byte("second"))
		})
		p.Channel(u, nil)
		in := object{"model": "gpt-test", "input": "Grüße", "voice": "alloy"}
		res := p.Open(t.Context(), "POST", "/v1/audio/speech", coaitest.AdminKey, in)
		defer func() { _ = res.Body.Close() }()
		head := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, head); err != nil || res.Header.Get("Content-Type") != "audio/mpeg" {
			t.Fatalf("%v %v", err, res.Header)
		}
		close(more) // what came before did not wait for the end
		rest, err := io.ReadAll(res.Body)
		if got := string(head) + string(rest); err != nil || got != "first second" {
			t.Errorf("%q, %v", got, err)
		}
		if rec := p.Usage(1)[0]; rec.Operation != models.OperationSpeech || rec.ErrorCode != "" || rec.PromptTokens == 0 {
			t.Errorf("%+v", rec)
		}
		u.Then(func(w http.ResponseWriter, c *coaitest.Call) {
			w.Header().Set("Content-Type", "audio/mpeg")
			_, _ = w.Write([]byte("first "))
			w.(http.Flusher).Flush()
			<-c.Gone
			close(gone)
		})
		ctx, leave := context.WithCancel(t.Context())
		left := p.Open(ctx, "POST", "/v1/audio/speech", coaitest.AdminKey, in)
		_, _ = left.Body.Read(head)
		leave()
		<-gone
		_ = left.Body.Close()
		if rec := p.Usage(2)[1]; rec.ErrorCode != "client_closed_request" || rec.PromptTokens == 0 {
			t.Errorf("%+v", rec)
		}
		u.Then(func(w http.ResponseWriter, _ *coaitest.Call) {
			w.Header().Set("Content-Type", "audio/mpeg")
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("first "))
		})
		cut := p.Open(t.Context(), "POST", "/v1/audio/speech", coaitest.AdminKey, in)
		if got, err := io.ReadAll(cut.Body); err == nil {
			t.Errorf("a recording that was cut ended properly: %q", got)
		}
		_ = cut.Body.Close()
		u.Then(coaitest.Events(`{"type":"speech.audio.delta","audio":"AA=="}`, `{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}`))
		in["stream_format"] = "sse"
		if events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/audio/speech", coaitest.AdminKey, in)).All(); len(events) != 2 {
			t.Errorf("%q", events)
		}
		if rec := p.Usage(4)[3]; rec.PromptTokens != 14 || rec.CompletionTokens != 101 || rec.Estimated {
			t.Errorf("%+v", rec)
		}
	})
}

// A transcription's form reaches the upstream as it came but for the model.
func TestTranscription(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		u := coaitest.NewUpstream(t, coaitest.Status(200, "application/json", `{"text":"hello","usage":{"type":"duration","seconds":3}}`))
		p.Channel(u, object{"model_mapping": object{"gpt-test": "up"}})
		post := func(body []byte, contentType string) *coaitest.Response {
			return p.Do("POST", "/v1/audio/transcriptions", coaitest.AdminKey, body, "Content-Type", contentType)
		}
		audio := bytes.Repeat([]byte("abc"), 1000)
		if res := post(form(t, "talk.mp3", audio, "model", "gpt-test", "language", "en", "hint[]", "x")); res.Status != 200 || !bytes.Contains(res.Body, []byte(`"text":"hello"`)) {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		if sent := u.Calls()[0].Body; !bytes.Contains(sent, audio) || !bytes.Contains(sent, []byte("\r\n\r\nup\r\n")) || !bytes.Contains(sent, []byte(`"hint[]"`)) {
			t.Errorf("the upstream got %q", sent[:min(len(sent), 400)])
		}
		if rec := p.Usage(1)[0]; rec.Operation != models.OperationTranscription || rec.Estimated || rec.PromptTokens != 0 {
			t.Errorf("%+v", rec)
		}
		u.Then(coaitest.Status(200, "text/plain", "hello\n"))
		if res := post(form(t, "talk.mp3", audio, "model", "gpt-test", "response_format", "text")); string(res.Body) != "hello\n" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		u.Then(coaitest.Events(`{"type":"transcript.text.delta","delta":"hel"}`, `{"type":"transcript.text.done","text":"hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}`))
		body, contentType := form(t, "talk.mp3", audio, "model", "gpt-test", "stream", "true")
		events := coaitest.NewEventStream(t, p.Open(t.Context(), "POST", "/v1/audio/transcriptions", coaitest.AdminKey, body, "Content-Type", contentType)).All()
		if len(events) != 2 {
			t.Errorf("%q", events)
		}
		if rec := p.Usage(3)[2]; rec.PromptTokens != 14 || rec.CompletionTokens != 45 || !rec.Stream {
			t.Errorf("%+v", rec)
		}
		for name, c := range map[string]struct {
			filename, contentType string
			size                  int
			fields                []string
			status                int
			param                 string
		}{
			"no file":       {"", "", 0, []string{"model", "gpt-test"}, 400, "file"},
			"no model":      {"a.mp3", "", 1, nil, 400, "model"},
			"two models":    {"a.mp3", "", 1, []string{"model", "gpt-test", "model", "echo"}, 400, "model"},
			"format":        {"a.exe", "", 1, []string{"model", "gpt-test"}, 400, "file"},
			"temperature":   {"a.mp3", "", 1, []string{"model", "gpt-test", "temperature", "NaN"}, 400, "temperature"},
			"JSON":          {"a.mp3", "application/json", 1, []string{"model", "gpt-test"}, 415, ""},
			"too large":     {"a.mp3", "", models.MaxAudioFile + 1, []string{"model", "gpt-test"}, 413, "file"},
			"far too large": {"a.mp3", "", models.MaxAudioFile + 2<<20, []string{"model", "gpt-test"}, 413, ""},
			"no boundary":   {"a.mp3", "multipart/form-data", 1, []string{"model", "gpt-test"}, 415, ""},
			"bad boundary":  {"a.mp3", "multipart/form-data; boundary=x", 1, []string{"model", "gpt-test"}, 400, ""},
		} {
			body, contentType := form(t, c.filename, make([]byte, c.size), c.fields...)
			if c.contentType != "" {
				contentType = c.contentType
			}
			res := post(body, contentType)
			e := res.Error(t)
			if param := e.Param; res.Status != c.status || c.param != "" && (param == nil || *param != c.param) {
				t.Errorf("%s: %d %s", name, res.Status, res.Body)
			}
		}
	})
}

// A model on a channel without the endpoint is not found there, and its channel
// stays as it is.
func TestEndpointThatNobodyServes(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	for _, c := range []struct {
		path   string
		body   object
		status int
		param  string
	}{
		{"/v1/embeddings", object{"model": "none", "input": "x"}, 404, "model"},
		{"/v1/completions", object{"model": "echo", "prompt": "x", "logprobs": 2}, 400, "logprobs"},
		{"/v1/completions", object{"model": "echo", "prompt": []string{"x", "y"}}, 400, "prompt"},
		{"/v1/completions", object{"model": "echo", "prompt": "x", "suffix": "y"}, 400, "suffix"},
		{"/v1/completions", object{"model": "echo", "prompt": "x", "echo": true}, 400, "echo"},
		{"/v1/completions", object{"model": "echo", "prompt": "x", "best_of": 3}, 400, "best_of"},
		{"/v1/completions", object{"model": "echo"}, 400, "prompt"},
		{"/v1/embeddings", object{"model": "echo"}, 400, "input"},
		{"/v1/embeddings", object{"model": "echo", "input": ""}, 400, "input"},
		{"/v1/embeddings", object{"model": "echo", "input": []any{"a", 1}}, 400, "input[1]"},
		{"/v1/embeddings", object{"model": "echo", "input": []any{[]any{}}}, 400, "input[0]"},
		{"/v1/embeddings", object{"model": "echo", "input": []any{1.5}}, 400, "input[0]"},
		{"/v1/embeddings", object{"model": "echo", "input": "x", "dimensions": 0}, 400, "dimensions"},
		{"/v1/embeddings", object{"model": "echo", "input": "x", "encoding_format": "hex"}, 400, "encoding_format"},
		{"/v1/images/generations", object{"model": "echo", "prompt": "x", "n": 11}, 400, "n"},
		{"/v1/audio/speech", object{"model": "echo", "input": "x"}, 400, "voice"},
		{"/v1/audio/speech", object{"model": "echo", "input": strings.Repeat("ü", 4097), "voice": "a"}, 400, "input"},
		{"/v1/audio/speech", object{"model": "echo", "input": "x", "voice": "a", "speed": 5}, 400, "speed"},
		{"/v1/audio/speech", object{"model": "echo", "input": "x", "voice": "a", "response_format": "exe"}, 400, "response_format"},
		{"/v1/moderations", object{"model": "echo", "input": []int{1}}, 400, "input[0]"},
		{"/v1/moderations", object{"input": "x"}, 404, "model"},
	} {
		res := p.Do("POST", c.path, coaitest.AdminKey, c.body)
		if e := res.Error(t); res.Status != c.status || e.Param == nil || *e.Param != c.param {
			t.Errorf("%s %v: %d %s", c.path, c.body, res.Status, res.Body)
		}
	}
	key := p.UserKey(object{"scopes": []string{"models:read"}})
	if res := p.Do("POST", "/v1/embeddings", key, object{"model": "echo", "input": "x"}); res.Status != http.StatusForbidden {
		t.Errorf("without the scope: %d %s", res.Status, res.Body)
	}
}

// GraphQL says what REST says.
func TestEndpointsOverGraphQL(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		var data struct {
			E struct {
				Embeddings struct {
					Data []struct{ Embedding []float64 }
					Raw  struct {
						Data []struct{ Embedding []float64 }
					}
				}
			}
			C struct {
				TextCompletion struct {
					Choices []struct{ Text string }
					Usage   struct{ TotalTokens int }
				}
			}
			I struct {
				Images struct{ Data []struct{ B64Json string } }
			}
			S struct {
				Speech struct{ ContentType, Audio string }
			}
			T struct{ Transcription struct{ Text string } }
			M struct {
				Moderation struct{ Results []struct{ Flagged bool } }
			}
			Bad struct {
				UserErrors []struct{ Field []string }
			}
		}
		query := `mutation {
			e: createEmbedding(input: {model: "echo", input: ["[1,2]"], dimensions: 3}) { embeddings { data { embedding } raw } }
			c: createTextCompletion(input: {model: "echo", prompt: "Hello there", stop: ["there"]}) { textCompletion { choices { text finishReason } usage { totalTokens } } }
			i: createImage(input: {model: "echo", prompt: "A dot", n: 2}) { images { data { b64Json } } }
			s: createSpeech(input: {model: "echo", input: "Hi", voice: "alloy"}) { speech { contentType audio } }
			t: createTranscription(input: {model: "echo", file: "YWJj", filename: "a.wav"}) { transcription { text raw } }
			m: createModeration(input: {model: "echo", input: ["a", "b"]}) { moderation { results { flagged categories categoryScores } } }
			bad: createSpeech(input: {model: "echo", input: "Hi", voice: "a", speed: 9}) { userErrors { field } }
		}`
		if errs := p.GraphQL(coaitest.AdminKey, query, nil, &data); len(errs) > 0 {
			t.Fatal(errs)
		}
		var rest struct {
			Data []struct{ Embedding []float64 }
		}
		p.Do("POST", "/v1/embeddings", coaitest.AdminKey, object{"model": "echo", "input": "[1,2]", "dimensions": 3}).JSON(t, &rest)
		if fmt.Sprint(rest.Data) != fmt.Sprint(data.E.Embeddings.Data) || fmt.Sprint(rest.Data) != fmt.Sprint(data.E.Embeddings.Raw.Data) || len(rest.Data[0].Embedding) != 3 {
			t.Errorf("REST %v, GraphQL %v", rest.Data, data.E.Embeddings)
		}
		speech := p.Do("POST", "/v1/audio/speech", coaitest.AdminKey, object{"model": "echo", "input": "Hi", "voice": "alloy"})
		if data.S.Speech.Audio != base64.StdEncoding.EncodeToString(speech.Body) || data.S.Speech.ContentType != "audio/wav" || string(speech.Body[:4]) != "RIFF" {
			t.Errorf("speech %d %s", speech.Status, data.S.Speech.ContentType)
		}
		if data.C.TextCompletion.Choices[0].Text != "Hello " || data.C.TextCompletion.Usage.TotalTokens == 0 {
			t.Errorf("%+v", data.C)
		}
		if len(data.I.Images.Data) != 2 || data.I.Images.Data[0].B64Json == "" || data.T.Transcription.Text != "a.wav has 3 bytes." || len(data.M.Moderation.Results) != 2 {
			t.Errorf("%+v %+v %+v", data.I, data.T, data.M)
		}
		if len(data.Bad.UserErrors) != 1 || fmt.Sprint(data.Bad.UserErrors[0].Field) != "[speed]" {
			t.Errorf("%+v", data.Bad)
		}
	})
}
