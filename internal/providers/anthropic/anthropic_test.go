package anthropic_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
	"github.com/coaidev/coai/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	helloEvent  = `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}`
	textEvent   = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" hello"}}`
	finishEvent = `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}`
	stopEvent   = `{"type":"message_stop"}`
	message     = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}`
)

var _ providers.Relayer = (*anthropic.Provider)(nil)

func hello() providers.Request {
	return providers.Request{Model: "claude-sonnet-4-5", Input: &models.ChatCompletionInput{
		Model: "claude", Messages: []models.ChatMessage{{Role: models.RoleMessageUser, Content: models.TextContent("Hi")}},
	}}
}

// upstream runs a scripted server until the test ends.
func upstream(t testing.TB, cfg anthropic.Config, script http.HandlerFunc) *anthropic.Provider {
	t.Helper()
	server := httptest.NewServer(script)
	t.Cleanup(server.Close)
	cfg.BaseURL = server.URL + cfg.BaseURL
	return anthropic.New(cfg, server.Client())
}

// events writes data lines and sends them off.
func events(w http.ResponseWriter, data ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, d := range data {
		_, _ = fmt.Fprintf(w, "data: %s\n\n", d)
	}
	_ = http.NewResponseController(w).Flush()
}

// open starts a stream that ends with the test.
func open(t testing.TB, p *anthropic.Provider) providers.Stream {
	t.Helper()
	st, err := p.Stream(t.Context(), hello())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func wantClass(t testing.TB, err error, want providers.Class) {
	t.Helper()
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *providers.Error", err)
	}
	if e.Class != want {
		t.Errorf("class %s, want %s: %v", className(e.Class), className(want), err)
	}
}

func TestBaseURL(t *testing.T) {
	for base, want := range map[string]string{
		"":                 "/v1/messages",
		"/":                "/v1/messages",
		"/v1":              "/v1/messages",
		"/v1/":             "/v1/messages",
		"/proxy/anthropic": "/proxy/anthropic/v1/messages",
		"/proxy?team=blue": "/proxy/v1/messages?team=blue",
	} {
		var got string
		p := upstream(t, anthropic.Config{BaseURL: base}, func(w http.ResponseWriter, r *http.Request) {
			got = r.URL.RequestURI()
			_, _ = io.WriteString(w, message)
		})
		if _, err := p.Complete(t.Context(), hello()); err != nil || got != want {
			t.Errorf("base %q: asked %q, %v", base, got, err)
		}
	}
	for _, base := range []string{"", "localhost", "ftp://localhost", "://"} {
		p := anthropic.New(anthropic.Config{BaseURL: base}, http.DefaultClient) //nolint:forbidigo // it must not be used
		_, err := p.Complete(t.Context(), hello())
		wantClass(t, err, providers.Unavailable)
	}
}

func TestHeaders(t *testing.T) {
	var got http.Header
	p := upstream(t, anthropic.Config{APIKey: apiKey, Version: "2099-01-01", Headers: map[string]string{"anthropic-beta": "context-1m", "x-api-key": "other"}},
		func(w http.ResponseWriter, r *http.Request) {
			got = r.Header
			_, _ = io.WriteString(w, message)
		})
	if _, err := p.Complete(t.Context(), hello()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Anthropic-Version": "2099-01-01", "Anthropic-Beta": "context-1m", "X-Api-Key": "other", "Content-Type": "application/json", "Authorization": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
}

// A text of 10 MB in one event is real: images and long arguments travel so.
func TestLongEvents(t *testing.T) {
	long := strings.Repeat("wörd ", 2<<20)
	event := `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + long + `"}}`
	p := upstream(t, anthropic.Config{}, func(w http.ResponseWriter, _ *http.Request) { events(w, helloEvent, event, finishEvent, stopEvent) })
	chunks, err := collect(t, p, hello())
	if err != nil || len(chunks) != 4 || !bytes.Contains(chunks[1], []byte(long)) {
		t.Errorf("%d chunks, %v", len(chunks), err)
	}
	p = upstream(t, anthropic.Config{MaxBytes: 1 << 20}, func(w http.ResponseWriter, _ *http.Request) { events(w, helloEvent, event) })
	chunks, err = collect(t, p, hello())
	wantClass(t, err, providers.Malformed)
	if len(chunks) != 1 {
		t.Errorf("%d chunks before the event that is too large", len(chunks))
	}
	thought := `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"` + strings.Repeat("x", 600<<10) + `"}}`
	p = upstream(t, anthropic.Config{MaxBytes: 1 << 20}, func(w http.ResponseWriter, _ *http.Request) {
		events(w, helloEvent, `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`, thought, thought)
	})
	_, err = collect(t, p, hello())
	wantClass(t, err, providers.Malformed)
}

func TestConnectionIsUsedAgain(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		events(w, helloEvent, textEvent, finishEvent, stopEvent)
	}))
	server.Config.ConnState = countNew(&connections)
	server.Start()
	defer server.Close()
	p := anthropic.New(anthropic.Config{BaseURL: server.URL}, server.Client())
	for range 5 {
		if _, err := collect(t, p, hello()); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 5 streams one after the other", n)
	}
}

// Streams whose upstream leaves ids out still have them, the same in all chunks.
func TestMissingIDs(t *testing.T) {
	p := upstream(t, anthropic.Config{}, func(w http.ResponseWriter, _ *http.Request) {
		events(w, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"f","input":{}}}`, finishEvent, stopEvent)
	})
	chunks, err := collect(t, p, hello())
	if err != nil || len(chunks) < 4 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	var first, call struct {
		ID, Model string
		Choices   []struct {
			Delta struct {
				ToolCalls []struct{ ID string } `json:"tool_calls"`
			}
		}
	}
	if json.Unmarshal(chunks[0], &first) != nil || json.Unmarshal(chunks[1], &call) != nil {
		t.Fatalf("%s", chunks)
	}
	if !strings.HasPrefix(first.ID, "chatcmpl-") || first.ID != call.ID || first.Model != "claude-sonnet-4-5" || call.Choices[0].Delta.ToolCalls[0].ID == "" {
		t.Errorf("%s", bytes.Join(chunks, []byte("\n")))
	}
}
