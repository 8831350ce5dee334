package anthropic

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// statusOverloaded is Anthropic's own.
const statusOverloaded = 529

// names are a model's at the upstream, and the one that the client used: only
// the latter may be shown.
type names struct{ upstream, asked string }

// answer is what the upstream says about a failure. Everything in it is text of
// a foreign server: see [upstream.Client.Scrub].
type answer struct {
	status  int
	isJSON  bool   // it is in Anthropic's envelope
	kind    string // its `type`
	message string
}

// statusError says what an answer outside 2xx means.
// https://platform.claude.com/docs/en/api/errors
func (p *Provider) statusError(ex *upstream.Exchange, n names) *providers.Error {
	body, failure := ex.ErrorBody()
	if failure != nil {
		return failure
	}
	a := answer{status: ex.Status}
	if gjson.ValidBytes(body) {
		a.read(gjson.ParseBytes(body))
	}
	e := p.classify(a, n)
	e.Status, e.Retry = ex.Status, retryAfter(ex.Header)
	return e
}

// toldError is a failure in an event, or in an answer of status 200.
func (p *Provider) toldError(root gjson.Result, n names) *providers.Error {
	var a answer
	a.read(root)
	switch a.kind {
	case "invalid_request_error":
		a.status = http.StatusBadRequest
	case "authentication_error", "permission_error":
		a.status = http.StatusUnauthorized
	case "billing_error":
		a.status = http.StatusPaymentRequired
	case "not_found_error":
		a.status = http.StatusNotFound
	case "request_too_large":
		a.status = http.StatusRequestEntityTooLarge
	case "rate_limit_error":
		a.status = http.StatusTooManyRequests
	case "timeout_error":
		a.status = http.StatusGatewayTimeout
	case "overloaded_error":
		a.status = statusOverloaded
	default:
		a.status = http.StatusInternalServerError
	}
	return p.classify(a, n)
}

func (a *answer) read(root gjson.Result) {
	e := root.Get("error")
	a.kind, a.message = e.Get("type").Str, e.Get("message").Str
	a.isJSON = a.kind != "" || a.message != ""
}

// classify says what a failure means. Only of a rejected request is the
// upstream's own text shown: the rest is between the operator and the upstream.
func (p *Provider) classify(a answer, n names) *providers.Error {
	e := &providers.Error{}
	if text := strings.TrimSpace(a.kind + " " + a.message); text != "" {
		e.Cause = errors.New(p.client.Scrub(text))
	}
	message := strings.ToLower(a.message)
	switch {
	case a.status == http.StatusPaymentRequired, a.kind == "billing_error", strings.Contains(message, "credit balance is too low"):
		e.Class, e.Message = providers.Credential, "The channel's account at the upstream is exhausted."
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		// The text of such an answer may quote the key.
		e.Class, e.Message, e.Cause = providers.Credential, "The upstream refused the channel's credential.", nil
	case a.status == http.StatusNotFound && a.isJSON && strings.Contains(message, "model"):
		e.Class, e.Message = providers.NoModel, "The upstream does not know the model."
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		e.Class, e.Message = providers.Unavailable, "The upstream has no Messages API at the channel's base URL."
	case a.status == http.StatusTooManyRequests:
		e.Class, e.Message = providers.RateLimited, "The upstream is over its rate limit."
	case a.status == http.StatusRequestTimeout, a.status == http.StatusGatewayTimeout:
		e.Class, e.Message = providers.Timeout, "The upstream took too long."
	case a.status == statusOverloaded:
		e.Class, e.Message = providers.Unavailable, "The upstream is overloaded."
	case a.status >= 500:
		e.Class, e.Message = providers.Unavailable, "The upstream failed."
	case a.status == http.StatusRequestEntityTooLarge && !a.isJSON:
		e.Class, e.Code, e.Message = providers.Rejected, models.CodeInvalidValue, "The request is too large for the upstream."
	case !a.isJSON:
		e.Class, e.Message = providers.Malformed, "The upstream refused the request without saying why."
	default:
		e.Class, e.Code, e.Param, e.Cause = providers.Rejected, rejectedCode(message), paramOf(a.message), nil
		if e.Message = p.client.Scrub(n.hide(a.message)); e.Message == "" {
			e.Message = "The upstream rejected the request."
		}
	}
	return e
}

// rejectedCode is the code for the client; Anthropic has none of its own.
func rejectedCode(message string) string {
	switch {
	case strings.Contains(message, "prompt is too long"),
		strings.Contains(message, "exceed context limit"), strings.Contains(message, "exceeds context limit"),
		strings.Contains(message, "context window"):
		return models.CodeContextLength
	case strings.Contains(message, "content filtering policy"):
		return models.CodeContentFilter
	}
	return models.CodeInvalidValue
}

// paramOf is the parameter that a message begins with, when it is one of the
// client's too. Paths into messages are not: they count turns.
func paramOf(message string) string {
	name, _, found := strings.Cut(message, ":")
	if found && slices.Contains([]string{"max_tokens", "temperature", "top_p", "top_k", "thinking", "tool_choice", "tools", "messages", "model"}, name) {
		return name
	}
	return ""
}

// hide replaces the upstream's name of the model by the one that the client
// used: the mapping is the operator's affair.
func (n names) hide(message string) string {
	if n.upstream == n.asked || len(n.upstream) < 3 {
		return message
	}
	return strings.ReplaceAll(message, n.upstream, n.asked)
}

// retryAfter reads Retry-After, else the time at which the last of the limits
// that are used up is renewed; at most an hour.
// https://platform.claude.com/docs/en/api/rate-limits#response-headers
func retryAfter(h http.Header) time.Duration {
	if d := upstream.RetryAfter(h); d > 0 {
		return d
	}
	var longest time.Duration
	for _, limit := range []string{"Requests", "Tokens", "Input-Tokens", "Output-Tokens"} {
		limit = "Anthropic-Ratelimit-" + limit
		if h.Get(limit+"-Remaining") != "0" {
			continue
		}
		if at, err := time.Parse(time.RFC3339, h.Get(limit+"-Reset")); err == nil {
			longest = max(longest, time.Until(at))
		}
	}
	return min(longest, time.Hour)
}
