package openai_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/openai"
)

// seen is a request that a scripted server got.
type seen struct {
	path, accept, contentType string
	body                      []byte
}

// record notes requests and answers with what reply says.
func record(t testing.TB, got *[]seen, reply http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*got = append(*got, seen{r.URL.String(), r.Header.Get("Accept"), r.Header.Get("Content-Type"), body})
		reply(w, r)
	}
}

func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func readReply(t testing.TB, p *openai.Provider, call providers.Call) (*providers.Reply, []byte) {
	t.Helper()
	reply, err := p.Relay(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reply.Body.Close() }()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, b
}

func TestRelayPassesBytesOn(t *testing.T) {
	const events = "event: response.created\ndata: {\"type\":\"response.created\"}\n\n"
	for _, c := range []struct {
		call              providers.Call
		sent              string
		accept            string
		replyType, answer string
	}{
		{
			providers.Call{Endpoint: providers.Embeddings, Body: []byte(`{ "input":"a" , "model":"emb","encoding_format":"base64","x":1}`)},
			`{"input":"a","model":"up","encoding_format":"base64","x":1}`, "application/json", "application/json", `{"object":"list","data":[]}`,
		},
		{
			providers.Call{Endpoint: providers.Completions, Body: []byte(`{"model":"emb","prompt":"a"}`)},
			`{"model":"up","prompt":"a"}`, "application/json", "application/json", `{"object":"text_completion"}`,
		},
		{
			providers.Call{Endpoint: providers.Completions, Stream: true, Body: []byte(`{"model":"emb","prompt":"a","stream":true}`)},
			`{"model":"up","prompt":"a","stream":true,"stream_options":{"include_usage":true}}`, "text/event-stream", "text/event-stream", "data: [DONE]\n\n",
		},
		{
			providers.Call{Endpoint: providers.Responses, Stream: true, Body: []byte(`{"model":"emb","input":"a","stream":true,"max_tokens":3}`)},
			`{"model":"up","input":"a","stream":true,"max_tokens":3}`, "text/event-stream", "text/event-stream; charset=utf-8", events,
		},
		{
			providers.Call{Endpoint: providers.Images, Body: []byte(`{"prompt":"a","model":"emb"}`)},
			`{"prompt":"a","model":"up"}`, "application/json", "application/json", `{"created":1,"data":[]}`,
		},
		{
			providers.Call{Endpoint: providers.Speech, Body: []byte(`{"model":"emb","input":"a","voice":"alloy"}`)},
			`{"model":"up","input":"a","voice":"alloy"}`, "*/*", "audio/mpeg", "ID3\x00\xff\xfe",
		},
		{
			providers.Call{Endpoint: providers.Moderations, Body: []byte(`{"input":"a"}`)},
			`{"input":"a","model":"up"}`, "application/json", "application/json", `{"results":[]}`,
		},
	} {
		t.Run(string(c.call.Endpoint), func(t *testing.T) {
			var got []seen
			p := upstream(t, openai.Config{Quirks: openai.Quirks{Responses: true, MaxTokens: "max_completion_tokens"}}, record(t, &got, answer(http.StatusOK, c.replyType, c.answer)))
			if !p.Serves(c.call.Endpoint) {
				t.Fatal("not served")
			}
			c.call.Model, c.call.Asked, c.call.ContentType = "up", "emb", "application/json"
			body := bytes.Clone(c.call.Body)
			reply, out := readReply(t, p, c.call)
			if reply.ContentType != c.replyType || string(out) != c.answer {
				t.Errorf("answered %q, %q", reply.ContentType, out)
			}
			if len(got) != 1 || got[0].path != "/v1/"+string(c.call.Endpoint) || got[0].accept != c.accept || string(got[0].body) != c.sent {
				t.Errorf("asked %+v with %s", got, got[0].body)
			}
			if !bytes.Equal(body, c.call.Body) {
				t.Error("the call's body was changed")
			}
		})
	}
}

