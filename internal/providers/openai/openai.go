// Package openai speaks OpenAI's chat completions API, to OpenAI and to the
// many servers that are compatible with it. What it does not need to understand
// it passes on as bytes.
// https://platform.openai.com/docs/api-reference/chat
package openai

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Config says how one upstream is reached.
type Config struct {
	BaseURL          string            // to which /chat/completions is added, such as https://api.openai.com/v1; a query is kept
	APIKey           string            // sent as a bearer token unless empty
	Organization     string            // sent as OpenAI-Organization unless empty
	Headers          map[string]string // sent with each request, instead of ours of the same name
	FirstByteTimeout time.Duration     // until the first byte of the answer's body; default 5 min
	IdleTimeout      time.Duration     // of silence inside an answer; default 2 min
	MaxBytes         int               // of an answer that is not streamed, default 64 MiB; also caps the 16 MiB of one event
}

// Provider is one upstream.
type Provider struct {
	client *upstream.Client
	url    *url.URL        // nil when the base URL is none
	typed  map[string]bool // the request's fields that models knows, in lower case
}

// New makes a provider that sends its requests through client's transport.
// Redirects are not followed. An invalid base URL makes every request fail.
func New(cfg Config, client *http.Client) *Provider {
	p := &Provider{typed: typedFields()}
	secrets := []string{cfg.APIKey, cfg.Organization}
	if u, err := url.Parse(cfg.BaseURL); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		if u.Path == "" {
			u.Path = "/" // else the joined path is relative
		}
		p.url = u.JoinPath("chat", "completions")
		secrets = append(secrets, u.Host)
	}
	header := http.Header{}
	if cfg.APIKey != "" {
		header.Set("Authorization", "Bearer "+cfg.APIKey)
	}
	if cfg.Organization != "" {
		header.Set("Openai-Organization", cfg.Organization)
	}
	p.client = upstream.New(upstream.Config{
		Header: header, Extra: cfg.Headers, Secrets: secrets, MaxBytes: cfg.MaxBytes,
		FirstByteTimeout: cfg.FirstByteTimeout, IdleTimeout: cfg.IdleTimeout,
	}, client)
	return p
}

// Complete implements [providers.Provider]. The answer keeps the upstream's bytes.
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	ex, err := p.send(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	if !upstream.JSONType(ex.MediaType()) {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not JSON.", nil)
	}
	raw, err := ex.ReadAll(p.client.MaxBytes())
	if err != nil {
		return nil, err
	}
	raw, err = p.checkCompletion(req, raw)
	if err != nil {
		return nil, err
	}
	return models.RawChatCompletion(raw), nil
}

// Stream implements [providers.Provider]. It returns when the upstream's
// headers are there. An upstream that answers with a whole completion instead
// of a stream has it cut into chunks.
func (p *Provider) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	ex, err := p.send(ctx, req, true)
	if err != nil {
		return nil, err
	}
	st, err := p.openStream(ex, req)
	if err != nil {
		ex.Close()
		return nil, err
	}
	return st, nil
}

func (p *Provider) openStream(ex *upstream.Exchange, req providers.Request) (*stream, error) {
	mediaType := ex.MediaType()
	if mediaType == "text/event-stream" {
		return newStream(p, ex, req), nil
	}
	if !upstream.JSONType(mediaType) {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not an event stream.", nil)
	}
	first, err := ex.Peek()
	if err != nil {
		return nil, err
	}
	if first != '{' {
		if first == '<' || first == '[' {
			return nil, upstream.Malformed(ex.Status, "The upstream's answer is not an event stream.", nil)
		}
		return newStream(p, ex, req), nil // the type is wrong, but it may be one: the parser will tell
	}
	raw, err := ex.ReadAll(p.client.MaxBytes())
	if err != nil {
		return nil, err
	}
	if raw, err = p.checkCompletion(req, raw); err != nil {
		return nil, err
	}
	st := newStream(p, ex, req)
	st.over = true
	st.queue, err = chunksOf(raw)
	if err != nil {
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not a chat completion.", err)
	}
	return st, nil
}

// send posts the request. On success the exchange holds an answer of status 2xx.
func (p *Provider) send(ctx context.Context, req providers.Request, streamed bool) (*upstream.Exchange, error) {
	if p.url == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	body, err := requestBody(req, streamed, p.typed)
	if err != nil {
		return nil, &providers.Error{
			Class: providers.Rejected, Code: models.CodeInvalidValue,
			Message: "The request cannot be sent to the upstream.", Cause: err,
		}
	}
	accept := "application/json"
	if streamed {
		accept = "text/event-stream"
	}
	ex, err := p.client.Send(ctx, upstream.Request{URL: p.url, Accept: accept, Body: body})
	if err != nil {
		return nil, err
	}
	if ex.Status/100 != 2 {
		defer ex.Close()
		return nil, p.statusError(req, ex)
	}
	return ex, nil
}
