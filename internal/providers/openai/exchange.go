package openai

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
)

var errSilent = errors.New("nothing came for too long")

// exchange is one request and its answer, whose body it reads under timeouts.
// One timer watches over it: it runs only while somebody waits for the
// upstream, so a slow reader is never taken for a silent upstream.
type exchange struct {
	parent context.Context // the caller's; kept because a stream outlives the call that opens it
	ctx    context.Context // the request's, below it
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
	begun  bool // the first byte of the body has come
	resp   *http.Response
	body   io.Reader // decoded
}

func (p *Provider) post(ctx context.Context, body []byte, streamed bool) (*exchange, error) {
	ex := &exchange{parent: ctx, idle: p.cfg.IdleTimeout}
	ex.ctx, ex.cancel = context.WithCancelCause(ctx)
	ex.timer = time.AfterFunc(p.cfg.FirstByteTimeout, func() { ex.cancel(errSilent) })
	req, err := http.NewRequestWithContext(ex.ctx, http.MethodPost, "", bytes.NewReader(body))
	if err != nil {
		return nil, ex.abort(err)
	}
	req.URL, req.Host, req.Header = p.url, p.url.Host, p.header.Clone()
	if p.host != "" {
		req.Host = p.host
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
		if streamed {
			req.Header.Set("Accept", "text/event-stream")
		}
	}
	ex.resp, err = p.client.Do(req) //nolint:bodyclose // closed by close
	if err != nil {
		return nil, ex.abort(err)
	}
	ex.body = ex.resp.Body
	switch encoding := strings.ToLower(ex.resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip": // not asked for, but some proxies do it
		ex.body = &gunzip{src: ex.resp.Body}
	default:
		ex.close()
		return nil, malformed(ex.resp.StatusCode, "The upstream's answer has an encoding that was not asked for.", nil)
	}
	return ex, nil
}

// abort gives the exchange up before there is an answer.
func (ex *exchange) abort(err error) error {
	failure := ex.failure(err)
	ex.timer.Stop()
	ex.cancel(nil)
	return failure
}

// Read reads from the body. Its errors are the transport's: see [exchange.failure].
func (ex *exchange) Read(b []byte) (int, error) {
	if ex.begun {
		ex.timer.Reset(ex.idle)
	}
	n, err := ex.body.Read(b)
	if n > 0 || err != nil {
		ex.begun = true
		ex.timer.Stop()
	}
	return n, err
}

// peek gives the first byte of the body that is not white space, unread.
func (ex *exchange) peek() (byte, error) {
	var first [1]byte
	for {
		switch _, err := io.ReadFull(ex, first[:]); {
		case errors.Is(err, io.EOF):
			return 0, malformed(ex.resp.StatusCode, "The upstream's answer is empty.", nil)
		case err != nil:
			return 0, ex.failure(err)
		}
		switch first[0] {
		case ' ', '\t', '\r', '\n':
			continue
		}
		ex.body = io.MultiReader(bytes.NewReader(first[:]), ex.body)
		return first[0], nil
	}
}

// ended says whether the exchange was ended from our side: by the caller's
// context, or by a timeout.
func (ex *exchange) ended() bool { return ex.ctx.Err() != nil }

// failure says what a transport error means.
func (ex *exchange) failure(err error) *providers.Error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err // without the URL, which is the operator's own affair
	}
	err = unexpected(err)
	switch {
	case ex.parent.Err() != nil:
		return providers.AsError(ex.parent.Err())
	case errors.Is(context.Cause(ex.ctx), errSilent):
		return &providers.Error{Class: providers.Timeout, Message: "The upstream sent nothing for too long.", Cause: errSilent}
	case ex.resp != nil:
		return &providers.Error{Class: providers.Unavailable, Message: "The upstream broke off.", Cause: err}
	}
	return &providers.Error{Class: providers.Unavailable, Message: "The upstream could not be reached.", Cause: err}
}

// unexpected makes an end of the body in the wrong place an error that nobody
// takes for the end of a stream.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// close releases the connection; one whose body was not read to its end is
// closed with it.
func (ex *exchange) close() {
	ex.timer.Stop()
	ex.cancel(nil)
	if ex.resp != nil {
		_ = ex.resp.Body.Close()
	}
}

// gunzip decodes a body, from the first read on.
type gunzip struct {
	src io.Reader
	zip *gzip.Reader
}

func (g *gunzip) Read(b []byte) (int, error) {
	if g.zip == nil {
		zip, err := gzip.NewReader(g.src)
		if err != nil {
			return 0, err
		}
		g.zip = zip
	}
	return g.zip.Read(b)
}
