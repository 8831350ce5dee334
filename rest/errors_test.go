package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// answer is what WriteError gave.
type answer struct {
	status int
	header http.Header
	body   map[string]map[string]any
	log    string
}

func writeError(t *testing.T, ctx context.Context, err error) answer {
	t.Helper()
	var log bytes.Buffer
	ctx = zerolog.New(&log).WithContext(models.WithRequestID(ctx, "req_1"))
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil), err)
	a := answer{status: w.Code, header: w.Header(), log: log.String()}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil {
			t.Fatalf("%q: %v", w.Body, err)
		}
	}
	return a
}

func TestErrorsHaveTheirStatusAndType(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		kind   string
		code   string
		param  any
	}{
		{models.Invalid("messages[2].content", "no"), 400, "invalid_request_error", "invalid_value", "messages[2].content"},
		{models.Missing("model"), 400, "invalid_request_error", "missing_parameter", "model"},
		{(*models.Viewer)(nil).Require(models.ScopeChat), 401, "authentication_error", "missing_api_key", nil},
		{models.Forbidden(models.CodeInsufficientScope, "no"), 403, "permission_error", "insufficient_scope", nil},
		{models.NotFound("channel", "ch_1"), 404, "not_found_error", "resource_not_found", "id"},
		{&models.Error{Kind: models.KindMethodNotAllowed, Code: "c"}, 405, "invalid_request_error", "c", nil},
		{models.Conflict("name", "no"), 409, "invalid_request_error", "conflict", "name"},
		{&models.Error{Kind: models.KindTooLarge, Code: "c"}, 413, "invalid_request_error", "c", nil},
		{&models.Error{Kind: models.KindUnsupportedMedia, Code: "c"}, 415, "invalid_request_error", "c", nil},
		{&models.Error{Kind: models.KindUnprocessable, Code: "c"}, 422, "invalid_request_error", "c", nil},
		{&models.Error{Kind: models.KindRateLimited, Code: "c"}, 429, "rate_limit_error", "c", nil},
		{models.Unavailable(models.CodeNoHealthyChannel, "no"), 503, "service_unavailable_error", "no_healthy_channel", nil},
		{fmt.Errorf("while testing: %w", models.Conflict("", "no")), 409, "invalid_request_error", "conflict", nil},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			a := writeError(t, t.Context(), c.err)
			e := a.body["error"]
			if a.status != c.status || e["type"] != c.kind || e["code"] != c.code || e["param"] != c.param || e["request_id"] != "req_1" {
				t.Errorf("got %d %v, want %d %s %s %v", a.status, e, c.status, c.kind, c.code, c.param)
			}
			for _, field := range []string{"message", "type", "param", "code", "request_id"} {
				if _, ok := e[field]; !ok {
					t.Errorf("%q is absent", field)
				}
			}
			if a.header.Get("Content-Type") != "application/json" {
				t.Errorf("content type %q", a.header.Get("Content-Type"))
			}
			if got := a.header.Get("Www-Authenticate"); (got == "Bearer") != (c.status == 401) {
				t.Errorf("WWW-Authenticate %q", got)
			}
			if a.log != "" {
				t.Errorf("a client's mistake is logged: %s", a.log)
			}
		})
	}
}

func TestUnknownErrorsAreLoggedAndMasked(t *testing.T) {
	for _, err := range []error{
		errors.New("dial tcp 10.1.2.3:5432: secret"),
		&models.Error{Kind: models.KindInternal, Code: models.CodeInternal, Message: "Something.", Cause: errors.New("10.1.2.3 secret")},
		fmt.Errorf("10.1.2.3 secret: %w", context.Canceled), // but the client is still there
	} {
		a := writeError(t, t.Context(), err)
		if a.status != 500 || a.body["error"]["code"] != "internal_error" || a.body["error"]["type"] != "internal_server_error" {
			t.Errorf("got %d %v", a.status, a.body)
		}
		if strings.Contains(fmt.Sprint(a.body), "10.1.2.3") {
			t.Errorf("the answer tells what is inside: %v", a.body)
		}
		if !strings.Contains(a.log, "10.1.2.3 secret") && !strings.Contains(a.log, "10.1.2.3:5432: secret") {
			t.Errorf("the log does not tell what happened: %q", a.log)
		}
	}
}

func TestSDKsAreToldWhenToTryAgain(t *testing.T) {
	for _, c := range []struct {
		err                        *models.Error
		seconds, millis, tryHeader string
	}{
		{&models.Error{Kind: models.KindRateLimited, Retry: 1500 * time.Millisecond}, "2", "1500", ""},
		{&models.Error{Kind: models.KindRateLimited, Retry: time.Microsecond}, "1", "1", ""},
		{&models.Error{Kind: models.KindUnavailable}, "", "", ""},
		{&models.Error{Kind: models.KindUnavailable, Final: true}, "", "", "false"},
	} {
		h := writeError(t, t.Context(), c.err).header
		if h.Get("Retry-After") != c.seconds || h.Get("Retry-After-Ms") != c.millis || h.Get("X-Should-Retry") != c.tryHeader {
			t.Errorf("%+v: got %v", c.err, h)
		}
	}
}

func TestNobodyIsAnsweredWhoHasLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := writeError(t, ctx, fmt.Errorf("ask upstream: %w", context.Canceled))
	if a.status != 499 || a.body != nil || a.log != "" {
		t.Errorf("got %d %v, log %q", a.status, a.body, a.log)
	}
}

func TestServerThatEndsARequestSaysWhy(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(models.Unavailable(models.CodeShuttingDown, "Bye."))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a := writeError(t, ctx, fmt.Errorf("ask upstream: %w", context.Canceled))
	if a.status != 503 || a.body["error"]["code"] != "shutting_down" {
		t.Errorf("got %d %v", a.status, a.body)
	}
}

func TestMessagesMayQuoteAnything(t *testing.T) {
	a := writeError(t, t.Context(), models.Invalid("a", "you sent \xff\x00\n<script>\u2028"))
	message, _ := a.body["error"]["message"].(string)
	if !strings.Contains(message, "\x00\n<script>\u2028") {
		t.Errorf("message %q", message)
	}
}
