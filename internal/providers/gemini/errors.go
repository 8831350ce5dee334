package gemini

import (
	"errors"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// failure is what an upstream says about one, in Google's error model. All its
// texts are those of a foreign server. https://google.aip.dev/193
type failure struct {
	http    int
	isJSON  bool
	status  string // such as RESOURCE_EXHAUSTED
	reason  string // of details, such as API_KEY_INVALID
	message string
	field   string // of details: the culprit, by Google's names
	retry   string // of details: a number of seconds such as 34.5s
}

// statusError says what an answer outside 2xx means.
func (p *Provider) statusError(model names, ex *upstream.Exchange) *providers.Error {
	body, failed := ex.ErrorBody()
	if failed != nil {
		return failed
	}
	f := readFailure(body)
	f.http = ex.Status
	e := p.classify(model, f)
	e.Status = ex.Status
	if e.Retry == 0 {
		e.Retry = upstream.RetryAfter(ex.Header)
	}
	return e
}

// answeredError says what a failure told in an answer with status 200 means.
func (p *Provider) answeredError(model names, raw []byte) *providers.Error {
	f := readFailure(raw)
	if f.http < 400 || f.http > 599 {
		f.http = http.StatusInternalServerError
	}
	return p.classify(model, f)
}

// readFailure reads {"error":{code,message,status,details}}, in an array too.
func readFailure(body []byte) failure {
	if !gjson.ValidBytes(body) {
		return failure{}
	}
	root := gjson.ParseBytes(body)
	if root.IsArray() {
		root = root.Get("0")
	}
	e := root.Get("error")
	f := failure{http: int(e.Get("code").Int()), status: e.Get("status").Str, message: e.Get("message").Str}
	if e.Type == gjson.String { // a proxy's
		f.message = e.Str
	}
	f.isJSON = f.message != "" || f.status != ""
	e.Get("details").ForEach(func(_, d gjson.Result) bool {
		switch kind := d.Get("@type").Str; {
		case strings.HasSuffix(kind, "ErrorInfo"):
			f.reason = d.Get("reason").Str
		case strings.HasSuffix(kind, "RetryInfo"):
			f.retry = d.Get("retryDelay").Str
		case strings.HasSuffix(kind, "BadRequest"):
			f.field = d.Get("fieldViolations.0.field").Str
		}
		return true
	})
	return f
}

// classify says what a failure means. Only of a rejected request is the
// upstream's own text shown: the rest is between the operator and the upstream.
func (p *Provider) classify(model names, f failure) *providers.Error {
	e := &providers.Error{Retry: upstream.RetryAfter(http.Header{"Retry-After": {strings.TrimSuffix(f.retry, "s")}})}
	if text := strings.TrimSpace(f.status + " " + f.message); text != "" {
		e.Cause = errors.New(p.client.Scrub(text))
	}
	switch {
	case f.http == http.StatusPaymentRequired, strings.Contains(f.message, "prepayment credits are depleted"):
		e.Class, e.Message = providers.Credential, "The channel's account at the upstream is exhausted."
	case refused(f):
		// The text of such an answer may quote the key.
		e.Class, e.Message, e.Cause = providers.Credential, "The upstream refused the channel's credential.", nil
	case f.status == "RESOURCE_EXHAUSTED", f.http == http.StatusTooManyRequests:
		e.Class, e.Message = providers.RateLimited, "The upstream is over its rate limit."
	case f.status == "NOT_FOUND":
		e.Class, e.Message = providers.NoModel, "The upstream does not know the model."
	case f.http == http.StatusNotFound, f.http == http.StatusMethodNotAllowed:
		e.Class, e.Message = providers.Unavailable, "There is no Gemini API at the channel's base URL."
	case f.status == "FAILED_PRECONDITION": // the channel's country, or its account's state
		e.Class, e.Message = providers.Unavailable, "The upstream does not serve the channel's location or account."
	case f.status == "DEADLINE_EXCEEDED", f.http == http.StatusRequestTimeout, f.http == http.StatusGatewayTimeout:
		e.Class, e.Message = providers.Timeout, "The upstream took too long."
	case f.status == "UNIMPLEMENTED", f.http >= 400 && f.http < 499 && f.http != http.StatusConflict && f.isJSON:
		e.Class, e.Code, e.Param, e.Cause, e.Retry = providers.Rejected, rejectedCode(f), param(f.field), nil, 0
		e.Message = p.client.Scrub(model.own(f.message))
		if e.Message == "" {
			e.Message = "The upstream rejected the request."
		}
		if e.Code == models.CodeContextLength {
			e.Param = "messages"
		}
	case f.http == http.StatusRequestEntityTooLarge:
		e.Class, e.Code, e.Message = providers.Rejected, models.CodeInvalidValue, "The request is too large for the upstream."
	case f.http >= 499, f.http == http.StatusConflict:
		e.Class, e.Message = providers.Unavailable, "The upstream failed."
	default:
		e.Class, e.Message = providers.Malformed, "The upstream refused the request without saying why."
	}
	return e
}

// refused says whether the credential is at fault. A bad key is told by 400.
func refused(f failure) bool {
	if strings.HasPrefix(f.reason, "API_KEY_") || strings.HasPrefix(f.message, "API key not valid") ||
		strings.HasPrefix(f.message, "API key expired") || strings.HasPrefix(f.message, "API Key not found") {
		return true
	}
	return f.status == "UNAUTHENTICATED" || f.status == "PERMISSION_DENIED" ||
		f.http == http.StatusUnauthorized || f.http == http.StatusForbidden
}

func rejectedCode(f failure) string {
	message := strings.ToLower(f.message)
	if strings.Contains(message, "token count") && strings.Contains(message, "exceeds") ||
		strings.Contains(message, "maximum number of tokens allowed") {
		return models.CodeContextLength
	}
	return models.CodeInvalidValue
}

// param translates the path of a culprit as far as it goes; the rest is in the
// message.
func param(field string) string {
	for _, known := range [][2]string{
		{"max_output_tokens", "max_tokens"}, {"temperature", "temperature"}, {"top_p", "top_p"}, {"top_k", "top_k"},
		{"candidate_count", "n"}, {"stop_sequences", "stop"}, {"presence_penalty", "presence_penalty"},
		{"frequency_penalty", "frequency_penalty"}, {"logprobs", "logprobs"}, {"seed", "seed"},
		{"response_json_schema", "response_format"}, {"response_schema", "response_format"},
		{"response_mime_type", "response_format"}, {"thinking_config", "reasoning_effort"},
		{"safety_settings", "safety_settings"}, {"tool_config", "tool_choice"}, {"tools", "tools"},
		{"system_instruction", "messages"}, {"contents", "messages"},
	} {
		if strings.Contains(field, known[0]) {
			return known[1]
		}
	}
	return ""
}

// own replaces the upstream's name of the model by the one that the client used:
// the mapping is the operator's affair.
func (n names) own(message string) string {
	if n.upstream == n.client || len(n.upstream) < 3 {
		return message
	}
	return strings.ReplaceAll(message, n.upstream, n.client)
}
