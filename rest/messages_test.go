package rest

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coaidev/coai/models"
)

// Errors of Anthropic's paths have its types and statuses, whoever writes them.
func TestAnthropicErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		kind   string
	}{
		"invalid":     {models.Invalid("x", "no"), 400, "invalid_request_error"},
		"no key":      {(*models.Viewer)(nil).Require(models.ScopeChat), 401, "authentication_error"},
		"forbidden":   {models.Forbidden(models.CodeModelNotAllowed, "no"), 403, "permission_error"},
		"not found":   {models.ModelNotFound("m"), 404, "not_found_error"},
		"too large":   {&models.Error{Kind: models.KindTooLarge, Code: models.CodeRequestTooLarge}, 413, "request_too_large"},
		"limited":     {&models.Error{Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded, Retry: time.Second}, 429, "rate_limit_error"},
		"internal":    {errors.New("broken"), 500, "api_error"},
		"upstream":    {models.Unavailable(models.CodeUpstreamError, "no"), 500, "api_error"},
		"timeout":     {models.Unavailable(models.CodeUpstreamTimeout, "no"), 504, "timeout_error"},
		"overloaded":  {models.Unavailable(models.CodeOverloaded, "no"), 529, "overloaded_error"},
		"no channel":  {models.Unavailable(models.CodeNoHealthyChannel, "no"), 529, "overloaded_error"},
		"ending":      {models.Unavailable(models.CodeShuttingDown, "no"), 529, "overloaded_error"},
		"method":      {&models.Error{Kind: models.KindMethodNotAllowed}, 405, "invalid_request_error"},
		"media":       {&models.Error{Kind: models.KindUnsupportedMedia}, 415, "invalid_request_error"},
		"a conflict":  {models.Conflict("x", "no"), 409, "invalid_request_error"},
		"unprocessed": {&models.Error{Kind: models.KindUnprocessable}, 422, "invalid_request_error"},
	} {
		t.Run(name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/messages/count_tokens", nil)
			WriteError(w, r.WithContext(models.WithRequestID(r.Context(), "req_1")), c.err)
			var body struct {
				Type      string
				Error     struct{ Type, Message string }
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%q: %v", w.Body, err)
			}
			if w.Code != c.status || body.Type != "error" || body.Error.Type != c.kind || body.RequestID != "req_1" || w.Header().Get("Request-Id") != "req_1" {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.status == 429 && w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
			}
		})
	}
}
