package gemini_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/gemini"
	"github.com/coaidev/coai/models"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a provider whose upstream answers everything alike.
func answering(status int, contentType string, body []byte) *gemini.Provider {
	transport := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {contentType}},
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1,
		}, nil
	})
	return gemini.New(gemini.Config{BaseURL: "http://upstream.test", MaxBytes: 1 << 16}, &http.Client{Transport: transport})
}

// Whatever an upstream sends: no panic, only JSON objects as chunks, calls
// numbered from 0, and the same outcome when asked again.
func FuzzStream(f *testing.F) {
	f.Add("text/event-stream", []byte("data: "+helloEvent+"\r\n\r\ndata: "+finishEvent+"\r\n\r\n"))
	f.Add("text/event-stream", []byte(`data: {"candidates":[{"content":{"parts":[null,{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"x"},{"functionCall":{"id":"1"}}]},"finishReason":"STOP","index":3}]}`))
	f.Add("application/json", []byte("["+helloEvent+","+finishEvent+"]"))
	f.Add("application/json", []byte(whole))
	f.Add("text/event-stream", []byte(`data: [{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"RetryInfo","retryDelay":"1e9s"}]}}]`+"\n\n"))
	f.Add("text/event-stream", []byte(`data: {"candidates":[{"logprobsResult":{"chosenCandidates":[{"token":"`+"\xff"+`"}]}}]}`+"\n\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		st, err := answering(http.StatusOK, contentType, body).Stream(t.Context(), hello())
		if err != nil {
			_ = providers.AsError(err).Message
			return
		}
		defer st.Close()
		calls := map[int]int{}
		for {
			chunk, err := st.Next()
			if err != nil {
				if _, again := st.Next(); !errors.Is(again, err) {
					t.Errorf("%v, then %v", err, again)
				}
				return
			}
			raw, err := chunk.JSON()
			if err != nil || !json.Valid(raw) || raw[0] != '{' || bytes.ContainsAny(raw, "\r\n") {
				t.Errorf("chunk %q, %v", raw, err)
			}
			choices, err := chunk.Choices()
			if err != nil {
				t.Errorf("chunk %q: %v", raw, err)
			}
			for _, c := range choices {
				for _, call := range c.Delta.ToolCalls {
					if call.Index == nil || *call.Index != calls[c.Index] || call.ID == nil || *call.ID == "" || !json.Valid([]byte(*call.Function.Arguments)) {
						t.Errorf("call %+v after %d in %q", call, calls[c.Index], raw)
					}
					calls[c.Index]++
				}
			}
		}
	})
}

func FuzzComplete(f *testing.F) {
	f.Add(200, []byte(whole))
	f.Add(200, []byte(`{"promptFeedback":{"blockReason":"SAFETY"}}`))
	f.Add(400, []byte(`[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT","details":[{}]}}]`))
	f.Add(429, []byte(`{"error":{"details":[{"@type":"x.RetryInfo","retryDelay":"-3s"}],"status":7}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			t.Skip()
		}
		answer, err := answering(status, "application/json", body).Complete(t.Context(), hello())
		if err != nil {
			var e *providers.Error
			if !errors.As(err, &e) || e.Message == "" || e.Retry < 0 {
				t.Errorf("%#v", err)
			}
			return
		}
		got, err := answer.Body()
		if err != nil || len(got.Choices) == 0 || got.Choices[0].FinishReason == "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// Whatever a client sends that is valid becomes a request or a refusal that
// names something.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,x"}}]}],"google":{"thinking_config":{}},"extra_body":{"google":[]},"modalities":[1]}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"assistant","content":null,"function_call":{}},{"role":"function","name":"f"}],"functions":[{"name":"f"}],"function_call":{"name":"f"}}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f"},"extra_content":{"google":{"thought_signature":"s"}}}]},{"role":"tool","tool_call_id":"a","content":"{"}],"tools":[{"type":"function","function":{"name":"f","parameters":null}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"tools":[{}]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := new(models.ChatCompletionInput)
		if json.Unmarshal(raw, in) != nil || in.Validate() != nil {
			t.Skip()
		}
		in.Raw = raw
		sent := false
		p := gemini.New(gemini.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			sent = true
			body, _ := io.ReadAll(r.Body)
			var out struct {
				Contents []struct{ Parts []map[string]any }
			}
			if err := json.Unmarshal(body, &out); err != nil || len(out.Contents) == 0 {
				t.Errorf("sent %q, %v", body, err)
			}
			for _, c := range out.Contents {
				if len(c.Parts) == 0 || len(c.Parts[0]) == 0 {
					t.Errorf("an empty turn or part in %q", body)
				}
			}
			return nil, errors.New("that will do")
		})})
		_, err := p.Complete(t.Context(), providers.Request{Model: "gemini-3-x", Input: in})
		e := providers.AsError(err)
		if !sent && (e.Class != providers.Rejected || e.Param == "") && e.Class != providers.NoModel {
			t.Errorf("%+v", e)
		}
	})
}

// BenchmarkStream reads a stream of 100 events, without the network.
func BenchmarkStream(b *testing.B) {
	var body bytes.Buffer
	for range 99 {
		_, _ = fmt.Fprintf(&body, "data: %s\r\n\r\n", helloEvent)
	}
	_, _ = fmt.Fprintf(&body, "data: %s\r\n\r\n", finishEvent)
	p := answering(http.StatusOK, "text/event-stream", body.Bytes())
	req := hello()
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		st, err := p.Stream(b.Context(), req)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for ; ; n++ {
			if _, err = st.Next(); err != nil {
				break
			}
		}
		if n != 103 || !errors.Is(err, io.EOF) {
			b.Fatal(n, err)
		}
		_ = st.Close()
	}
}