func form(t testing.TB, fields ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("file", "speech.mp3")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(file, "\x00\r\n--\xff audio")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

func TestRelayForm(t *testing.T) {
	for name, fields := range map[string][]string{
		"one model":  {"language", "en", "model", "whisper"},
		"two models": {"model", "whisper", "language", "en", "model", "other"},
		"no model":   {"language", "en"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []seen
			p := upstream(t, openai.Config{}, record(t, &got, answer(http.StatusOK, "text/plain", "hello\n")))
			body, contentType := form(t, fields...)
			reply, out := readReply(t, p, providers.Call{
				Endpoint: providers.Transcriptions, Model: "whisper-1", Asked: "whisper", ContentType: contentType, Body: body,
			})
			if string(out) != "hello\n" || reply.ContentType != "text/plain" || got[0].accept != "*/*" || got[0].path != "/v1/audio/transcriptions" {
				t.Errorf("%q %+v", out, got)
			}
			_, params, err := mime.ParseMediaType(got[0].contentType)
			if err != nil {
				t.Fatal(err)
			}
			sent, err := multipart.NewReader(bytes.NewReader(got[0].body), params["boundary"]).ReadForm(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			if m := sent.Value["model"]; len(m) != 1 || m[0] != "whisper-1" || sent.Value["language"][0] != "en" {
				t.Errorf("sent %v", sent.Value)
			}
			f, err := sent.File["file"][0].Open()
			if err != nil {
				t.Fatal(err)
			}
			if audio, _ := io.ReadAll(f); string(audio) != "\x00\r\n--\xff audio" || sent.File["file"][0].Filename != "speech.mp3" {
				t.Errorf("sent %q", audio)
			}
		})
	}
	p := upstream(t, openai.Config{}, answer(http.StatusOK, "text/plain", ""))
	_, err := p.Relay(t.Context(), providers.Call{Endpoint: providers.Transcriptions, ContentType: "multipart/form-data; boundary=x", Body: []byte("none")})
	wantClass(t, err, providers.Rejected)
}

func TestRelayFailures(t *testing.T) {
	call := providers.Call{Endpoint: providers.Embeddings, Model: "up-emb", Asked: "emb", ContentType: "application/json", Body: []byte(`{"model":"emb","input":"a"}`)}
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		want                    providers.Class
		message                 string
	}{
		{"bad request", "application/json", `{"error":{"message":"up-emb takes no such dimensions","type":"invalid_request_error","param":"dimensions","code":null}}`, 400, providers.Rejected, "emb takes no such dimensions"},
		{"not there", "text/html", "<h1>404</h1>", 404, providers.NoModel, "embeddings"},
		{"not allowed", "text/html", "", 405, providers.NoModel, "embeddings"},
		{"key", "application/json", `{"error":{"message":"bad key","type":"x","code":"invalid_api_key"}}`, 401, providers.Credential, "credential"},
		{"web page", "text/html; charset=utf-8", "<h1>Welcome</h1>", 200, providers.Malformed, "web page"},
		{"overloaded", "application/json", `{}`, 503, providers.Unavailable, "failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := upstream(t, openai.Config{}, answer(c.status, c.contentType, c.body))
			_, err := p.Relay(t.Context(), call)
			wantClass(t, err, c.want)
			if e := providers.AsError(err); !strings.Contains(e.Message, c.message) || strings.Contains(e.Message, "up-emb") {
				t.Errorf("message %q", e.Message)
			}
		})
	}
	for _, e := range []providers.Endpoint{providers.Messages, providers.Responses} {
		p := upstream(t, openai.Config{}, answer(http.StatusOK, "application/json", "{}"))
		if p.Serves(e) {
			t.Errorf("serves %s", e)
		}
		_, err := p.Relay(t.Context(), providers.Call{Endpoint: e, Body: []byte("{}")})
		wantClass(t, err, providers.NoModel)
	}
	if !openai.New(openai.Config{BaseURL: "https://api.openai.com/v1"}, &http.Client{}).Serves(providers.Responses) {
		t.Error("OpenAI itself serves responses")
	}
}

