package ollama

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// statusError says what an answer outside 2xx means.
func (p *Provider) statusError(ex *upstream.Exchange, model, asked string) *providers.Error {
	body, failure := ex.ErrorBody()
	if failure != nil {
		return failure
	}
	e := p.classify(ex.Status, errorText(body), model, asked)
	e.Status, e.Retry = ex.Status, upstream.RetryAfter(ex.Header)
	return e
}

// answeredError finds a failure in a line of an answer with status 200; nil when
// there is none. Its status, if it has one, is in the line too.
func (p *Provider) answeredError(raw []byte, member json.RawMessage, req providers.Request) *providers.Error {
	text := errorText(raw)
	if len(member) == 0 || text == "" {
		return nil
	}
	status := http.StatusInternalServerError
	if n := gjson.GetBytes(raw, "status_code").Int(); n >= 400 && n < 600 {
		status = int(n)
	}
	return p.classify(status, text, req.Model, req.Input.Model)
}

// errorText is the error of a body: {"error":"text"}, or OpenAI's envelope from
// a proxy before it.
func errorText(body []byte) string {
	if !gjson.ValidBytes(body) {
		return ""
	}
	e := gjson.GetBytes(body, "error")
	if e.IsObject() {
		e = e.Get("message")
	}
	return e.Str
}

// classify says what a failure means. Only of a rejected request is the
// upstream's own text shown.
func (p *Provider) classify(status int, text, model, asked string) *providers.Error {
	e := &providers.Error{}
	if text != "" {
		e.Cause = errors.New(p.client.Scrub(text))
	}
	lower := strings.ToLower(text)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Class, e.Message, e.Cause = providers.Credential, "The upstream refused the channel's credential.", nil
	case status == http.StatusPaymentRequired:
		e.Class, e.Message = providers.Credential, "The channel's account at the upstream is exhausted."
	case status == http.StatusNotFound && text != "",
		status < 500 && strings.Contains(lower, "model") && strings.Contains(lower, "not found"):
		e.Class, e.Message = providers.NoModel, "The upstream does not know the model."
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		e.Class, e.Message = providers.Unavailable, "The upstream at the channel's base URL is not Ollama."
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable && strings.Contains(lower, "busy"):
		e.Class, e.Message = providers.RateLimited, "The upstream is over its limit."
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout:
		e.Class, e.Message = providers.Timeout, "The upstream took too long."
	case status >= 500:
		e.Class, e.Message = providers.Unavailable, "The upstream failed."
	case text == "":
		e.Class, e.Message = providers.Malformed, "The upstream refused the request without saying why."
	default:
		if len(model) >= 3 {
			text = strings.ReplaceAll(text, model, asked)
		}
		e.Class, e.Code, e.Cause, e.Message = providers.Rejected, models.CodeInvalidValue, nil, p.client.Scrub(text)
		switch {
		case strings.Contains(lower, "context length"):
			e.Code = models.CodeContextLength
		case strings.Contains(lower, "does not support tools"):
			e.Code, e.Param = models.CodeUnsupportedParameter, "tools"
		case strings.Contains(lower, "does not support thinking"):
			e.Code, e.Param = models.CodeUnsupportedParameter, "reasoning_effort"
		}
	}
	return e
}
