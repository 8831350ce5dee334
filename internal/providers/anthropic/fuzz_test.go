package anthropic_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
	"github.com/coaidev/coai/models"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a transport that always gives the same answer.
func answering(contentType string, body []byte) *http.Client {
	return &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {contentType}},
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: -1,
		}, nil
	})}
}

func countNew(n *atomic.Int32) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

// seed adds the recorded answers of one kind.
func seed(f *testing.F, kind string) {
	files, err := filepath.Glob("testdata/*/upstream." + kind)
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
}

// Whatever an upstream sends: no panic, only JSON objects on one line as chunks,
// all of one answer, one finish at most, and the same outcome when asked again.
func FuzzStream(f *testing.F) {
	seed(f, "sse")
	f.Fuzz(func(t *testing.T, body []byte, legacy bool) {
		p := anthropic.New(anthropic.Config{BaseURL: "http://upstream.test", MaxBytes: 1 << 16}, answering("text/event-stream", body))
		req := hello()
		if legacy {
			req.Input.Functions = models.JSON(`[{"name":"f"}]`)
		}
		st, err := p.Stream(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		id, finishes := "", 0
		for {
			chunk, err := st.Next()
			if err != nil {
				if _, again := st.Next(); !errors.Is(again, err) {
					t.Errorf("%v, then %v", err, again)
				}
				if errors.Is(err, io.EOF) && !isProviderError(err) && finishes != 1 {
					t.Errorf("an answer that ended properly has %d finish reasons", finishes)
				}
				return
			}
			raw, err := chunk.JSON()
			if err != nil || !json.Valid(raw) || raw[0] != '{' || bytes.ContainsAny(raw, "\r\n") {
				t.Fatalf("chunk %q, %v", raw, err)
			}
			b, err := chunk.Body()
			if err != nil || id != "" && b.ID != id {
				t.Fatalf("chunk %q of the answer %q, %v", raw, id, err)
			}
			id = b.ID
			if len(b.Choices) > 0 && b.Choices[0].FinishReason != nil {
				finishes++
			}
		}
	})
}

func isProviderError(err error) bool {
	var e *providers.Error
	return errors.As(err, &e)
}

// Whatever a whole answer is: no panic, and a completion or a *providers.Error.
func FuzzComplete(f *testing.F) {
	seed(f, "json")
	f.Fuzz(func(t *testing.T, body []byte, legacy bool) {
		p := anthropic.New(anthropic.Config{BaseURL: "http://upstream.test", MaxBytes: 1 << 16}, answering("application/json", body))
		req := hello()
		if legacy {
			req.Input.Functions = models.JSON(`[{"name":"f"}]`)
		}
		c, err := p.Complete(t.Context(), req)
		if err != nil {
			if !isProviderError(err) {
				t.Errorf("%v is no *providers.Error", err)
			}
			return
		}
		b, err := c.Body()
		if err != nil || len(b.Choices) != 1 || b.Choices[0].FinishReason == "" {
			t.Errorf("%+v, %v", b, err)
		}
	})
}

// Whatever a client may send: no panic, and the upstream gets a JSON object that
// names the channel's model, or nothing at all.
func FuzzRequest(f *testing.F) {
	files, err := filepath.Glob("testdata/*/input.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, drop bool) {
		in := new(models.ChatCompletionInput)
		if json.Unmarshal(raw, in) != nil || in.Validate() != nil {
			t.Skip()
		}
		in.Raw = raw
		var sent []byte
		p := anthropic.New(anthropic.Config{BaseURL: "http://upstream.test", DropUnsupported: drop}, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			sent, _ = io.ReadAll(r.Body)
			return nil, errors.New("that will do")
		})})
		for _, model := range []string{"claude-sonnet-4-5", "claude-opus-5-5"} {
			sent = nil
			_, err := p.Complete(t.Context(), providers.Request{Model: model, Input: in})
			var out struct {
				Model     string
				MaxTokens int `json:"max_tokens"`
				Messages  []struct{ Role string }
			}
			switch {
			case sent == nil && providers.AsError(err).Class != providers.Rejected:
				t.Errorf("nothing was sent: %v", err)
			case sent == nil:
			case json.Unmarshal(sent, &out) != nil || out.Model != model || out.MaxTokens < 1 || len(out.Messages) == 0:
				t.Errorf("sent %q", sent)
			}
			for i := range out.Messages {
				if i > 0 && out.Messages[i].Role == out.Messages[i-1].Role {
					t.Errorf("turns do not alternate: %q", sent)
				}
			}
		}
	})
}

// BenchmarkStream reads a stream of 100 text events, without the network.
func BenchmarkStream(b *testing.B) {
	var body bytes.Buffer
	event := func(data string) { _, _ = fmt.Fprintf(&body, "event: x\ndata: %s\n\n", data) }
	event(helloEvent)
	for range 100 {
		event(textEvent)
	}
	event(finishEvent)
	event(stopEvent)
	p := anthropic.New(anthropic.Config{BaseURL: "http://upstream.test"}, answering("text/event-stream", body.Bytes()))
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		st, err := p.Stream(b.Context(), hello())
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

func BenchmarkRequest(b *testing.B) {
	raw := []byte(`{"model":"claude","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}],"temperature":0.5}`)
	in := new(models.ChatCompletionInput)
	if err := json.Unmarshal(raw, in); err != nil {
		b.Fatal(err)
	}
	in.Raw = raw
	p := anthropic.New(anthropic.Config{BaseURL: "http://upstream.test"}, answering("application/json", []byte(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Complete(b.Context(), providers.Request{Model: "claude-sonnet-4-5", Input: in}); err != nil {
			b.Fatal(err)
		}
	}
}
