// Package openai speaks OpenAI's chat completions API, to OpenAI and to the
// many servers that are compatible with it. What it does not need to understand
// it passes on as bytes.
// https://platform.openai.com/docs/api-reference/chat
package openai

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

const (
	defaultFirstByte = 5 * time.Minute
	defaultIdle      = 2 * time.Minute
	defaultMaxBytes  = 64 << 20
	maxEvent         = 16 << 20
	maxErrorBody     = 64 << 10
)

// Config says how one upstream is reached.
type Config struct {
	BaseURL          string            // to which /chat/completions is added, such as https://api.openai.com/v1; a query is kept
	APIKey           string            // sent as a bearer token unless empty
	Organization     string            // sent as OpenAI-Organization unless empty
	Headers          map[string]string // sent with each request, instead of ours of the same name
	FirstByteTimeout time.Duration     // until the first byte of the answer's body; default 5 min
	IdleTimeout      time.Duration     // of silence inside an answer; default 2 min
	MaxBytes         int               // of an answer that is not streamed, default 64 MiB; also caps the 16 MiB of one event
}

// Provider is one upstream.
type Provider struct {
	cfg    Config
	client *http.Client
	url    *url.URL // nil when the base URL is none
	header http.Header
	host   string          // of a configured Host header
	typed  map[string]bool // the request's fields that models knows, in lower case
}

// New makes a provider that sends its requests through client's transport.
// Redirects are not followed. An invalid base URL makes every request fail.
func New(cfg Config, client *http.Client) *Provider {
	if cfg.FirstByteTimeout <= 0 {
		cfg.FirstByteTimeout = defaultFirstByte
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = defaultIdle
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	p := &Provider{cfg: cfg, client: &own, header: http.Header{}, typed: typedFields()}
	if u, err := url.Parse(cfg.BaseURL); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		if u.Path == "" {
			u.Path = "/" // else the joined path is relative
		}
		p.url = u.JoinPath("chat", "completions")
	}
	p.header.Set("Content-Type", "application/json")
	p.header.Set("User-Agent", "coai")
	if cfg.APIKey != "" {
		p.header.Set("Authorization", "Bearer "+cfg.APIKey)
	}
	if cfg.Organization != "" {
		p.header.Set("Openai-Organization", cfg.Organization)
	}
	for name, value := range cfg.Headers {
		switch http.CanonicalHeaderKey(name) {
		case "Host":
			p.host = value
		case "Content-Length", "Transfer-Encoding", "Connection", "Accept-Encoding": // the transport's own
		default:
			p.header.Set(name, value)
		}
	}
	return p
}

// Complete implements [providers.Provider]. The answer keeps the upstream's bytes.
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	ex, err := p.send(ctx, req, false)
	if err != nil {
		return nil, err
	}
	defer ex.close()
	if !jsonType(ex.mediaType()) {
		return nil, malformed(ex.resp.StatusCode, "The upstream's answer is not JSON.", nil)
	}
	raw, err := ex.readAll(p.cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	raw, err = p.checkCompletion(req, raw)
	if err != nil {
		return nil, err
	}
	return models.RawChatCompletion(raw), nil
}

// Stream implements [providers.Provider]. It returns when the upstream's
// headers are there. An upstream that answers with a whole completion instead
// of a stream has it cut into chunks.
func (p *Provider) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	ex, err := p.send(ctx, req, true)
	if err != nil {
		return nil, err
	}
	st, err := p.openStream(ex, req)
	if err != nil {
		ex.close()
		return nil, err
	}
	return st, nil
}

func (p *Provider) openStream(ex *exchange, req providers.Request) (*stream, error) {
	mediaType := ex.mediaType()
	if mediaType == "text/event-stream" {
		return newStream(p, ex, req), nil
	}
	if !jsonType(mediaType) {
		return nil, malformed(ex.resp.StatusCode, "The upstream's answer is not an event stream.", nil)
	}
	first, err := ex.peek()
	if err != nil {
		return nil, err
	}
	if first != '{' {
		if first == '<' || first == '[' {
			return nil, malformed(ex.resp.StatusCode, "The upstream's answer is not an event stream.", nil)
		}
		return newStream(p, ex, req), nil // the type is wrong, but it may be one: the parser will tell
	}
	raw, err := ex.readAll(p.cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	if raw, err = p.checkCompletion(req, raw); err != nil {
		return nil, err
	}
	st := newStream(p, ex, req)
	st.over = true
	st.queue, err = chunksOf(raw)
	if err != nil {
		return nil, malformed(ex.resp.StatusCode, "The upstream's answer is not a chat completion.", err)
	}
	return st, nil
}

// send posts the request. On success the exchange holds an answer of status 2xx.
func (p *Provider) send(ctx context.Context, req providers.Request, streamed bool) (*exchange, error) {
	if p.url == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	body, err := requestBody(req, streamed, p.typed)
	if err != nil {
		return nil, &providers.Error{
			Class: providers.Rejected, Code: models.CodeInvalidValue,
			Message: "The request cannot be sent to the upstream.", Cause: err,
		}
	}
	ex, err := p.post(ctx, body, streamed)
	if err != nil {
		return nil, err
	}
	if status := ex.resp.StatusCode; status < 200 || status > 299 {
		defer ex.close()
		return nil, p.statusError(req, ex)
	}
	return ex, nil
}

func (ex *exchange) mediaType() string {
	mediaType, _, err := mime.ParseMediaType(ex.resp.Header.Get("Content-Type"))
	if err != nil {
		mediaType, _, _ = strings.Cut(ex.resp.Header.Get("Content-Type"), ";")
	}
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// jsonType says whether a body of the type may be JSON. Servers that know no
// better say nothing, or the types that mean nothing.
func jsonType(mediaType string) bool {
	switch mediaType {
	case "", "application/json", "text/json", "text/plain", "application/octet-stream":
		return true
	}
	return strings.HasSuffix(mediaType, "+json")
}

func malformed(status int, message string, cause error) *providers.Error {
	return &providers.Error{Class: providers.Malformed, Status: status, Message: message, Cause: cause}
}

// readAll reads the whole body, of at most limit bytes.
func (ex *exchange) readAll(limit int) ([]byte, error) {
	size := ex.resp.ContentLength
	raw := make([]byte, 0, max(512, min(size+1, 1<<20)))
	for {
		if len(raw) == cap(raw) {
			raw = append(raw, 0)[:len(raw)]
		}
		n, err := ex.Read(raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		status := ex.resp.StatusCode
		switch {
		case len(raw) > limit:
			return nil, malformed(status, "The upstream's answer is too large.", nil)
		case errors.Is(err, io.EOF) && len(raw) == 0:
			return nil, malformed(status, "The upstream's answer is empty.", nil)
		case errors.Is(err, io.EOF):
			return raw, nil
		case errors.Is(err, io.ErrUnexpectedEOF) && !ex.ended():
			return nil, malformed(status, "The upstream's answer is cut short.", err)
		case err != nil:
			return nil, ex.failure(err)
		}
	}
}
