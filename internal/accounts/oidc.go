package accounts

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/coaidev/coai/models"
)

// OIDC is an OpenID Connect issuer that users sign in with.
// https://openid.net/specs/openid-connect-core-1_0.html
type OIDC struct {
	Issuer       string // its URL; what it serves below is discovered
	ClientID     string
	ClientSecret string       // empty for a public client
	Scopes       []string     // openid is asked for in any case
	Domains      []string     // of the addresses that may sign in; empty: all
	RoleClaim    string       // decides the role at each sign-in: a text or a list of them; empty: none does
	AdminValues  []string     // of the claim, each of which makes an admin
	Create       bool         // makes accounts for those who have none
	HTTP         *http.Client // what reaches the issuer
}

// OIDCCallback is where the issuer sends browsers back to, below the public URL.
const OIDCCallback = "/v1/auth/oidc/callback"

const (
	issuerTimeout = 15 * time.Second
	issuerTTL     = time.Hour // its keys are fetched whenever an unknown one signs
)

// issuer is what was discovered of the issuer. Failures are not kept.
type issuer struct {
	mu       sync.Mutex
	provider *oidc.Provider
	until    time.Time
}

// discover gives the issuer's endpoints and keys.
func (s *Service) discover(ctx context.Context) (*oidc.Provider, error) {
	s.issuer.mu.Lock()
	defer s.issuer.mu.Unlock()
	if p := s.issuer.provider; p != nil && s.now().Before(s.issuer.until) {
		return p, nil
	}
	p, err := oidc.NewProvider(s.reaching(ctx), s.cfg.OIDC.Issuer)
	if err != nil {
		return nil, unreachable(fmt.Errorf("discover the OpenID issuer: %w", err))
	}
	s.issuer.provider, s.issuer.until = p, s.now().Add(issuerTTL)
	return p, nil
}

// reaching lets requests to the issuer take the client of the settings. The
// provider keeps it, but not the request's context.
func (s *Service) reaching(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.cfg.OIDC.HTTP)
}

func unreachable(err error) error {
	e := models.Unavailable(models.CodeUpstreamError, "The identity provider cannot be reached. Try again.")
	e.Cause = err
	return e
}

func (s *Service) oauth(p *oidc.Provider) *oauth2.Config {
	scopes := []string{oidc.ScopeOpenID}
	for _, scope := range s.cfg.OIDC.Scopes {
		if scope != oidc.ScopeOpenID {
			scopes = append(scopes, scope)
		}
	}
	return &oauth2.Config{
		ClientID: s.cfg.OIDC.ClientID, ClientSecret: s.cfg.OIDC.ClientSecret, Endpoint: p.Endpoint(),
		RedirectURL: s.cfg.PublicURL + OIDCCallback, Scopes: scopes,
	}
}

// claims are what the issuer says of somebody.
type claims struct {
	Issuer        string
	Subject       string
	Nonce         string
	Email         string
	EmailVerified bool
	Name          string
	Role          *models.Role // nil: the issuer decides none
}

// exchange takes the claims for a code. What the issuer refuses, and what does not
// verify, is the fault of whoever brought the code.
func (s *Service) exchange(ctx context.Context, code, verifier string) (*claims, error) {
	ctx, cancel := context.WithTimeout(ctx, issuerTimeout)
	defer cancel()
	p, err := s.discover(ctx)
	if err != nil {
		return nil, err
	}
	ctx = s.reaching(ctx)
	token, err := s.oauth(p).Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		e := refusedSignIn("The identity provider did not accept the code.")
		e.Cause = err
		return nil, e
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := p.VerifierContext(ctx, &oidc.Config{ClientID: s.cfg.OIDC.ClientID, Now: s.now}).Verify(ctx, raw)
	if err != nil {
		e := refusedSignIn("The identity provider's token is not valid.")
		e.Cause = err
		return nil, e
	}
	return s.readClaims(verified)
}

func (s *Service) readClaims(token *oidc.IDToken) (*claims, error) {
	var known struct {
		Email    string `json:"email"`
		Verified any    `json:"email_verified"` // some issuers write "true"
		Name     string `json:"name"`
	}
	var all map[string]any
	if err := token.Claims(&known); err != nil {
		return nil, refusedSignIn("The identity provider's claims cannot be read.")
	}
	if err := token.Claims(&all); err != nil {
		return nil, refusedSignIn("The identity provider's claims cannot be read.")
	}
	c := &claims{
		Issuer: token.Issuer, Subject: token.Subject, Nonce: token.Nonce,
		Email: known.Email, EmailVerified: known.Verified == true || known.Verified == "true", Name: known.Name,
	}
	if s.cfg.OIDC.RoleClaim != "" {
		role := models.RoleUser
		if anyOf(all[s.cfg.OIDC.RoleClaim], s.cfg.OIDC.AdminValues) {
			role = models.RoleAdmin
		}
		c.Role = &role
	}
	return c, nil
}

// anyOf says whether a claim, a text or a list of them, is or has one of the values.
func anyOf(claim any, values []string) bool {
	list, ok := claim.([]any)
	if !ok {
		list = []any{claim}
	}
	for _, v := range list {
		for _, want := range values {
			if v == want {
				return true
			}
		}
	}
	return false
}

func refusedSignIn(format string, args ...any) *models.Error {
	return models.Forbidden(models.CodeSignInRefused, format, args...)
}

// localPath says whether a browser that is sent there stays on this server.
// Browsers take \ for /, and // for the beginning of a host's name.
func localPath(p string) bool {
	const longest = 1000
	if len(p) > longest || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsFunc(p, func(r rune) bool {
		return r <= ' ' || r == '\\' || r >= 0x7f
	}) {
		return false
	}
	u, err := url.Parse(p)
	return err == nil && u.Scheme == "" && u.Host == "" && !strings.HasPrefix(u.Path, "//")
}
