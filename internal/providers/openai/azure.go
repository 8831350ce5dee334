package openai

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
)

// DefaultAPIVersion is the newest dated version of Azure's API that is generally
// available. Later features are in /openai/v1, which has no dates.
// https://learn.microsoft.com/azure/ai-services/openai/api-version-deprecation
const DefaultAPIVersion = "2024-10-21"

// AzureConfig says how one Azure OpenAI resource is reached. The Config's
// BaseURL is its endpoint, such as https://NAME.openai.azure.com, or its newer
// API, https://NAME.openai.azure.com/openai/v1. Models are named by their
// deployments. APIKey is one of
//   - a key of the resource
//   - entra:TENANT:CLIENT_ID:CLIENT_SECRET, an application in Entra ID
//   - bearer:TOKEN, a token that somebody else looks after
type AzureConfig struct {
	Config

	APIVersion   string // default [DefaultAPIVersion]; /openai/v1 needs none
	AuthorityURL string // of Entra ID, default https://login.microsoftonline.com
}

// NewAzure makes a provider for Azure OpenAI. It fails when the credential says
// that it is for Entra ID, and is not in its form.
// https://learn.microsoft.com/azure/ai-services/openai/reference
func NewAzure(cfg AzureConfig, client *http.Client) (*Provider, error) {
	p := newProvider(cfg.Quirks)
	header := http.Header{}
	secrets := []string{cfg.APIKey}
	base := parseBase(cfg.BaseURL)
	v1 := false
	if base != nil {
		p.locate, v1 = azureLocate(base, cfg.APIVersion)
		secrets = append(secrets, base.Host)
	}
	p.serves[providers.Responses] = v1 || cfg.Quirks.Responses
	kind, rest, _ := strings.Cut(cfg.APIKey, ":")
	switch {
	case kind == "entra" && rest != "":
		var err error
		if p.entra, err = newEntra(rest, cfg.AuthorityURL, v1, client); err != nil {
			return nil, err
		}
		secrets = append(secrets, p.entra.config.ClientSecret, p.entra.config.ClientID)
	case kind == "bearer" && rest != "":
		header.Set("Authorization", "Bearer "+rest)
		secrets = append(secrets, rest)
	case cfg.APIKey != "":
		header.Set("Api-Key", cfg.APIKey)
	default:
		return nil, errors.New("a channel to Azure needs a credential")
	}
	p.client = upstream.New(upstream.Config{
		Header: header, Extra: cfg.Headers, Secrets: secrets, MaxBytes: cfg.MaxBytes,
		FirstByteTimeout: cfg.FirstByteTimeout, IdleTimeout: cfg.IdleTimeout,
	}, client)
	return p, nil
}

// azureLocate says where a resource has its endpoints, and whether it is asked
// through /openai/v1. The endpoint may be given with or without /openai.
func azureLocate(base *url.URL, version string) (locate func(path, model string) *url.URL, v1 bool) {
	path := strings.TrimSuffix(base.Path, "/")
	v1 = strings.HasSuffix(path, "/openai/v1")
	if version == "" && !v1 {
		version = DefaultAPIVersion
	}
	query := base.Query()
	if version != "" {
		query.Set("api-version", version)
	}
	root := base.JoinPath() // a copy
	root.RawQuery = query.Encode()
	if v1 {
		return func(path, _ string) *url.URL { return root.JoinPath(path) }, true
	}
	if !strings.HasSuffix(path, "/openai") {
		root = root.JoinPath("openai")
	}
	return func(path, model string) *url.URL {
		return root.JoinPath("deployments", url.PathEscape(model), path)
	}, false
}
