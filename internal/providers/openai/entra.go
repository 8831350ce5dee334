package openai

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/coaidev/coai/internal/providers"
)

const (
	defaultAuthority = "https://login.microsoftonline.com"
	// A token is replaced this long before its end, so that none ends on its way.
	tokenMargin = 5 * time.Minute
	// How long Entra ID may take.
	tokenTimeout = 30 * time.Second
)

// entra gets tokens for an application from Entra ID, by the client credentials
// grant, and keeps them while they last. It is safe for concurrent use.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
type entra struct {
	config  clientcredentials.Config
	client  *http.Client
	current atomic.Pointer[oauth2.Token]
	fetches singleflight.Group
}

// newEntra reads TENANT:CLIENT_ID:CLIENT_SECRET.
func newEntra(credential, authority string, v1 bool, client *http.Client) (*entra, error) {
	parts := strings.SplitN(credential, ":", 3)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return nil, errors.New("the credential must be entra:TENANT:CLIENT_ID:CLIENT_SECRET")
	}
	if authority == "" {
		authority = defaultAuthority
	}
	base := parseBase(authority)
	if base == nil {
		return nil, errors.New("the authority URL is not valid")
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the secret is in the body
	own.Jar, own.Timeout = nil, tokenTimeout
	return &entra{client: &own, config: clientcredentials.Config{
		ClientID: parts[1], ClientSecret: parts[2],
		TokenURL:  base.JoinPath(url.PathEscape(parts[0]), "oauth2", "v2.0", "token").String(),
		Scopes:    []string{tokenScope(base.Hostname(), v1)},
		AuthStyle: oauth2.AuthStyleInParams,
	}}, nil
}

// tokenScope is the resource that tokens are asked for: each national cloud has
// its own.
func tokenScope(authority string, v1 bool) string {
	switch {
	case strings.HasSuffix(authority, ".us"):
		return "https://cognitiveservices.azure.us/.default"
	case strings.HasSuffix(authority, ".cn"):
		return "https://cognitiveservices.azure.cn/.default"
	case v1:
		return "https://ai.azure.com/.default"
	}
	return "https://cognitiveservices.azure.com/.default"
}

// token gives a token that is not refused, the one that was: empty for any.
// Callers that need a new one at the same time share it. Errors are
// *[providers.Error].
func (e *entra) token(ctx context.Context, refused string) (string, error) {
	t := e.current.Load()
	if t != nil && t.AccessToken != refused && time.Until(t.Expiry) > tokenMargin {
		return t.AccessToken, nil
	}
	fetched := e.fetches.DoChan("", func() (any, error) {
		if now := e.current.Load(); now != t { // another fetch ended just now
			return now, nil
		}
		return e.fetch(ctx)
	})
	select {
	case <-ctx.Done():
		return "", providers.AsError(ctx.Err())
	case r := <-fetched:
		if r.Err == nil {
			return r.Val.(*oauth2.Token).AccessToken, nil
		}
		if t != nil && t.AccessToken != refused && time.Now().Before(t.Expiry) {
			return t.AccessToken, nil // it lasts a little longer
		}
		return "", r.Err
	}
}

// fetch asks for a new token. It outlives the request that began it, because
// others may wait for it too.
func (e *entra) fetch(ctx context.Context) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokenTimeout)
	defer cancel()
	t, err := e.config.Token(context.WithValue(ctx, oauth2.HTTPClient, e.client))
	if err != nil {
		return nil, tokenError(err)
	}
	if t.Expiry.IsZero() { // it must say so, but an hour is the rule
		t.Expiry = time.Now().Add(time.Hour)
	}
	e.current.Store(t)
	return t, nil
}

// tokenError says what a failure to get a token means. What Entra ID says names
// the tenant and the application: only its code goes into the log.
func tokenError(err error) *providers.Error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return &providers.Error{Class: providers.Unavailable, Message: "Entra ID could not be reached.", Cause: withoutURL(err)}
	}
	e := &providers.Error{Class: providers.Credential, Message: "Entra ID refused the channel's credential."}
	if answer.Response != nil {
		switch status := answer.Response.StatusCode; {
		case status == http.StatusTooManyRequests:
			e.Class, e.Message = providers.RateLimited, "Entra ID is over its rate limit."
		case status/100 != 2 && status/100 != 4:
			e.Class, e.Message = providers.Unavailable, "Entra ID failed."
		}
	}
	if code := answer.ErrorCode; code != "" && len(code) <= 40 && !strings.ContainsFunc(code, notCode) {
		e.Cause = errors.New(code)
	}
	return e
}

func notCode(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }

// withoutURL leaves the authority's URL, in which the tenant is, out of an error.
func withoutURL(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		return inURL.Err
	}
	return err
}
