package anthropic_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
)

func call(stream bool) providers.Call {
	return providers.Call{
		Endpoint: providers.Messages, Model: "claude-deployed", Asked: "claude", ContentType: "application/json", Stream: stream,
		Body: []byte(`{"max_tokens":9,"model":"claude", "x_new":{"zeta":1.50, "alpha":2},"\u006dodel":"other","messages":[]}`),
	}
}

func TestRelay(t *testing.T) {
	const sse = "event: message_start\ndata: " + helloEvent + "\n\n: comment\n\nevent: message_stop\ndata: " + stopEvent + "\n\n"
	for name, test := range map[string]struct {
		stream            bool
		contentType, body string
	}{
		"whole":    {false, "application/json; charset=utf-8", message + "\n"},
		"streamed": {true, "text/event-stream; charset=utf-8", sse},
	} {
		t.Run(name, func(t *testing.T) {
			var got string
			p := upstream(t, anthropic.Config{APIKey: apiKey}, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				got = string(b)
				if r.URL.Path != "/v1/messages" || r.Header.Get("X-Api-Key") != apiKey || r.Header.Get("Anthropic-Version") != "2023-06-01" {
					t.Errorf("%s %v", r.URL, r.Header)
				}
				w.Header().Set("Content-Type", test.contentType)
				_, _ = io.WriteString(w, test.body)
			})
			reply, err := p.Relay(t.Context(), call(test.stream))
			if err != nil {
				t.Fatal(err)
			}
			defer reply.Body.Close()
			body, err := io.ReadAll(iotest.OneByteReader(reply.Body))
			if err != nil || string(body) != test.body || reply.ContentType != test.contentType {
				t.Errorf("%q, %q, %v", reply.ContentType, body, err)
			}
			if want := `{"model":"claude-deployed","max_tokens":9,"x_new":{"zeta":1.50, "alpha":2},"messages":[]}`; got != want {
				t.Errorf("the upstream got\n%s\nwant\n%s", got, want)
			}
			if n, err := reply.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %d, %v", n, err)
			}
		})
	}
}

func TestRelayServesMessagesOnly(t *testing.T) {
	p := anthropic.New(anthropic.Config{BaseURL: "http://127.0.0.1:1"}, &http.Client{})
	for _, e := range []providers.Endpoint{providers.Embeddings, providers.Responses, providers.Images} {
		c := call(false)
		c.Endpoint = e
		_, err := p.Relay(t.Context(), c)
		if p.Serves(e) {
			t.Errorf("it serves %s", e)
		}
		wantClass(t, err, providers.Rejected)
	}
	if !p.Serves(providers.Messages) {
		t.Error("it does not serve messages")
	}
	c := call(false)
	c.Body = []byte(`[1]`)
	_, err := p.Relay(t.Context(), c)
	wantClass(t, err, providers.Rejected)
}

func TestRelayFailures(t *testing.T) {
	silent := func(w http.ResponseWriter, r *http.Request) {
		events(w, helloEvent)
		<-r.Context().Done()
	}
	for name, test := range map[string]struct {
		stream bool
		script http.HandlerFunc
		want   providers.Class
	}{
		"no model": {false, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-deployed"}}`)
		}, providers.NoModel},
		"rejected": {true, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"type":"error","error":{"type":"invalid_request_error","message":"claude-deployed: no"}}`)
		}, providers.Rejected},
		"html": {false, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, providers.Malformed},
		"no events": {true, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, message)
		}, providers.Malformed},
		"cut": {true, func(w http.ResponseWriter, _ *http.Request) {
			events(w, helloEvent, `{"text":"the words \"message_stop\""}`)
		}, providers.Unavailable},
		"too large": {false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, strings.Repeat(" ", 5000))
		}, providers.Malformed},
		"silent": {true, silent, providers.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			p := upstream(t, anthropic.Config{MaxBytes: 4096, IdleTimeout: 30 * time.Millisecond}, readFirst(test.script))
			reply, err := p.Relay(t.Context(), call(test.stream))
			if err == nil {
				defer reply.Body.Close()
				_, err = io.ReadAll(reply.Body)
			}
			wantClass(t, err, test.want)
			if strings.Contains(err.Error(), "claude-deployed") && test.want == providers.Rejected {
				t.Errorf("the upstream's name of the model is shown: %v", err)
			}
		})
	}
}