// What breaks off in the middle of an answer is an error, and never a proper end.
func TestRelayBreaksOff(t *testing.T) {
	call := providers.Call{Endpoint: providers.Speech, ContentType: "application/json", Body: []byte(`{}`)}
	for name, c := range map[string]struct {
		cfg    openai.Config
		script http.HandlerFunc
		want   providers.Class
	}{
		"cut": {openai.Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		}, providers.Unavailable},
		"silent": {openai.Config{IdleTimeout: 30 * time.Millisecond}, readFirst(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), providers.Timeout},
		"too large": {openai.Config{MaxBytes: 10}, answer(http.StatusOK, "audio/mpeg", strings.Repeat("x", 100)), providers.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			p := upstream(t, c.cfg, c.script)
			reply, err := p.Relay(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.ReadAll(reply.Body)
			wantClass(t, err, c.want)
			if errors.Is(err, io.EOF) {
				t.Errorf("%v looks like a proper end", err)
			}
			_ = reply.Body.Close()
			_ = reply.Body.Close()
		})
	}
}

// A server that refuses stream_options is asked once more without it, and never
// with it again once that worked.
func TestStreamOptionsRefused(t *testing.T) {
	for name, refusal := range map[string]http.HandlerFunc{
		"azure":    answer(400, "application/json", `{"error":{"code":null,"message":"Unrecognized request argument supplied: stream_options","param":null,"type":"invalid_request_error"}}`),
		"pydantic": answer(422, "application/json", `{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			var got []seen
			p := upstream(t, openai.Config{}, record(t, &got, func(w http.ResponseWriter, r *http.Request) {
				if bytes.Contains(got[len(got)-1].body, []byte("stream_options")) {
					refusal(w, r)
					return
				}
				events(w, helloChunk, finishChunk, "[DONE]")
			}))
			for range 2 {
				if chunks, err := collect(t, p, hello()); err != nil || len(chunks) != 2 {
					t.Fatalf("%d chunks, %v", len(chunks), err)
				}
			}
			if len(got) != 3 {
				t.Errorf("asked %d times, want 3", len(got))
			}
			_, _ = readReply(t, p, providers.Call{Endpoint: providers.Completions, Stream: true, Body: []byte(`{"stream":true,"stream_options":{"include_usage":true}}`)})
			if len(got) != 4 || bytes.Contains(got[3].body, []byte("stream_options")) {
				t.Errorf("asked %d times; at last %s", len(got), got[len(got)-1].body)
			}
		})
	}
	t.Run("not the reason", func(t *testing.T) {
		var got []seen
		p := upstream(t, openai.Config{}, record(t, &got, answer(400, "application/json", `{"error":{"message":"in stream_options or elsewhere","type":"invalid_request_error"}}`)))
		for range 2 {
			_, err := collect(t, p, hello())
			wantClass(t, err, providers.Rejected)
		}
		if len(got) != 4 { // nothing was learnt
			t.Errorf("asked %d times", len(got))
		}
	})
}

// FuzzForm checks that a form keeps all but its model.
func FuzzForm(f *testing.F) {
	f.Add("language", "en", "model")
	f.Add("model", "x\r\n--", "a\"b")
	f.Fuzz(func(t *testing.T, name, value, other string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		_ = w.WriteField(name, value)
		_ = w.WriteField(other, "other")
		_ = w.Close()
		want, err := multipart.NewReader(bytes.NewReader(b.Bytes()), w.Boundary()).ReadForm(1 << 20)
		if err != nil {
			t.Skip()
		}
		var sent []byte
		var contentType string
		p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			sent, _ = io.ReadAll(r.Body)
			contentType = r.Header.Get("Content-Type")
			return nil, errors.New("that will do")
		})})
		_, _ = p.Relay(t.Context(), providers.Call{Endpoint: providers.Transcriptions, Model: "m", ContentType: w.FormDataContentType(), Body: b.Bytes()})
		_, params, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Fatal(err)
		}
		got, err := multipart.NewReader(bytes.NewReader(sent), params["boundary"]).ReadForm(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		want.Value["model"] = []string{"m"}
		g, _ := json.Marshal(got.Value)
		if v, _ := json.Marshal(want.Value); !bytes.Equal(g, v) {
			t.Errorf("sent %s, want %s", g, v)
		}
	})
}
