package gemini_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/gemini"
)

func embed(t *testing.T, p *gemini.Provider, body string) (string, error) {
	t.Helper()
	reply, err := p.Relay(t.Context(), providers.Call{
		Endpoint: providers.Embeddings, Model: "gemini-embedding-001", Asked: "embed",
		ContentType: "application/json", Body: []byte(body),
	})
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	raw, err := io.ReadAll(reply.Body)
	if err != nil || reply.ContentType != "application/json" {
		t.Errorf("%s, %v", reply.ContentType, err)
	}
	return string(raw), nil
}

func TestEmbeddings(t *testing.T) {
	for _, test := range []struct{ name, body, path, request, answer, want string }{
		{
			"one text", `{"model":"embed","input":"hi","user":"u"}`, ":embedContent",
			`{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"hi"}]}}`,
			`{"embedding":{"values":[0.25,-0.5]},"usageMetadata":{"promptTokenCount":3}}`,
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-0.5]}],"model":"embed","usage":{"prompt_tokens":3,"total_tokens":3}}`,
		},
		{
			"many, in base64, with fewer dimensions", `{"input":["a","b"],"encoding_format":"base64","dimensions":2,"task_type":"CLUSTERING"}`, ":batchEmbedContents",
			`{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING","outputDimensionality":2},{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"b"}]},"taskType":"CLUSTERING","outputDimensionality":2}]}`,
			`{"embeddings":[{"values":[3,4]},{"values":[0,1]}]}`,
			// 0.6, 0.8 and 0, 1 as little-endian floats of 32 bits.
			`{"object":"list","data":[{"object":"embedding","index":0,"embedding":"mpkZP83MTD8="},{"object":"embedding","index":1,"embedding":"AAAAAAAAgD8="}],"model":"embed"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := upstreamOf(t, func(w http.ResponseWriter, r *http.Request, body string) {
				if r.URL.Path != "/v1beta/models/gemini-embedding-001"+test.path || body != test.request || r.Header.Get("X-Goog-Api-Key") != apiKey {
					t.Errorf("%s got %s, want %s", r.URL, body, test.request)
				}
				_, _ = io.WriteString(w, test.answer)
			})
			got, err := embed(t, p, test.body)
			if err != nil || got != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

func upstreamOf(t *testing.T, script func(w http.ResponseWriter, r *http.Request, body string)) *gemini.Provider {
	t.Helper()
	return gemini.New(gemini.Config{BaseURL: "http://upstream.test", APIKey: apiKey}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		w := &recorder{header: http.Header{}, status: http.StatusOK}
		script(w, r, string(body))
		return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(strings.NewReader(w.body.String()))}, nil
	})})
}

type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// More texts than Gemini takes at a time are asked for in batches, in order.
func TestEmbeddingsInBatches(t *testing.T) {
	var sizes []int
	p := upstreamOf(t, func(w http.ResponseWriter, _ *http.Request, body string) {
		var in struct {
			Requests []struct {
				Content struct{ Parts []struct{ Text string } }
			}
		}
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Error(err)
		}
		sizes = append(sizes, len(in.Requests))
		var out []string
		for _, r := range in.Requests {
			out = append(out, fmt.Sprintf(`{"values":[%s]}`, r.Content.Parts[0].Text))
		}
		_, _ = fmt.Fprintf(w, `{"embeddings":[%s],"usageMetadata":{"promptTokenCount":%d}}`, strings.Join(out, ","), len(in.Requests))
	})
	var texts []string
	for i := range 250 {
		texts = append(texts, fmt.Sprint(i))
	}
	input, _ := json.Marshal(map[string]any{"input": texts})
	got, err := embed(t, p, string(input))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Data []struct {
			Index     int
			Embedding []float64
		}
		Usage struct {
			PromptTokens int `json:"prompt_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(got), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Data) != 250 || fmt.Sprint(sizes) != "[100 100 50]" || list.Usage.PromptTokens != 250 {
		t.Errorf("%d embeddings in batches of %v, usage %+v", len(list.Data), sizes, list.Usage)
	}
	for i, d := range list.Data {
		if d.Index != i || d.Embedding[0] != float64(i) {
			t.Errorf("embedding %d is %+v", i, d)
		}
	}
}

func TestEmbeddingsThatAreRefused(t *testing.T) {
	p := upstreamOf(t, func(_ http.ResponseWriter, _ *http.Request, _ string) { t.Error("the upstream was asked") })
	for body, param := range map[string]string{
		`{"input":[1,2]}`:                           "input",
		`{"input":[[1,2]]}`:                         "input",
		`{"input":[]}`:                              "input",
		`{"input":""}`:                              "input",
		`{"input":["a",""]}`:                        "input",
		`{"model":"x"}`:                             "input",
		`{"input":"a","encoding_format":"int8"}`:    "encoding_format",
		`{"input":"a","dimensions":-1}`:             "dimensions",
		`{"input":"a","dimensions":"many"}`:         "dimensions",
		`{"input":"a","unknown":1}`:                 "unknown",
		`{"input":` + manyTexts(2049) + `}`:         "input",
		`{"input":"a","encoding_format":{"a":"b"}}`: "encoding_format",
	} {
		_, err := embed(t, p, body)
		wantRejected(t, err, param, "")
	}
	if p.Serves(providers.Speech) || !p.Serves(providers.Embeddings) {
		t.Error("serves the wrong endpoints")
	}
	_, err := p.Relay(t.Context(), providers.Call{Endpoint: providers.Speech, Asked: "m"})
	wantRejected(t, err, "", "does not serve audio/speech")
}

func manyTexts(n int) string {
	b, _ := json.Marshal(strings.Split(strings.Repeat("a,", n-1)+"a", ","))
	return string(b)
}

func TestEmbeddingsThatFail(t *testing.T) {
	for answer, want := range map[string]providers.Class{
		`{"embedding":{"values":[]}}`:                    providers.Malformed,
		`{"embeddings":[{"values":[1]},{"values":[1]}]}`: providers.Malformed,
		`{}`:                                   providers.Malformed,
		`oops`:                                 providers.Malformed,
		`{"error":{"code":429,"message":"m"}}`: providers.RateLimited,
		`404 {"error":{"code":404,"message":"m","status":"NOT_FOUND"}}`: providers.NoModel,
	} {
		p := upstreamOf(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
			if rest, failed := strings.CutPrefix(answer, "404 "); failed {
				w.WriteHeader(http.StatusNotFound)
				answer = rest
			}
			_, _ = io.WriteString(w, answer)
		})
		_, err := embed(t, p, `{"input":"a"}`)
		wantClass(t, err, want)
	}
}
