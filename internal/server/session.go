package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/coaidev/coai/models"
)

// The cookies. Browsers take a name with the prefix __Host- only over TLS, for
// this host alone and all its paths, so that neither a neighbour's page nor
// whoever sits on the line can plant one. To this machine people come without
// TLS; there, and only there, the prefix is left out.
// https://www.rfc-editor.org/rfc/rfc6265bis#name-the-__host-prefix
const (
	sessionCookie = "coai_session"
	flowCookie    = "coai_oidc" // of a sign-in at an OpenID issuer
	securePrefix  = "__Host-"
)

// jar reads and sets the cookies of one exchange.
type jar struct {
	w      http.ResponseWriter
	r      *http.Request
	secure bool
}

func (s *Server) jar(w http.ResponseWriter, r *http.Request) jar {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	addr, err := netip.ParseAddr(host)
	local := host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.Unmap().IsLoopback()
	return jar{w: w, r: r, secure: s.cfg.HTTPS || r.TLS != nil || !local}
}

func (j jar) name(name string) string {
	if j.secure {
		return securePrefix + name
	}
	return name
}

// value is empty without the cookie, or with more than one.
func (j jar) value(name string) string {
	if all := j.r.CookiesNamed(j.name(name)); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

// set replaces the cookie; an empty value takes it away.
func (j jar) set(name, value string, until time.Time) {
	c := &http.Cookie{ //nolint:gosec // without Secure to this machine alone: see jar
		Name: j.name(name), Value: value, Path: "/", Secure: j.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Expires: until, MaxAge: int(time.Until(until) / time.Second),
	}
	if value == "" {
		c.Expires, c.MaxAge = time.Unix(1, 0), -1
	}
	http.SetCookie(j.w, c)
}

// sameOrigin says whether the request was made by a page of this server, or by
// the user: browsers say so themselves. Programs that are no browsers pass, for
// nobody makes them send a cookie.
func sameOrigin(r *http.Request) bool {
	probe := *r
	probe.Method = http.MethodPost // what a plain link may do is not asked here
	return http.NewCrossOriginProtection().Check(&probe) == nil
}

// bySession gives the viewer of the session in the request's cookie. A page from
// elsewhere cannot use it: what such a page asks for with a cookie is refused if
// it changes something, and else answered as without one. A session that counts no
// more is as none where strangers may come: they come to sign in again.
func (s *Server) bySession(ctx context.Context, r *http.Request, x *exchange, token string) (*models.Viewer, error) {
	if !sameOrigin(r) {
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		if !safe || r.Header.Get("Upgrade") != "" {
			return nil, models.Forbidden(models.CodeCrossOrigin, "Pages of other origins cannot use the session of this server's cookie. Send an API key.")
		}
		return s.stranger(x)
	}
	v, err := s.accounts.AuthenticateSession(ctx, token)
	if e, known := models.AsError(err); known && e.Kind != models.KindUnavailable && x.mount.Anonymous {
		return nil, nil //nolint:nilnil // nobody, and that is fine here
	}
	return v, err //nolint:wrapcheck // its error is the client's
}

// makeClient lets the domain see the client, and set its cookies until the answer
// has begun. Few requests ask for it.
func (x *exchange) makeClient() *models.Client {
	if x.asked != nil {
		return x.asked
	}
	r := x.request
	j := x.server.jar(x.raw, r)
	x.asked = &models.Client{
		Address: x.client, UserAgent: r.UserAgent(), Flow: j.value(flowCookie),
		Cookies:    func() bool { return x.status == 0 && r.Header.Get("Upgrade") == "" },
		SetSession: func(token string, until time.Time) { j.set(sessionCookie, token, until) },
		SetFlow:    func(flow string, until time.Time) { j.set(flowCookie, flow, until) },
	}
	if x.viewer != nil && x.viewer.SessionID != "" {
		token := j.value(sessionCookie)
		x.asked.Renew = func(ctx context.Context) (*models.Viewer, error) {
			return x.server.accounts.AuthenticateSession(ctx, token)
		}
	}
	return x.asked
}
