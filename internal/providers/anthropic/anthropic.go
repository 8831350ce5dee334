// Package anthropic speaks Anthropic's Messages API: chat completions are
// translated into it and back, and requests in its own form are passed through.
// https://platform.claude.com/docs/en/api/messages
//
// What OpenAI's and Anthropic's forms do not share is settled as follows. All
// system and developer messages go into the one system prompt, in their order,
// as Anthropic's own OpenAI endpoint does it. Participants' names, an image's
// detail, metadata other than user_id, prompt_cache_key and prediction have no
// influence and are left out. A parameter that would change the answer and has
// no counterpart is refused with a 400 that names it, or left out when the
// channel says so: see [Config.DropUnsupported].
//
//   - Without max_tokens an answer may be as long as the catalogue says of the
//     model, else 32000 tokens from Claude 4 on, and 4096 before.
//   - response_format json_schema becomes output_config.format, Anthropic's
//     structured outputs. There is no JSON without a schema: json_object is refused.
//   - reasoning_effort becomes adaptive thinking with output_config.effort from
//     Claude 4.6 on, and a budget of thinking tokens before; see [reasoning].
//   - Thinking comes as reasoning_content. Its blocks, with the signatures that
//     Anthropic wants back, come beside it as thinking_blocks, and are taken back
//     on assistant messages under that name.
//   - thinking, top_k, cache_control (on the request, messages, parts and tools),
//     output_config and service_tier are Anthropic's own and travel on.
package anthropic

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// betaHeader names the unfinished features that a request uses.
// https://platform.claude.com/docs/en/api/beta-headers
const betaHeader = "Anthropic-Beta"

// defaultVersion is the version of the API that this package is written for.
const defaultVersion = "2023-06-01"

// Config says how one upstream is reached.
type Config struct {
	BaseURL string            // to which /v1/messages is added, or /messages when it ends in /v1; a query is kept
	APIKey  string            // sent as x-api-key unless empty
	Version string            // the anthropic-version header; default 2023-06-01
	Headers map[string]string // sent with each request, instead of ours of the same name
	// DropUnsupported leaves out what the Messages API has no word for, instead of refusing it.
	DropUnsupported  bool
	FirstByteTimeout time.Duration // until the first byte of the answer's body; default 5 min
	IdleTimeout      time.Duration // of silence inside an answer; default 2 min
	MaxBytes         int           // of an answer that is not streamed, default 64 MiB; also caps the 16 MiB of one event
}

// Provider is one upstream.
type Provider struct {
	client *upstream.Client
	url    *url.URL // nil when the base URL is none
	drop   bool
	beta   string          // the channel's own Anthropic-Beta header
	typed  map[string]bool // the request's members that models knows
}

// New makes a provider that sends its requests through client's transport.
// Redirects are not followed. An invalid base URL makes every request fail.
func New(cfg Config, client *http.Client) *Provider {
	p := &Provider{drop: cfg.DropUnsupported, typed: typedMembers()}
	secrets := []string{cfg.APIKey}
	if u, err := url.Parse(cfg.BaseURL); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		if u.Path == "" {
			u.Path = "/" // else the joined path is relative
		}
		if strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v1") {
			p.url = u.JoinPath("messages")
		} else {
			p.url = u.JoinPath("v1", "messages")
		}
		secrets = append(secrets, u.Host)
	}
	header := http.Header{}
	header.Set("Anthropic-Version", defaultVersion)
	if cfg.Version != "" {
		header.Set("Anthropic-Version", cfg.Version)
	}
	if cfg.APIKey != "" {
		header.Set("X-Api-Key", cfg.APIKey)
	}
	for name, value := range cfg.Headers {
		if http.CanonicalHeaderKey(name) == betaHeader {
			p.beta = value
		}
	}
	p.client = upstream.New(upstream.Config{
		Header: header, Extra: cfg.Headers, Secrets: secrets, MaxBytes: cfg.MaxBytes,
		FirstByteTimeout: cfg.FirstByteTimeout, IdleTimeout: cfg.IdleTimeout,
	}, client)
	return p
}

// Complete implements [providers.Provider].
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	ex, err := p.ask(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	raw, err := ex.ReadJSON(p.client.MaxBytes())
	if err != nil {
		return nil, err
	}
	return p.completion(req, raw)
}

// Stream implements [providers.Provider]. It returns when the upstream's
// headers are there.
func (p *Provider) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	ex, err := p.ask(ctx, req, true)
	if err != nil {
		return nil, err
	}
	if ex.MediaType() != "text/event-stream" {
		ex.Close()
		return nil, upstream.Malformed(ex.Status, "The upstream's answer is not an event stream.", nil)
	}
	return newStream(p, ex, req), nil
}

// ask translates a request and sends it.
func (p *Provider) ask(ctx context.Context, req providers.Request, streamed bool) (*upstream.Exchange, error) {
	body, err := p.translate(req, streamed)
	if err != nil {
		return nil, err
	}
	return p.send(ctx, body, streamed, "", names{upstream: req.Model, asked: req.Input.Model})
}

// send posts a request, with the features of beta beside the channel's own. On
// success the exchange holds an answer of status 2xx.
func (p *Provider) send(ctx context.Context, body []byte, streamed bool, beta string, n names) (*upstream.Exchange, error) {
	if p.url == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	accept := "application/json"
	if streamed {
		accept = "text/event-stream"
	}
	r := upstream.Request{URL: p.url, Accept: accept, Body: body}
	if beta != "" {
		if p.beta != "" {
			beta = p.beta + "," + beta
		}
		r.Header = http.Header{betaHeader: {beta}}
	}
	ex, err := p.client.Send(ctx, r)
	if err != nil {
		return nil, err
	}
	if ex.Status/100 != 2 {
		defer ex.Close()
		return nil, p.statusError(ex, n)
	}
	return ex, nil
}
