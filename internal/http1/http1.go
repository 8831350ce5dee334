// Package http1 sends requests to upstreams that speak plain HTTP/1.1, such as
// model servers in the same network, on connections that need no goroutine of
// their own: the caller's writes the request and reads the answer. For a gateway
// that is most of a net/http connection's price, in processor time and in memory
// for each open stream. What is not that simple goes through net/http.
package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxBody is how long a request may be that is written before the answer is
	// read: so much fits into the buffers of the system, whatever the upstream does.
	maxBody = 128 << 10
	// readBuffer is what an open answer holds; large reads go past it.
	readBuffer = 2 << 10
	// keepBuffer is how large a write buffer may be that is kept for the next request.
	keepBuffer = 16 << 10
	// maxInformal is how many answers of status 1xx may come before the real one.
	maxInformal = 5
	// lateAnswer is how long an upstream that stopped reading is given to say why.
	lateAnswer = 50 * time.Millisecond
)

// Transport is an [http.RoundTripper]. Make it with [New].
type Transport struct {
	other   *http.Transport
	buffers sync.Pool // of *[]byte, for requests
	pool    pool
}

// New makes a transport that dials as other does, keeps as many idle connections
// for as long, and leaves to it whatever is not plain HTTP/1.1 to the server
// itself: TLS, proxies, long bodies and those of unknown length. It never asks for
// compression.
func New(other *http.Transport) *Transport {
	return &Transport{
		other:   other,
		buffers: sync.Pool{New: func() any { return new([]byte) }},
		pool:    pool{most: max(other.MaxIdleConnsPerHost, http.DefaultMaxIdleConnsPerHost), patience: other.IdleConnTimeout},
	}
}

// CloseIdleConnections closes the connections that no answer is read from, and
// those that are in use once they are not.
func (t *Transport) CloseIdleConnections() {
	t.other.CloseIdleConnections()
	t.pool.close()
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.takes(req) {
		return t.other.RoundTrip(req) //nolint:wrapcheck // as if it had been asked itself
	}
	ctx := req.Context()
	if err := context.Cause(ctx); err != nil {
		closeBody(req)
		return nil, err //nolint:wrapcheck // a context's own
	}
	buf, _ := t.buffers.Get().(*[]byte)
	defer t.giveBack(buf)
	var err error
	if *buf, err = appendRequest((*buf)[:0], req); err != nil {
		return nil, err
	}
	addr := address(req)
	for {
		c, err := t.connect(ctx, addr)
		if err != nil {
			return nil, err
		}
		resp, again, err := c.exchange(req, *buf)
		if !again {
			return resp, err
		}
	}
}

// takes says whether a request is sent on a connection of this package.
func (t *Transport) takes(req *http.Request) bool {
	if req.URL == nil || req.URL.Scheme != "http" || req.URL.Opaque != "" || req.Trailer != nil || len(req.TransferEncoding) > 0 || req.Close {
		return false
	}
	switch req.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	if req.Body != nil && req.Body != http.NoBody && req.ContentLength <= 0 || req.ContentLength > maxBody {
		return false
	}
	for _, name := range []string{"Connection", "Upgrade", "Expect", "Te", "Transfer-Encoding", "Content-Length", "Trailer"} {
		if _, given := req.Header[name]; given {
			return false
		}
	}
	if !plainHost(req.URL.Host) || req.Host != "" && !plainHost(req.Host) {
		return false
	}
	if t.other.Proxy == nil {
		return true
	}
	proxy, err := t.other.Proxy(req)
	return proxy == nil && err == nil
}

// plainHost says whether a host is written as it goes over the wire.
func plainHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '/' || c == '@' {
			return false
		}
	}
	return host != "" && !strings.HasPrefix(host, ":")
}

func address(req *http.Request) string {
	if req.URL.Port() != "" {
		return req.URL.Host
	}
	return net.JoinHostPort(req.URL.Hostname(), "80")
}

func (t *Transport) giveBack(buf *[]byte) {
	if cap(*buf) <= keepBuffer {
		t.buffers.Put(buf)
	}
}

// connect gives an idle connection, or a new one.
func (t *Transport) connect(ctx context.Context, addr string) (*conn, error) {
	if c := t.pool.take(addr); c != nil {
		return c, nil
	}
	// Dialling goes deep. The caller's stack may be kept for as long as a stream, and
	// need not have room for that.
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled, 1)
	go func() {
		c, err := t.dial(ctx, addr)
		done <- dialled{c, err}
	}()
	d := <-done
	if d.err != nil {
		return nil, fmt.Errorf("dial: %w", d.err)
	}
	limit := t.other.MaxResponseHeaderBytes
	if limit <= 0 {
		limit = http.DefaultMaxHeaderBytes
	}
	return t.pool.adopt(d.conn, addr, limit), nil
}

