// Package upstream is the HTTP that the providers share: a request to a foreign
// server, its answer read under timeouts, and what may be shown of its text.
package upstream

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/safehttp"
)

// Defaults and bounds of [Config].
const (
	defaultFirstByte = 5 * time.Minute
	defaultIdle      = 2 * time.Minute
	defaultMaxBytes  = 64 << 20
	maxEvent         = 16 << 20
	maxErrorBody     = 64 << 10
)

// Config says how one upstream is reached.
type Config struct {
	Header           http.Header       // the provider's own, sent with each request; credentials are in it
	Extra            map[string]string // what an admin set, sent instead of Header's of the same name
	FirstByteTimeout time.Duration     // until the first byte of the answer's body; default 5 min
	IdleTimeout      time.Duration     // of silence inside an answer; default 2 min
	MaxBytes         int               // of an answer that is not streamed, default 64 MiB; also caps the 16 MiB of one event
	Secrets          []string          // what no text may quote: credentials, organisations, the host
}

// Client sends requests to one upstream. It is safe for concurrent use.
type Client struct {
	cfg       Config
	transport http.RoundTripper
	header    http.Header
	json      map[string]http.Header // header of requests with a JSON body, by what they accept: shared, never changed
	host      string                 // of a configured Host header
	secrets   []string
}

// New makes a client that uses c's transport, and nothing else of c. Redirects are
// not followed.
func New(cfg Config, c *http.Client) *Client {
	if cfg.FirstByteTimeout <= 0 {
		cfg.FirstByteTimeout = defaultFirstByte
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = defaultIdle
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	up := &Client{cfg: cfg, transport: c.Transport, header: http.Header{"User-Agent": {"coai"}}}
	if up.transport == nil {
		up.transport = safehttp.NewTransport(safehttp.Options{}) // to public addresses
	}
	for name, values := range cfg.Header {
		up.header[name] = values
	}
	for name, value := range cfg.Extra {
		switch http.CanonicalHeaderKey(name) {
		case "Host":
			up.host = value
		case "Content-Length", "Transfer-Encoding", "Connection", "Accept-Encoding": // the transport's own
		default:
			up.header.Set(name, value)
		}
	}
	up.secrets = cfg.secrets()
	up.json = map[string]http.Header{}
	for _, accept := range []string{"", "application/json", "text/event-stream"} {
		up.json[accept] = up.headerFor(&Request{Body: []byte{}, Accept: accept})
	}
	return up
}

// headerFor is the header of a request.
func (c *Client) headerFor(r *Request) http.Header {
	h := c.header.Clone()
	for name, values := range r.Header {
		h[name] = values
	}
	if r.Body != nil {
		contentType := r.ContentType
		if contentType == "" {
			contentType = "application/json"
		}
		h["Content-Type"] = []string{contentType}
	}
	if r.Accept != "" && h.Get("Accept") == "" {
		h["Accept"] = []string{r.Accept}
	}
	if user := r.URL; user != nil && user.User != nil && h.Get("Authorization") == "" {
		password, _ := user.User.Password()
		h["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user.User.Username()+":"+password))}
	}
	return h
}

// request is the request as the transport takes it.
func (c *Client) request(ctx context.Context, r *Request) *http.Request {
	var header http.Header
	if r.Body != nil && r.ContentType == "" && r.Header == nil && r.URL.User == nil {
		header = c.json[r.Accept]
	}
	if header == nil {
		header = c.headerFor(r)
	}
	req := http.Request{Method: r.Method, URL: r.URL, Host: c.host, Header: header, ContentLength: int64(len(r.Body))}
	if req.Method == "" {
		req.Method = http.MethodPost
	}
	if len(r.Body) > 0 {
		raw := r.Body
		req.Body = io.NopCloser(bytes.NewReader(raw))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	}
	return req.WithContext(ctx)
}

// MaxBytes is how long an answer that is not streamed may be.
func (c *Client) MaxBytes() int { return c.cfg.MaxBytes }

// MaxEvent is how long one event of a stream may be.
func (c *Client) MaxEvent() int { return min(maxEvent, c.cfg.MaxBytes) }

// Request is what is sent. Header's entries replace those of the client.
type Request struct {
	Method      string // default POST
	URL         *url.URL
	ContentType string // default application/json
	Accept      string
	Header      http.Header
	Body        []byte // nil: none
}

// Send sends a request and returns when the head of the answer is there,
// whatever its status. Errors are *[providers.Error].
func (c *Client) Send(ctx context.Context, r Request) (*Exchange, error) {
	ex := &Exchange{parent: ctx, start: time.Now()}
	ex.idle.Store(int64(c.cfg.IdleTimeout))
	ex.ctx, ex.cancel = context.WithCancelCause(ctx)
	ex.timer = time.AfterFunc(c.cfg.FirstByteTimeout, ex.watch)
	resp, err := c.transport.RoundTrip(c.request(ex.ctx, &r)) //nolint:bodyclose // closed by Close
	if err != nil {
		return nil, ex.abort(err)
	}
	ex.Status, ex.Header, ex.size, ex.raw, ex.body = resp.StatusCode, resp.Header, resp.ContentLength, resp.Body, resp.Body
	switch encoding := strings.ToLower(ex.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip": // not asked for, but some proxies do it
		ex.body = &gunzip{src: ex.raw}
	default:
		ex.Close()
		return nil, Malformed(ex.Status, "The upstream's answer has an encoding that was not asked for.", nil)
	}
	return ex, nil
}

// ErrorBody reads what an answer outside 2xx says, as far as it may be long. It
// is an error only when the exchange was ended from our side: else the status
// says enough. A redirect is an error always.
func (ex *Exchange) ErrorBody() ([]byte, *providers.Error) {
	if ex.Status/100 == 3 {
		return nil, &providers.Error{Class: providers.Unavailable, Status: ex.Status, Message: "The upstream answered with a redirect, which is not followed."}
	}
	body, err := io.ReadAll(io.LimitReader(ex, maxErrorBody))
	if err != nil && ex.Ended() {
		return nil, ex.Failure(err)
	}
	return body, nil
}

// Malformed says that an answer is not in the upstream's own language.
func Malformed(status int, message string, cause error) *providers.Error {
	return &providers.Error{Class: providers.Malformed, Status: status, Message: message, Cause: cause}
}

// BrokeOff says that a stream ended where it must not end.
func BrokeOff(cause error) *providers.Error {
	return &providers.Error{
		Class: providers.Unavailable, Message: "The upstream broke off in the middle of its answer.", Cause: unexpected(cause),
	}
}

// unexpected makes an end of the body in the wrong place an error that nobody
// takes for the end of a stream.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
