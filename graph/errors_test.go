package graph

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/models"
)

var errSecret = errors.New("secret table is gone") //nolint:gochecknoglobals // a constant

func TestWriteError(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		typ    string
		code   string
		header map[string]string
	}{
		"invalid":         {models.Invalid("query", "bad"), 400, "invalid_request_error", "invalid_value", nil},
		"unauthenticated": {(*models.Viewer)(nil).Require(models.ScopeChat), 401, "authentication_error", "missing_api_key", map[string]string{"WWW-Authenticate": "Bearer"}},
		"forbidden":       {models.Forbidden("ip_not_allowed", "no"), 403, "permission_error", "ip_not_allowed", nil},
		"not found":       {models.NotFound("thing", "1"), 404, "not_found_error", "resource_not_found", nil},
		"conflict":        {models.Conflict("", "no"), 409, "invalid_request_error", "conflict", nil},
		"unprocessable":   {&models.Error{Kind: models.KindUnprocessable, Code: "invalid_value"}, 422, "invalid_request_error", "invalid_value", nil},
		"rate limited": {
			&models.Error{Kind: models.KindRateLimited, Code: "rate_limit_exceeded", Retry: 1500 * time.Millisecond}, 429,
			"rate_limit_error", "rate_limit_exceeded", map[string]string{"Retry-After": "2", "Retry-After-Ms": "1500", "X-Should-Retry": ""},
		},
		"out of budget": {
			&models.Error{Kind: models.KindRateLimited, Code: "budget_exceeded", Final: true}, 429,
			"rate_limit_error", "budget_exceeded", map[string]string{"Retry-After": "", "X-Should-Retry": "false"},
		},
		"unavailable": {models.Unavailable("overloaded", "no"), 503, "service_unavailable_error", "overloaded", map[string]string{"Retry-After": ""}},
		"wrapped":     {fmt.Errorf("load: %w", models.NotFound("thing", "1")), 404, "not_found_error", "resource_not_found", nil},
		"unknown":     {errSecret, 500, "internal_server_error", "internal_error", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldless(t)
			srv := w.serveError(c.err)
			r := do(t, srv, http.MethodPost, "/", "", "Accept", mediaGraphQL)
			if r.Status != c.status || r.code() != c.code || r.Errors[0].Extensions.Type != c.typ || r.HasData {
				t.Errorf("got %d %s", r.Status, r.Body)
			}
			if r.Header.Get("Content-Type") != toGraphQL {
				t.Errorf("content type %q", r.Header.Get("Content-Type"))
			}
			if strings.Contains(r.Body, "secret") {
				t.Errorf("an unknown error reached the client: %s", r.Body)
			}
			if masked := c.status == 500; masked != strings.Contains(w.logs.String(), "secret table") {
				t.Errorf("log: %s", w.logs)
			}
			for name, want := range c.header {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestRetryAfterIsShownInExtensions(t *testing.T) {
	e := shown(models.WithRequestID(t.Context(), "req_1"), &models.Error{
		Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded, Param: "messages[2].content", Retry: 2 * time.Second,
	})
	want := map[string]any{
		"code": "rate_limit_exceeded", "type": "rate_limit_error", "param": "messages[2].content",
		"requestId": "req_1", "retryAfterMs": int64(2000),
	}
	if fmt.Sprint(e.Extensions) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", e.Extensions, want)
	}
}

// worldless serves a handler without a domain.
type worldless struct {
	t    *testing.T
	logs *logs
}

func newWorldless(t *testing.T) *worldless { return &worldless{t, new(logs)} }

func (w *worldless) serveError(err error) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		WriteError(rw, r.WithContext(testContext(r.Context(), w.logs)), err)
	}))
	w.t.Cleanup(srv.Close)
	return srv
}