func (t *Transport) dial(ctx context.Context, addr string) (net.Conn, error) {
	if t.other.DialContext != nil {
		return t.other.DialContext(ctx, "tcp", addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr) //nolint:wrapcheck // connect does
}

// appendRequest writes the request as it goes over the wire.
// https://www.rfc-editor.org/rfc/rfc9112#section-3
func appendRequest(b []byte, req *http.Request) ([]byte, error) {
	defer closeBody(req)
	uri := req.URL.RequestURI()
	if strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return b, errors.New("the request's URL has a control character")
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	b = append(append(append(append(b, req.Method...), ' '), uri...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, host...), "\r\n"...)
	agent := false
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return b, fmt.Errorf("invalid header field name %q", name)
		}
		agent = agent || name == "User-Agent"
		if name == "Host" {
			continue // as net/http has it
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return b, fmt.Errorf("invalid value of the header field %q", name) // which may be a secret
			}
			b = append(append(append(append(b, name...), ": "...), strings.Trim(value, " \t")...), "\r\n"...)
		}
	}
	if !agent {
		b = append(b, "User-Agent: Go-http-client/1.1\r\n"...)
	}
	if req.ContentLength > 0 || req.Method != http.MethodGet && req.Method != http.MethodDelete {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), req.ContentLength, 10), "\r\n"...)
	}
	b = append(b, "\r\n"...)
	if req.ContentLength <= 0 {
		return b, nil
	}
	head, size := len(b), int(req.ContentLength)
	b = append(b, make([]byte, size)...)
	if _, err := io.ReadFull(req.Body, b[head:]); err != nil {
		return b, fmt.Errorf("read the request's body: %w", err)
	}
	return b, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// exchange sends a request and reads the head of its answer. again says that the
// connection was of no use, and that the upstream has seen nothing.
func (c *conn) exchange(req *http.Request, raw []byte) (resp *http.Response, again bool, err error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, c.abort)
	n, failed := c.Write(raw)
	if failed != nil {
		if n == 0 && c.reused && stop() {
			_ = c.Close()
			return nil, true, nil
		}
		_ = c.SetReadDeadline(time.Now().Add(lateAnswer))
	}
	resp, err = c.head(req)
	if err != nil && failed != nil {
		err = failed
	}
	if err != nil {
		stop()
		_ = c.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, false, fmt.Errorf("ask %s: %w", c.addr, unexpected(err))
	}
	resp.Close = resp.Close || failed != nil
	b := &body{conn: c, ctx: ctx, stop: stop, src: resp.Body, keep: !resp.Close}
	if resp.Body == http.NoBody {
		b.end(true)
		return resp, false, nil
	}
	resp.Body = b
	return resp, false, nil
}

// head reads the head of an answer.
func (c *conn) head(req *http.Request) (*http.Response, error) {
	c.r = c.pool.reader(c)
	for range maxInformal {
		c.left = c.limit
		resp, err := http.ReadResponse(c.r, req)
		if err != nil {
			return nil, err //nolint:wrapcheck // exchange says what it means
		}
		if resp.StatusCode/100 != 1 {
			c.left = -1
			return resp, nil
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, errors.New("the server switches protocols, which nobody asked for")
		}
	}
	return nil, errors.New("too many answers of status 1xx")
}

// body is an answer's. At its end the connection is free for the next request;
// when it is closed before, so is the connection.
type body struct {
	conn *conn
	ctx  context.Context // the request's
	stop func() bool     // stops the watch on it
	src  io.ReadCloser   // as net/http decodes it
	keep bool            // the connection may be used again
	err  error           // sticky
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if err == nil {
		return n, nil
	}
	b.err = err
	if !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		b.err = context.Cause(b.ctx)
	}
	b.end(errors.Is(err, io.EOF))
	return n, b.err
}

func (b *body) Close() error {
	if b.err == nil {
		b.err = os.ErrClosed
		b.end(false)
	}
	return nil
}

// end lets go of the connection.
func (b *body) end(whole bool) {
	c := b.conn
	b.conn, b.src = nil, nil
	if idle := b.stop(); whole && idle && b.keep && c.r.Buffered() == 0 {
		c.pool.put(c)
		return
	}
	_ = c.Close()
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
