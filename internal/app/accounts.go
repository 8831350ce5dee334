package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/mail"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/models"
)

// openAccounts makes the accounts as the settings say.
func (c *core) openAccounts() error {
	sender, err := c.mail()
	if err != nil {
		return err
	}
	issuer, err := c.issuer()
	if err != nil {
		return err
	}
	c.accounts = accounts.New(c.db, accounts.Config{
		BootstrapKey: c.cfg.BootstrapAdminKey, SignUp: models.SignUpMode(c.cfg.SignUp),
		SessionIdle: c.cfg.SessionIdle, SessionLifetime: c.cfg.SessionLifetime,
		Mail: sender, PublicURL: c.cfg.publicURL(), OIDC: issuer,
	})
	c.onClose("e-mails", c.accounts.Close)
	return nil
}

// mail sends through the configured server, else into files for the operator.
func (c *core) mail() (mail.Sender, error) {
	if c.cfg.SMTPURL == "" {
		return mail.NewOutbox(filepath.Join(c.cfg.DataDir, "outbox"), c.cfg.MailFrom, c.log), nil
	}
	s, err := mail.NewSMTP(c.cfg.SMTPURL, c.cfg.MailFrom)
	if err != nil {
		return nil, fmt.Errorf("set up the mail server: %w", err)
	}
	return s, nil
}

// issuer is nil without one. An operator names it, so it may be on a private
// network as far as channels may.
func (c *core) issuer() (*accounts.OIDC, error) {
	if c.cfg.OIDCIssuer == "" {
		return nil, nil //nolint:nilnil // none
	}
	if c.cfg.OIDCClientID == "" {
		return nil, errors.New("COAI_OIDC_ISSUER needs COAI_OIDC_CLIENT_ID")
	}
	policy, err := safehttp.ParsePolicy(c.cfg.AllowPrivateNetworks, true)
	if err != nil {
		return nil, fmt.Errorf("read COAI_ALLOW_PRIVATE_NETWORKS: %w", err)
	}
	transport := safehttp.NewTransport(safehttp.Options{Policy: policy})
	c.onClose("connections to the identity provider", func(context.Context) error { transport.CloseIdleConnections(); return nil })
	return &accounts.OIDC{
		Issuer: c.cfg.OIDCIssuer, ClientID: c.cfg.OIDCClientID, ClientSecret: c.cfg.OIDCClientSecret,
		Scopes: c.cfg.OIDCScopes, Domains: c.cfg.OIDCDomains, RoleClaim: c.cfg.OIDCRoleClaim,
		AdminValues: c.cfg.OIDCAdminValues, Create: c.cfg.OIDCSignUp, HTTP: &http.Client{Transport: transport},
	}, nil
}

// publicURL is where people reach the server, without a final slash.
func (c *Config) publicURL() string {
	if c.PublicURL != "" {
		return strings.TrimSuffix(c.PublicURL, "/")
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if addr, bad := netip.ParseAddr(host); err == nil && (host == "" || bad == nil && addr.IsUnspecified()) {
		host = "localhost" // nobody goes to all addresses
	}
	return "http://" + net.JoinHostPort(host, port)
}
