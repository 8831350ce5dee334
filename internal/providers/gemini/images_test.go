package gemini_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/gemini"
)

func draw(t *testing.T, p *gemini.Provider, body string) (string, error) {
	t.Helper()
	reply, err := p.Relay(t.Context(), providers.Call{
		Endpoint: providers.Images, Model: "gemini-3.1-flash-image", Asked: "draw", ContentType: "application/json", Body: []byte(body),
	})
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(reply.Body)
	if err != nil || reply.ContentType != "application/json" {
		t.Errorf("%s, %v", reply.ContentType, err)
	}
	return string(settled(raw)), nil
}

const drawn = `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"ZHJhZnQ="},"thought":true},{"text":"Here."},{"inlineData":{"mimeType":"image/png","data":"aW1hZ2U="}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":1120,"thoughtsTokenCount":30}}`

func TestImages(t *testing.T) {
	const usage = `"output_format":"png","usage":{"input_tokens":5,"output_tokens":1150,"total_tokens":1155,"input_tokens_details":{"text_tokens":5,"image_tokens":0}}}`
	for _, test := range []struct{ body, request, want string }{
		{
			`{"model":"draw","prompt":"A cat","n":1,"size":"auto","quality":"auto","stream":false,"user":"u","background":null}`,
			`{"contents":[{"role":"user","parts":[{"text":"A cat"}]}],"generationConfig":{"responseModalities":["IMAGE"]}}`,
			`{"created":1700000000,"data":[{"b64_json":"aW1hZ2U="}],` + usage,
		},
		{
			`{"prompt":"A cat","size":"1792x1024","response_format":"url"}`,
			`{"contents":[{"role":"user","parts":[{"text":"A cat"}]}],"generationConfig":{"imageConfig":{"aspectRatio":"16:9"},"responseModalities":["IMAGE"]}}`,
			`{"created":1700000000,"data":[{"url":"data:image/png;base64,aW1hZ2U="}],` + usage,
		},
	} {
		p := upstreamOf(t, func(w http.ResponseWriter, r *http.Request, body string) {
			if r.URL.Path != "/v1beta/models/gemini-3.1-flash-image:generateContent" || body != test.request {
				t.Errorf("%s got %s, want %s", r.URL, body, test.request)
			}
			_, _ = io.WriteString(w, drawn)
		})
		if got, err := draw(t, p, test.body); err != nil || got != test.want {
			t.Errorf("got %s, %v; want %s", got, err, test.want)
		}
	}
}

func TestImagesThatAreRefused(t *testing.T) {
	p := upstreamOf(t, func(_ http.ResponseWriter, _ *http.Request, _ string) { t.Error("the upstream was asked") })
	for body, param := range map[string]string{
		`{"prompt":" "}`:                             "prompt",
		`{"prompt":7}`:                               "prompt",
		`{"prompt":"x","n":2}`:                       "n",
		`{"prompt":"x","size":"large"}`:              "size",
		`{"prompt":"x","size":"0x5"}`:                "size",
		`{"prompt":"x","stream":true}`:               "stream",
		`{"prompt":"x","response_format":"x"}`:       "response_format",
		`{"prompt":"x","background":"transparent"}`:  "background",
		`{"prompt":"x","output_format":"webp"}`:      "output_format",
		`{"prompt":"x","quality":"high","style":""}`: "quality",
	} {
		_, err := draw(t, p, body)
		wantRejected(t, err, param, "")
	}
	for answer, want := range map[string]providers.Class{
		`{"candidates":[{"finishReason":"IMAGE_SAFETY"}]}`:                                             providers.Rejected,
		`{"promptFeedback":{"blockReason":"SAFETY"}}`:                                                  providers.Rejected,
		`{"candidates":[{"content":{"parts":[{"text":"I cannot draw."}]},"finishReason":"NO_IMAGE"}]}`: providers.Malformed,
		`{"candidates":[]}`: providers.Malformed,
		`oops`:              providers.Malformed,
	} {
		p := upstreamOf(t, func(w http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(w, answer) })
		_, err := draw(t, p, `{"prompt":"x"}`)
		wantClass(t, err, want)
		if want == providers.Rejected {
			wantRejected(t, err, "prompt", "content filter")
		}
	}
}
