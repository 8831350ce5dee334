// Package ollama speaks Ollama's own API, which tells more than its imitation
// of OpenAI's: thinking, token counts, the context's size.
// https://github.com/ollama/ollama/blob/main/docs/api.md
package ollama

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Config says how one server is reached.
type Config struct {
	BaseURL          string            // to which /api/chat is added, such as http://127.0.0.1:11434
	APIKey           string            // sent as a bearer token unless empty: ollama.com and proxies want one
	Headers          map[string]string // sent with each request, instead of ours of the same name
	FirstByteTimeout time.Duration     // until the first byte of the answer; a model that is not in memory is loaded before it. Default 5 min
	IdleTimeout      time.Duration     // of silence inside an answer; default 2 min
	MaxBytes         int               // of an answer that is not streamed, default 64 MiB; also caps the 16 MiB of one line
	DropUnsupported  bool              // leave out what Ollama has no word for, instead of refusing it
}

// Provider is one server.
type Provider struct {
	client *upstream.Client
	base   *url.URL // nil when the base URL is none
	drop   bool
	typed  map[string]bool // the request's fields that models knows, in lower case
}

// New makes a provider that sends its requests through client's transport.
// Redirects are not followed. An invalid base URL makes every request fail.
func New(cfg Config, client *http.Client) *Provider {
	p := &Provider{drop: cfg.DropUnsupported, typed: typedFields()}
	secrets := []string{cfg.APIKey}
	if u, err := url.Parse(cfg.BaseURL); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		if u.Path == "" {
			u.Path = "/" // else the joined path is relative
		}
		p.base = u
		secrets = append(secrets, u.Host)
	}
	header := http.Header{}
	if cfg.APIKey != "" {
		header.Set("Authorization", "Bearer "+cfg.APIKey)
	}
	p.client = upstream.New(upstream.Config{
		Header: header, Extra: cfg.Headers, Secrets: secrets, MaxBytes: cfg.MaxBytes,
		FirstByteTimeout: cfg.FirstByteTimeout, IdleTimeout: cfg.IdleTimeout,
	}, client)
	return p
}

// Complete implements [providers.Provider]. It reads a stream to its end, so
// that a slow machine is given up for its silence only, not for a long answer.
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	st, err := p.open(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.Close() }()
	return st.whole()
}

// Stream implements [providers.Provider].
func (p *Provider) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	st, err := p.open(ctx, req)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (p *Provider) open(ctx context.Context, req providers.Request) (*stream, error) {
	body, failure := p.chatBody(req)
	if failure != nil {
		return nil, failure
	}
	ex, err := p.post(ctx, "api/chat", "application/x-ndjson", req.Model, req.Input.Model, body)
	if err != nil {
		return nil, err
	}
	return newStream(p, ex, req), nil
}

// post sends a request. On success the exchange holds an answer of status 2xx.
func (p *Provider) post(ctx context.Context, path, accept, model, asked string, body []byte) (*upstream.Exchange, error) {
	if p.base == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	ex, err := p.client.Send(ctx, upstream.Request{URL: p.base.JoinPath(path), Accept: accept, Body: body})
	if err != nil {
		return nil, err
	}
	if ex.Status/100 != 2 {
		defer ex.Close()
		return nil, p.statusError(ex, model, asked)
	}
	return ex, nil
}
