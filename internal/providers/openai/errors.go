package openai

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// answer is what an upstream says about a failure. Everything in it is text of
// a foreign server: see [upstream.Client.Scrub].
type answer struct {
	status  int
	isJSON  bool // it has a message in a JSON body
	message string
	kind    string // OpenAI's `type`
	code    string
	param   string
}

// statusError says what an answer outside 2xx means.
func (p *Provider) statusError(s subject, ex *upstream.Exchange) *providers.Error {
	body, failure := ex.ErrorBody()
	if failure != nil {
		return failure
	}
	e := p.classify(s, readAnswer(ex.Status, body))
	e.Status, e.Retry = ex.Status, upstream.RetryAfter(ex.Header)
	if invalid := ex.Status == http.StatusBadRequest || ex.Status == http.StatusUnprocessableEntity; invalid &&
		(bytes.Contains(body, []byte("stream_options")) || bytes.Contains(body, []byte("include_usage"))) {
		e.Cause = errOptions
	}
	return e
}

// answeredError finds a failure in the body of an answer with status 200, or in
// an event; nil when there is none.
func (p *Provider) answeredError(req providers.Request, raw []byte, certain bool) *providers.Error {
	member := gjson.Get(providers.View(raw), "error")
	if told := member.IsObject() && member.Raw != "{}" || member.Str != ""; !told && !certain {
		return nil
	}
	a := readAnswer(0, raw)
	a.status = statusOf(a)
	return p.classify(about(req), a)
}

// readAnswer reads OpenAI's error envelope, and what others send in its place:
// {"error":"text"}, {"message":...}, {"detail":...}, and Google's array.
func readAnswer(status int, body []byte) answer {
	a := answer{status: status}
	if !gjson.ValidBytes(body) {
		return a
	}
	root := gjson.ParseBytes(body)
	if root.IsArray() {
		root = root.Get("0")
	}
	object := root.Get("error")
	if !object.IsObject() {
		if object.Type == gjson.String {
			a.message = object.Str
		}
		object = root
	}
	for _, key := range []string{"message", "detail"} {
		if m := object.Get(key); a.message == "" && m.Type == gjson.String {
			a.message = m.Str
		}
	}
	if m := object.Get("detail.0.msg"); a.message == "" && m.Type == gjson.String {
		a.message = m.Str
	}
	a.kind, a.param = object.Get("type").Str, object.Get("param").Str
	a.code = object.Get("code").String() // some send the HTTP status
	if object.Get("innererror.code").Str == "ResponsibleAIPolicyViolation" {
		a.code = models.CodeContentFilter
	}
	a.isJSON = a.message != "" || a.code != "" || a.kind != ""
	return a
}

// statusOf is the HTTP status that a failure would have had, were it not told
// inside an answer.
func statusOf(a answer) int {
	if n, err := strconv.Atoi(a.code); err == nil && n >= 400 && n < 600 {
		return n
	}
	for _, word := range []string{a.code, a.kind} {
		switch word {
		case "rate_limit_error", "rate_limit_exceeded", "too_many_requests", "insufficient_quota":
			return http.StatusTooManyRequests
		case "invalid_request_error", "context_length_exceeded", "content_filter", "content_policy_violation", "BadRequestError":
			return http.StatusBadRequest
		case "authentication_error", "permission_error", "invalid_api_key":
			return http.StatusUnauthorized
		case "model_not_found", "not_found_error":
			return http.StatusNotFound
		case "timeout", "timeout_error":
			return http.StatusGatewayTimeout
		}
	}
	return http.StatusInternalServerError
}

