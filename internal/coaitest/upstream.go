package coaitest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// UpstreamKey is the credential that scripted upstreams expect.
const UpstreamKey = "sk-upstream-secret-0123456789"

// Upstream is a scripted server that speaks OpenAI's wire format.
type Upstream struct {
	*httptest.Server
	t testing.TB

	mu     sync.Mutex
	script []Reply
	calls  []*Call
}

// Call is a request that an upstream got.
type Call struct {
	Path   string
	Header http.Header
	Body   []byte
	Gone   <-chan struct{} // closed when the gateway closes the connection
}

// Reply answers a call.
type Reply func(w http.ResponseWriter, c *Call)

// NewUpstream starts an upstream. Each call takes the next reply; the last one
// serves all further calls.
func NewUpstream(t testing.TB, script ...Reply) *Upstream {
	u := &Upstream{t: t, script: script}
	u.Server = httptest.NewServer(u)
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		u.t.Errorf("the gateway's request broke off: %v", err)
	}
	c := &Call{Path: r.URL.Path, Header: r.Header, Body: body, Gone: r.Context().Done()}
	u.mu.Lock()
	if len(u.script) == 0 {
		u.mu.Unlock()
		http.Error(w, "no script", http.StatusNotImplemented)
		return
	}
	reply := u.script[0]
	if len(u.script) > 1 {
		u.script = u.script[1:]
	}
	u.calls = append(u.calls, c)
	u.mu.Unlock()
	reply(w, c)
}

// Calls are the requests so far.
func (u *Upstream) Calls() []*Call {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*Call(nil), u.calls...)
}

// Then replaces the script.
func (u *Upstream) Then(script ...Reply) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script = script
}

// Status answers with a status and a body.
func Status(status int, contentType, body string, headers ...string) Reply {
	return func(w http.ResponseWriter, _ *Call) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Whole answers with one completion.
func Whole(text string) Reply {
	return Status(http.StatusOK, "application/json", `{"id":"chatcmpl-up","object":"chat.completion","created":1700000000,"model":"gpt-test","choices":[{"index":0,"message":{"role":"assistant","content":"`+
		text+`","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":2,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}`)
}

// Events answers with server-sent events, one for each data, as they are.
func Events(data ...string) Reply {
	return func(w http.ResponseWriter, _ *Call) {
		StartEvents(w)
		for _, d := range data {
			Event(w, d)
		}
	}
}

// StartEvents begins an event stream.
func StartEvents(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
}

// Event sends one event at once.
func Event(w http.ResponseWriter, data string) {
	_, _ = fmt.Fprintf(w, "data: %s\n\n", data)
	w.(http.Flusher).Flush()
}

// Chunk is a chunk with a text delta.
func Chunk(text string) string {
	return `{"id":"chatcmpl-up","object":"chat.completion.chunk","created":1700000000,"model":"gpt-test","choices":[{"index":0,"delta":{"content":"` + text + `"},"logprobs":null,"finish_reason":null}],"usage":null}`
}

// The other events of an answer in OpenAI's form.
const (
	FirstChunk  = `{"id":"chatcmpl-up","object":"chat.completion.chunk","created":1700000000,"model":"gpt-test","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}`
	FinishChunk = `{"id":"chatcmpl-up","object":"chat.completion.chunk","created":1700000000,"model":"gpt-test","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`
	UsageChunk  = `{"id":"chatcmpl-up","object":"chat.completion.chunk","created":1700000000,"model":"gpt-test","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0}}}`
	Done        = `[DONE]`
)

// Streamed answers with a proper stream of these words.
func Streamed(words ...string) Reply {
	events := []string{FirstChunk}
	for _, w := range words {
		events = append(events, Chunk(w))
	}
	return Events(append(events, FinishChunk, UsageChunk, Done)...)
}

// Logs collects a product's log lines.
type Logs struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write takes a line.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is everything logged so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
