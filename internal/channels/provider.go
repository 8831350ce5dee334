package channels

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/internal/http1"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/anthropic"
	"github.com/coaidev/coai/internal/providers/echo"
	"github.com/coaidev/coai/internal/providers/gemini"
	"github.com/coaidev/coai/internal/providers/ollama"
	"github.com/coaidev/coai/internal/providers/openai"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/models"
)

// credentials makes the providers of a channel, one for each credential over one
// transport, and what releases its idle connections.
func (r *Registry) credentials(row *models.Channel) ([]*credential, func(), error) {
	if row.Type == models.ChannelEcho {
		return []*credential{{provider: echo.New()}}, func() {}, nil
	}
	secrets, err := r.open(row)
	if err != nil {
		return nil, nil, err
	}
	transport, err := r.transport(&row.Settings)
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: transport}
	list := make([]*credential, len(secrets))
	for i, secret := range secrets {
		p, err := newProvider(row, secret, client)
		if err != nil {
			return nil, nil, err
		}
		list[i] = &credential{place: i, provider: p}
	}
	return list, transport.CloseIdleConnections, nil
}

// newProvider makes the provider that speaks the language of the channel's type.
func newProvider(row *models.Channel, credential string, client *http.Client) (providers.Provider, error) {
	s := &row.Settings
	firstByte, idle := milliseconds(s.FirstByteTimeoutMS, 5*time.Minute), milliseconds(s.IdleTimeoutMS, 2*time.Minute)
	switch row.Type {
	case models.ChannelOpenAI:
		return openai.New(openai.Config{
			BaseURL: row.BaseURL, APIKey: credential, Organization: text(s.Organization), Headers: s.Headers, Quirks: quirks(s),
			FirstByteTimeout: firstByte, IdleTimeout: idle,
		}, client), nil
	case models.ChannelAzure:
		p, err := openai.NewAzure(openai.AzureConfig{Config: openai.Config{
			BaseURL: row.BaseURL, APIKey: credential, Headers: s.Headers, Quirks: quirks(s),
			FirstByteTimeout: firstByte, IdleTimeout: idle,
		}, APIVersion: text(s.APIVersion), AuthorityURL: text(s.AuthorityURL)}, client)
		if err != nil {
			return nil, fmt.Errorf("make ready for Azure: %w", err)
		}
		return p, nil
	case models.ChannelAnthropic:
		return anthropic.New(anthropic.Config{
			BaseURL: row.BaseURL, APIKey: credential, Version: text(s.APIVersion), Headers: s.Headers,
			DropUnsupported: s.DropUnsupported, FirstByteTimeout: firstByte, IdleTimeout: idle,
		}, client), nil
	case models.ChannelGemini:
		return gemini.New(gemini.Config{
			BaseURL: row.BaseURL, APIKey: credential, Headers: s.Headers, DropUnsupported: s.DropUnsupported,
			FirstByteTimeout: firstByte, IdleTimeout: idle, Files: publicClient(),
		}, client), nil
	case models.ChannelOllama:
		return ollama.New(ollama.Config{
			BaseURL: row.BaseURL, APIKey: credential, Headers: s.Headers, DropUnsupported: s.DropUnsupported,
			FirstByteTimeout: firstByte, IdleTimeout: idle,
		}, client), nil
	case models.ChannelEcho:
	}
	return nil, fmt.Errorf("this version cannot speak to upstreams of the type %s", row.Type)
}

// quirks are those of a server that speaks OpenAI's language.
func quirks(s *models.ChannelSettings) openai.Quirks {
	q := openai.Quirks{
		NoStreamOptions: s.Has(models.QuirkNoStreamOptions), NoDeveloper: s.Has(models.QuirkNoDeveloperRole),
		Responses: s.Has(models.QuirkResponses),
	}
	for _, name := range []models.ChannelQuirk{models.QuirkMaxTokens, models.QuirkMaxCompletionTokens} {
		if s.Has(name) {
			q.MaxTokens = string(name)
		}
	}
	return q
}

func (r *Registry) transport(s *models.ChannelSettings) (*http1.Transport, error) {
	opts := safehttp.Options{Policy: r.cfg.Policy, ConnectTimeout: milliseconds(s.ConnectTimeoutMS, 10*time.Second)}
	if s.ProxyURL != nil {
		proxy, err := url.Parse(*s.ProxyURL)
		if err != nil {
			return nil, fmt.Errorf("parse proxy URL: %w", err)
		}
		opts.ProxyURL = proxy
	}
	return http1.New(safehttp.NewTransport(opts)), nil
}

// publicClient fetches what users name by URL. It reaches public addresses alone,
// whatever channels may reach, and takes no proxy: that would look up names for
// itself, and is inside the operator's network. Each connection serves once.
func publicClient() *http.Client {
	transport := safehttp.NewTransport(safehttp.Options{})
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport}
}

func milliseconds(ms *int, otherwise time.Duration) time.Duration {
	if ms == nil {
		return otherwise
	}
	return time.Duration(*ms) * time.Millisecond
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