// classify says what a failure means. Only of a rejected request is the
// upstream's own text shown: the rest is between the operator and the upstream.
func (p *Provider) classify(s subject, a answer) *providers.Error {
	e := &providers.Error{}
	if text := strings.TrimSpace(a.code + " " + a.message); text != "" {
		e.Cause = errors.New(p.client.Scrub(text))
	}
	switch {
	case exhausted(a):
		e.Class, e.Message = providers.Credential, "The channel's account at the upstream is exhausted."
	case refused(a):
		// The text of such an answer may quote the key.
		e.Class, e.Message, e.Cause = providers.Credential, "The upstream refused the channel's credential.", nil
	case unknownModel(a):
		e.Class, e.Message = providers.NoModel, "The upstream does not know the model."
	case a.status == http.StatusTooManyRequests:
		e.Class, e.Message = providers.RateLimited, "The upstream is over its rate limit."
	case a.status == http.StatusRequestTimeout, a.status == http.StatusGatewayTimeout:
		e.Class, e.Message = providers.Timeout, "The upstream took too long."
	case a.status >= 500:
		e.Class, e.Message = providers.Unavailable, "The upstream failed."
	case a.status == http.StatusNotFound && (!a.isJSON || a.kind == "" || strings.HasPrefix(a.message, "Invalid URL")):
		e.Class, e.Message = s.missing(), "The upstream has no "+s.what+" at the channel's base URL."
	case a.status == http.StatusMethodNotAllowed:
		e.Class, e.Message = s.missing(), "The upstream takes no "+s.what+" at the channel's base URL."
	case a.status == http.StatusRequestEntityTooLarge && !a.isJSON:
		e.Class, e.Code, e.Message = providers.Rejected, models.CodeInvalidValue, "The request is too large for the upstream."
	case !a.isJSON:
		e.Class, e.Message = providers.Malformed, "The upstream refused the request without saying why."
	default:
		e.Class, e.Code, e.Param, e.Cause = providers.Rejected, rejectedCode(a), p.client.Scrub(a.param), nil
		e.Message = p.client.Scrub(s.ownModel(a.message))
		if e.Message == "" {
			e.Message = "The upstream rejected the request."
		}
	}
	return e
}

// missing is the class of an endpoint that is not there. All upstreams have chat
// completions: without them the channel is wrong. Others are not missed.
func (s subject) missing() providers.Class {
	if s.what == chatWords {
		return providers.Unavailable
	}
	return providers.NoModel
}

func exhausted(a answer) bool {
	if a.status == http.StatusPaymentRequired {
		return true
	}
	for _, word := range []string{a.code, a.kind} {
		switch word {
		case "insufficient_quota", "billing_hard_limit_reached", "billing_not_active":
			return true
		}
	}
	return false
}

func refused(a answer) bool {
	switch a.code {
	case "invalid_api_key", "account_deactivated":
		return true
	case "model_not_found":
		return false // a project without access to the model is told so by 403
	}
	return a.status == http.StatusUnauthorized || a.status == http.StatusForbidden ||
		strings.HasPrefix(a.message, "API key not valid") // Google's 400
}

func unknownModel(a answer) bool {
	switch a.code {
	case "model_not_found", "DeploymentNotFound", "invalid_model", "unknown_model":
		return true
	}
	message := strings.ToLower(a.message)
	return a.status == http.StatusNotFound && (strings.Contains(message, "model") || strings.Contains(message, "deployment"))
}

func rejectedCode(a answer) string {
	message := strings.ToLower(a.message)
	switch {
	case a.code == "context_length_exceeded",
		strings.Contains(message, "maximum context length"), strings.Contains(message, "context window"):
		return models.CodeContextLength
	case a.code == "content_filter", a.code == "content_policy_violation":
		return models.CodeContentFilter
	case a.code == "unsupported_parameter":
		return models.CodeUnsupportedParameter
	}
	return models.CodeInvalidValue
}

// ownModel replaces the upstream's name of the model by the one that the client
// used: the mapping is the operator's affair.
func (s subject) ownModel(message string) string {
	if s.model == s.asked || len(s.model) < 3 {
		return message
	}
	return strings.ReplaceAll(message, s.model, s.asked)
}
