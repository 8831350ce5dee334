package models

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what sort of mistake or failure an [Error] is. Each face turns it
// into its own status in one exhaustive switch.
type Kind int

// The kinds, in the order of the HTTP statuses that the REST face gives them.
const (
	KindInternal         Kind = iota // 500: a fault of ours; details only in the log
	KindInvalid                      // 400: the request is malformed or a value is not allowed
	KindUnauthenticated              // 401: no credential, or one that does not count
	KindForbidden                    // 403: known caller, not allowed
	KindNotFound                     // 404: no such object, or not the caller's
	KindMethodNotAllowed             // 405
	KindConflict                     // 409: the state does not permit it
	KindTooLarge                     // 413: a body over its limit
	KindUnsupportedMedia             // 415: a content type that is not understood
	KindUnprocessable                // 422
	KindRateLimited                  // 429: a window, quota or budget is exhausted
	KindUnavailable                  // 503: no channel, upstream failure, shutting down
)

// Type is the `type` of the error envelope, shared by both faces.
func (k Kind) Type() string {
	switch k {
	case KindInvalid, KindMethodNotAllowed, KindConflict, KindTooLarge, KindUnsupportedMedia, KindUnprocessable:
		return "invalid_request_error"
	case KindUnauthenticated:
		return "authentication_error"
	case KindForbidden:
		return "permission_error"
	case KindNotFound:
		return "not_found_error"
	case KindRateLimited:
		return "rate_limit_error"
	case KindUnavailable:
		return "service_unavailable_error"
	case KindInternal:
	}
	return "internal_server_error"
}

// Codes that clients may switch on. They are the same over REST (`error.code`)
// and GraphQL (`extensions.code`).
const (
	CodeInvalidJSON          = "invalid_json"
	CodeMissingParameter     = "missing_parameter"
	CodeInvalidValue         = "invalid_value"
	CodeUnsupportedParameter = "unsupported_parameter"
	CodeContextLength        = "context_length_exceeded"
	CodeContentFilter        = "content_filter"
	CodeMissingAPIKey        = "missing_api_key"
	CodeInvalidAPIKey        = "invalid_api_key"
	CodeExpiredAPIKey        = "expired_api_key"
	CodeRevokedAPIKey        = "revoked_api_key"
	CodeInvalidCredentials   = "invalid_credentials" // a wrong address or password
	CodeInvalidSession       = "invalid_session"
	CodeExpiredSession       = "expired_session"
	CodeInvalidToken         = "invalid_token" // one that was sent by e-mail
	CodeSignUpClosed         = "sign_up_closed"
	CodeSignInRefused        = "sign_in_refused" // by the OpenID issuer, or by what it says
	CodeCrossOrigin          = "cross_origin_request"
	CodeInsufficientScope    = "insufficient_scope"
	CodeModelNotAllowed      = "model_not_allowed"
	CodeIPNotAllowed         = "ip_not_allowed"
	CodeAccountSuspended     = "account_suspended"
	CodeModelNotFound        = "model_not_found"
	CodeResourceNotFound     = "resource_not_found"
	CodeUnknownEndpoint      = "unknown_endpoint"
	CodeMethodNotAllowed     = "method_not_allowed"
	CodeConflict             = "conflict"
	CodeRequestTooLarge      = "request_too_large"
	CodeUnsupportedMediaType = "unsupported_media_type"
	CodeRateLimitExceeded    = "rate_limit_exceeded"
	CodeInsufficientQuota    = "insufficient_quota" // a prepaid balance, or the files of an account
	CodeBudgetExceeded       = "budget_exceeded"
	CodeInternal             = "internal_error"
	CodeNoHealthyChannel     = "no_healthy_channel"
	CodeUpstreamError        = "upstream_error"
	CodeUpstreamTimeout      = "upstream_timeout"
	CodeOverloaded           = "overloaded"
	CodeShuttingDown         = "shutting_down"
)

// Error is the one error that both faces know how to show. Any other error is
// logged under the request id and shown as internal.
type Error struct {
	Kind    Kind
	Code    string        // one of the Code constants
	Message string        // for people; names what was wrong and what is allowed
	Param   string        // JSON path of the culprit in REST spelling, such as messages[2].content; may be empty
	Retry   time.Duration // when above zero: how long to wait before trying again
	Final   bool          // trying again cannot help (x-should-retry: false), although the status suggests it
	Cause   error         // for the log only, never shown
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Cause)
	}
	return e.Code + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// AsError finds the *Error in err's chain. An error without one is internal:
