package app

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/coaidev/coai/internal/channels"
)

// upstreams are what a first start makes channels to.
func (c *Config) upstreams() channels.Upstreams {
	found := channels.Upstreams{OpenAIKey: c.OpenAIAPIKey, AnthropicKey: c.AnthropicAPIKey, GeminiKey: c.GeminiAPIKey}
	if c.DetectOllama {
		found.OllamaURL = ollamaURL(c.OllamaHost)
	}
	return found
}

// ollamaURL is where an Ollama with this OLLAMA_HOST listens, if that is on this
// machine, else empty: what listens elsewhere is for an admin to name.
// https://github.com/ollama/ollama/blob/main/docs/faq.md
func ollamaURL(host string) string {
	scheme, rest, found := strings.Cut(strings.TrimSpace(host), "://")
	port := map[string]string{"http": "80", "https": "443"}[scheme]
	if !found {
		scheme, rest, port = "http", scheme, "11434"
	}
	if port == "" {
		return ""
	}
	rest, path, _ := strings.Cut(rest, "/")
	name, given, err := net.SplitHostPort(rest)
	if err != nil {
		name = strings.Trim(rest, "[]")
	} else if given != "" {
		port = given
	}
	addr, err := netip.ParseAddr(name)
	switch {
	case name == "", name == "localhost", err == nil && addr.IsUnspecified():
		name = "127.0.0.1"
	case err != nil || !addr.IsLoopback():
		return ""
	}
	return (&url.URL{Scheme: scheme, Host: net.JoinHostPort(name, port), Path: strings.TrimSuffix("/"+path, "/")}).String()
}
