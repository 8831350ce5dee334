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
	v, denied := s.signIn(ctx, r.Header, x)
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
	count := s.limiter.Take
	if _, known := models.AsError(denied); denied != nil && !known || draining || x.mount.Uncounted {
		count = s.limiter.Peek
	}
	d := count(ctx, subject, limits)
	now := time.Now()
	setLimits(w.Header(), d, now)
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
func (s *Server) signIn(ctx context.Context, h http.Header, x *exchange) (*models.Viewer, error) {
	secret, err := credential(h)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		if x.mount.Anonymous {
			return nil, nil //nolint:nilnil // nobody, and that is fine here
		}
		var nobody *models.Viewer
		return nil, nobody.Require(models.ScopeChat) // says that a key is missing
	}
	return s.accounts.Authenticate(ctx, secret, x.client) //nolint:wrapcheck // its error is the client's
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
func setLimits(h http.Header, d ratelimit.Decision, now time.Time) {
	if t := d.Tightest; t.Name != "" {
		h["X-Ratelimit-Limit"] = []string{strconv.Itoa(t.Limit)}
		h["X-Ratelimit-Remaining"] = []string{strconv.Itoa(t.Remaining)}
		h["X-Ratelimit-Reset"] = []string{strconv.FormatInt(t.Reset.Unix(), 10)}
	}
	if m := d.Minute; m.Limit > 0 {
		h["X-Ratelimit-Limit-Requests"] = []string{strconv.Itoa(m.Limit)}
		h["X-Ratelimit-Remaining-Requests"] = []string{strconv.Itoa(m.Remaining)}
		h["X-Ratelimit-Reset-Requests"] = []string{wholeSeconds(m.Reset.Sub(now)).String()}
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
