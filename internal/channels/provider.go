package channels

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/echo"
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
			BaseURL: row.BaseURL, APIKey: credential, Organization: text(s.Organization), Headers: s.Headers,
			FirstByteTimeout: firstByte, IdleTimeout: idle,
		}, client), nil
	case models.ChannelAzure, models.ChannelAnthropic, models.ChannelGemini, models.ChannelOllama, models.ChannelEcho:
	}
	return nil, fmt.Errorf("this version cannot speak to upstreams of the type %s", row.Type)
}

func (r *Registry) transport(s *models.ChannelSettings) (*http.Transport, error) {
	opts := safehttp.Options{Policy: r.cfg.Policy, ConnectTimeout: milliseconds(s.ConnectTimeoutMS, 10*time.Second)}
	if s.ProxyURL != nil {
		proxy, err := url.Parse(*s.ProxyURL)
		if err != nil {
			return nil, fmt.Errorf("parse proxy URL: %w", err)
		}
		opts.ProxyURL = proxy
	}
	return safehttp.NewTransport(opts), nil
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
