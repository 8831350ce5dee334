package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/models"
)

// admit signs the caller in and counts the request, and puts the limits into
// the answer's headers. The viewer is nil for a nameless caller of a mount that
// takes them.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, x *exchange) (*models.Viewer, error) {
	ctx := r.Context()
	v, denied := s.signIn(ctx, w, r, x)
	subject, tier := "ip:"+network(x.client), models.TierFree
	if v != nil {
		subject, tier = "user:"+v.UserID, v.Tier
	}
	plan, err := s.accounts.Plan(ctx, tier)
	if err != nil {
		return nil, fmt.Errorf("load the plan %s: %w", tier, err)
	}
	limits := ratelimit.Limits{PerMinute: plan.RequestsPerMinute, PerHour: plan.RequestsPerHour, PerDay: plan.RequestsPerDay}

	// What cannot be answered costs nothing; a guessed key does.
	draining := s.draining.Load()
	take := !draining && !x.mount.Uncounted
	if denied != nil {
		_, known := models.AsError(denied)
		take = take && known
	}
	var d ratelimit.Decision
	switch {
	case v != nil && v.Limits.PerMinute():
		d = s.limiter.Admit(ctx, v, limits, take)
	case take:
		d = s.limiter.Take(ctx, subject, limits)
	default:
		d = s.limiter.Peek(ctx, subject, limits)
	}
	now := time.Now()
	x.setLimits(d, now)
	switch {
	case draining:
		w.Header().Set("Connection", "close")
		e := models.Unavailable(models.CodeShuttingDown, "This server is shutting down. Try again.")
		e.Retry = time.Second
		setRetry(w.Header(), e.Retry)
		return nil, e
	case !d.Allowed:
		e := d.Exceeded(now)
		setRetry(w.Header(), e.Retry)
		return nil, e
	case denied != nil:
		if e, _ := models.AsError(denied); e.Kind == models.KindUnauthenticated {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		return nil, denied
	}
	return v, nil
}

// signIn gives the viewer of the request's credential, or why there is none.
func (s *Server) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, x *exchange) (*models.Viewer, error) {
	secret, err := credential(r.Header)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		if token := s.jar(w, r).value(sessionCookie); token != "" {
			return s.bySession(ctx, r, x, token)
		}
		return s.stranger(x)
	}
	return s.accounts.Authenticate(ctx, secret, x.client) //nolint:wrapcheck // its error is the client's
}

// stranger is the viewer without any credential: nil, where the mount takes that.
func (s *Server) stranger(x *exchange) (*models.Viewer, error) {
	if x.mount.Anonymous {
		return nil, nil //nolint:nilnil // nobody, and that is fine here
	}
	var nobody *models.Viewer
	return nil, nobody.Require(models.ScopeChat) // says that a key is missing
}

// credential is the API key in the headers: the bearer token, or what Azure's
// and Anthropic's clients send. It is empty when there is none.
func credential(h http.Header) (string, error) {
	auth := strings.TrimSpace(h.Get("Authorization"))
	scheme, token, _ := strings.Cut(auth, " ")
	if strings.EqualFold(scheme, "Bearer") {
		if token = strings.TrimSpace(token); token != "" {
			return token, nil
		}
	}
	for _, name := range []string{"Api-Key", "X-Api-Key"} {
		if key := strings.TrimSpace(h.Get(name)); key != "" {
			return key, nil
		}
	}
	if auth != "" && !strings.EqualFold(scheme, "Bearer") {
		return "", &models.Error{
			Kind: models.KindUnauthenticated, Code: models.CodeInvalidAPIKey,
			Message: "The Authorization header must be 'Bearer <key>'.",
		}
	}
	return "", nil
}

// network is what a nameless caller is counted by: the address, or for IPv6
// the /64, of which any subscriber has a whole one.
func network(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr().String()
		}
	}
	return a.String()
}

// setLimits writes the window that is closest to running out by the product's
// names, and the minute's by OpenAI's.
// https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
func (x *exchange) setLimits(d ratelimit.Decision, now time.Time) {
	if t := d.Tightest; t.Name != "" {
		x.header("X-Ratelimit-Limit", 1, strconv.Itoa(t.Limit))
		x.header("X-Ratelimit-Remaining", 2, strconv.Itoa(t.Remaining))
		x.header("X-Ratelimit-Reset", 3, strconv.FormatInt(t.Reset.Unix(), 10))
	}
	if m := d.Minute; m.Limit > 0 {
		x.header("X-Ratelimit-Limit-Requests", 4, strconv.Itoa(m.Limit))
		x.header("X-Ratelimit-Remaining-Requests", 5, strconv.Itoa(m.Remaining))
		x.header("X-Ratelimit-Reset-Requests", 6, wholeSeconds(m.Reset.Sub(now)).String())
	}
	if t := d.Tokens; t.Limit > 0 {
		h := x.raw.Header()
		h["X-Ratelimit-Limit-Tokens"] = []string{strconv.Itoa(t.Limit)}
		h["X-Ratelimit-Remaining-Tokens"] = []string{strconv.Itoa(t.Remaining)}
		h["X-Ratelimit-Reset-Tokens"] = []string{wholeSeconds(t.Reset.Sub(now)).String()}
	}
}

// setRetry tells SDKs how long to wait.
func setRetry(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int(wholeSeconds(wait)/time.Second)))
	h.Set("Retry-After-Ms", strconv.FormatInt(wait.Milliseconds(), 10))
}

// wholeSeconds rounds up, so that who waits that long has waited enough.
func wholeSeconds(d time.Duration) time.Duration {
	return max(0, (d + time.Second - 1).Truncate(time.Second))
}
