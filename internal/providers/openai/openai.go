// Package openai speaks OpenAI's API, to OpenAI, to Azure OpenAI and to the many
// servers that are compatible with it. What it does not need to understand it
// passes on as bytes.
// https://platform.openai.com/docs/api-reference/chat
package openai

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
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
	Quirks           Quirks
}

// Quirks are how a compatible server differs from OpenAI.
type Quirks struct {
	NoStreamOptions bool   // stream_options is not sent
	MaxTokens       string // the one name of max_tokens and max_completion_tokens that is sent; empty: the client's
	NoDeveloper     bool   // the role developer is sent as system
	Responses       bool   // it serves /responses; OpenAI itself does without this
}

// Provider is one upstream.
type Provider struct {
	client *upstream.Client
	// locate gives the place of an endpoint, such as chat/completions, for a model
	// by the upstream's name; nil when the base URL is none.
	locate func(path, model string) *url.URL
	entra  *entra                      // gives the credential, unless client has it
	serves map[providers.Endpoint]bool // beside chat completions
	quirks Quirks
	typed  map[string]bool // the request's fields that models knows, in lower case
	// noOptions says that the upstream has been seen to refuse stream_options, and
	// to take the same request without it.
	noOptions atomic.Bool
}

// New makes a provider that sends its requests through client's transport.
// Redirects are not followed. An invalid base URL makes every request fail.
func New(cfg Config, client *http.Client) *Provider {
	p := newProvider(cfg.Quirks)
	secrets := []string{cfg.APIKey, cfg.Organization}
	if base := parseBase(cfg.BaseURL); base != nil {
		chat := base.JoinPath(chatPath)
		p.locate = func(path, _ string) *url.URL {
			if path == chatPath {
				return chat
			}
			return base.JoinPath(path)
		}
		secrets = append(secrets, base.Host)
		p.serves[providers.Responses] = cfg.Quirks.Responses || base.Host == "api.openai.com"
		p.serves[providers.Moderations] = true
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

// newProvider is what all upstreams have in common.
func newProvider(q Quirks) *Provider {
	return &Provider{typed: typedFields(), quirks: q, serves: map[providers.Endpoint]bool{
		providers.Embeddings: true, providers.Completions: true, providers.Images: true,
		providers.Speech: true, providers.Transcriptions: true,
		// Of these it depends on who the upstream is.
		providers.Responses: false, providers.Moderations: false,
		providers.Messages: false, // Anthropic's own
	}}
}

// parseBase reads a base URL; nil when it is none.
func parseBase(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil
	}
	if u.Path == "" {
		u.Path = "/" // else a joined path is relative
	}
	return u
}

// Complete implements [providers.Provider]. The answer keeps the upstream's bytes.
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	ex, err := p.send(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	raw, err := ex.ReadJSON(p.client.MaxBytes())
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
