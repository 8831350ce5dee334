package openai_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/openai"
	"github.com/coaidev/coai/models"
)

// Whatever an upstream sends: no panic, only JSON objects as chunks, and the
// same outcome when asked again.
func FuzzStream(f *testing.F) {
	f.Add("text/event-stream", []byte("data: "+helloChunk+"\n\ndata: "+finishChunk+"\n\ndata: [DONE]\n\n"), 2)
	f.Add("text/event-stream", []byte("data: "+`{"choices":[{"delta":{"tool_calls":[{"id":"a"},{"index":1,"id":"b"}]},"finish_reason":""}]}`+"\n\n"), 1)
	f.Add("application/json", []byte(completion), 1)
	f.Add("text/event-stream", []byte("event: error\ndata: {\"error\":{\"code\":429}}\r\r"), 1)
	f.Add("text/plain", []byte(`{"error":"x"}`), 1)
	f.Fuzz(func(t *testing.T, contentType string, body []byte, n int) {
		transport := roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {contentType}},
				Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1,
			}, nil
		})
		p := openai.New(openai.Config{BaseURL: "http://upstream.test", MaxBytes: 1 << 16}, &http.Client{Transport: transport})
		req := hello()
		req.Input.N = &n
		st, err := p.Stream(t.Context(), req)
		if err != nil {
			_ = providers.AsError(err).Message
			return
		}
		defer st.Close()
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
		}
	})
}

// FuzzPattern checks that a chunk which differs from the one before in its text
// alone is taken as it would be without that one.
func FuzzPattern(f *testing.F) {
	for _, text := range []string{" there", "", `a \"quote\"`, `"`, "\\", "\xff", "\x01", "ä€𝄞", `","role":"tool`, `"}}],"error":{"message":"no"},"x":[{"y":{"z":"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\r\n") {
			t.Skip()
		}
		chunk := strings.Replace(helloChunk, " hello", text, 1)
		outcome := func(before ...string) (string, bool) {
			transport := roundTrip(func(*http.Request) (*http.Response, error) {
				var body bytes.Buffer
				for _, data := range append(before, chunk, finishChunk, "[DONE]") {
					body.WriteString("data: " + data + "\n\n")
				}
				return &http.Response{
					StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(&body), ContentLength: -1,
				}, nil
			})
			p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: transport})
			chunks, err := collect(t, p, hello())
			return string(bytes.Join(chunks[min(len(before), len(chunks)):], []byte("\n"))), err == nil
		}
		alone, good := outcome()
		behind, too := outcome(helloChunk)
		if alone != behind || good != too {
			t.Errorf("%q: %s (%t), behind another %s (%t)", text, alone, good, behind, too)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzRequest checks that a client's bytes reach the upstream with only the
// members changed that must be.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"a","MODEL":"b","stream":1,"stream_options":{"x":1},"conversation_id":2,"z":[1, 2]}`))
	f.Add([]byte(` { "\u006dodel" : "a" , "stream_options" : null } `))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var in map[string]json.RawMessage
		if json.Unmarshal(raw, &in) != nil || in == nil {
			t.Skip()
		}
		for _, streamed := range []bool{false, true} {
			var sent []byte
			p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				sent, _ = io.ReadAll(r.Body)
				return nil, errors.New("that will do")
			})})
			req := providers.Request{Model: "mapped", Input: &models.ChatCompletionInput{Raw: raw}}
			if streamed {
				_, _ = p.Stream(t.Context(), req)
			} else {
				_, _ = p.Complete(t.Context(), req)
			}
			var out map[string]json.RawMessage
			if err := json.Unmarshal(sent, &out); err != nil {
				t.Fatalf("sent %q: %v", sent, err)
			}
			if string(out["model"]) != `"mapped"` || streamed != (string(out["stream"]) == "true") || streamed != (out["stream_options"] != nil) {
				t.Errorf("sent %q", sent)
			}
			for k, v := range in {
				switch strings.ToLower(k) {
				case "model", "stream", "stream_options", "conversation_id":
				default:
					if !bytes.Equal(bytes.TrimSpace(out[k]), bytes.TrimSpace(v)) {
						t.Errorf("member %q: sent %q, want %q", k, out[k], v)
					}
				}
			}
		}
	})
}

// BenchmarkStream reads a stream of 100 chunks, without the network.
func BenchmarkStream(b *testing.B) {
	var body bytes.Buffer
	for range 99 {
		_, _ = fmt.Fprintf(&body, "data: %s\n\n", helloChunk)
	}
	_, _ = fmt.Fprintf(&body, "data: %s\n\ndata: [DONE]\n\n", finishChunk)
	header := http.Header{"Content-Type": {"text/event-stream"}}
	transport := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(body.Bytes()))}, nil
	})
	p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: transport})
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
		if n != 100 || !errors.Is(err, io.EOF) {
			b.Fatal(n, err)
		}
		_ = st.Close()
	}
}

func BenchmarkRequest(b *testing.B) {
	raw := []byte(`{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}],"temperature":0.5}`)
	transport := roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(completion))}, nil
	})
	p := openai.New(openai.Config{BaseURL: "http://upstream.test"}, &http.Client{Transport: transport})
	req := providers.Request{Model: "deployed", Input: &models.ChatCompletionInput{Model: "gpt-4o", Raw: raw}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Complete(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