// the caller logs it, and shows what AsError returns.
func AsError(err error) (e *Error, known bool) {
	if errors.As(err, &e) {
		return e, true
	}
	return &Error{
		Kind: KindInternal, Code: CodeInternal, Cause: err,
		Message: "Something went wrong on our side. Give the request id when you report it.",
	}, false
}

// Invalid reports a value that is not allowed. The message says what is.
func Invalid(param, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Code: CodeInvalidValue, Param: param, Message: fmt.Sprintf(format, args...)}
}

// Missing reports a required parameter that is absent.
func Missing(param string) *Error {
	return &Error{
		Kind: KindInvalid, Code: CodeMissingParameter, Param: param,
		Message: fmt.Sprintf("Missing required parameter: '%s'.", param),
	}
}

// NotFound reports an object that does not exist or is not the viewer's: the
// two are not told apart.
func NotFound(noun, id string) *Error {
	return &Error{
		Kind: KindNotFound, Code: CodeResourceNotFound, Param: "id",
		Message: fmt.Sprintf("No %s found with id '%s'.", noun, clip(id, 80)),
	}
}

// ModelNotFound reports a model that no channel serves to this viewer.
func ModelNotFound(model string) *Error {
	return &Error{
		Kind: KindNotFound, Code: CodeModelNotFound, Param: "model",
		Message: fmt.Sprintf("The model '%s' does not exist or you do not have access to it.", clip(model, 80)),
	}
}

// Forbidden reports a known caller that may not do this.
func Forbidden(code, format string, args ...any) *Error {
	return &Error{Kind: KindForbidden, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Conflict reports a state that does not permit the change.
func Conflict(param, format string, args ...any) *Error {
	return &Error{Kind: KindConflict, Code: CodeConflict, Param: param, Message: fmt.Sprintf(format, args...)}
}

// Unavailable reports that nobody could serve the request now.
func Unavailable(code, format string, args ...any) *Error {
	return &Error{Kind: KindUnavailable, Code: code, Message: fmt.Sprintf(format, args...)}
}

// UserErrorCode classifies a mistake that the person behind the client can mend.
type UserErrorCode string

// The user error codes.
const (
	UserErrorInvalid  UserErrorCode = "INVALID"
	UserErrorRequired UserErrorCode = "REQUIRED"
	UserErrorNotFound UserErrorCode = "NOT_FOUND"
	UserErrorConflict UserErrorCode = "CONFLICT"
)

// UserError is a mistake that the person behind the client can mend: it comes
// in a mutation's payload. Everything else is a top-level GraphQL error.
type UserError struct {
	Field   []string // path into the input, camelCase; empty when no field is to blame
	Code    UserErrorCode
	Message string
}

// Payload is the part that all mutation payloads share.
type Payload struct {
	UserErrors []UserError `json:"-"`
	err        *Error
}

// Fail puts err into the payload when it is one that a user can mend, and says
// whether it did.
func (p *Payload) Fail(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	var code UserErrorCode
	switch {
	case e.Kind == KindInvalid && e.Code == CodeMissingParameter:
		code = UserErrorRequired
	case e.Kind == KindInvalid:
		code = UserErrorInvalid
	case e.Kind == KindNotFound:
		code = UserErrorNotFound
	case e.Kind == KindConflict:
		code = UserErrorConflict
	default:
		return false
	}
	p.err = e
	p.UserErrors = []UserError{{Field: fieldPath(e.Param), Code: code, Message: e.Message}}
	return true
}

// Err gives back what [Payload.Fail] took in, for the face that answers with
// statuses instead of payloads.
func (p *Payload) Err() error {
	if p.err == nil {
		return nil
	}
	return p.err
}

// fieldPath turns messages[2].tool_call_id into ["messages","2","toolCallId"].
func fieldPath(param string) []string {
	path := []string{}
	for part := range strings.FieldsFuncSeq(param, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		path = append(path, camel(part))
	}
	return path
}

func camel(snake string) string {
	words := strings.Split(snake, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
