package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coaidev/coai/internal/providers"
)

var errSilent = errors.New("nothing came for too long")

// Exchange is one request and its answer, whose body it reads under timeouts.
// One timer watches over it: only the time in which somebody waits for the
// upstream counts, so a slow reader is never taken for a silent upstream. It is
// for one goroutine, and must be closed.
type Exchange struct {
	Status int
	Header http.Header

	parent context.Context // the caller's; kept because a stream outlives the call that opens it
	ctx    context.Context // the request's, below it
	cancel context.CancelCauseFunc
	size   int64
	raw    io.ReadCloser
	body   io.Reader // decoded

	start   time.Time
	timer   *time.Timer
	begun   atomic.Bool  // the first byte of the body has come
	idle    atomic.Int64 // nanoseconds of silence that are too long
	waiting atomic.Int64 // nanoseconds after start at which the read that waits began; 0: none does
}

// watch is called when it may have been silent for too long. The timer runs
// through: it is not set anew for each read.
func (ex *Exchange) watch() {
	if ex.ctx.Err() != nil {
		return
	}
	wait := ex.idle.Load()
	if since := ex.waiting.Load(); since != 0 {
		wait -= int64(time.Since(ex.start)) - since
	}
	if !ex.begun.Load() || wait <= 0 {
		ex.cancel(errSilent)
		return
	}
	ex.timer.Reset(time.Duration(wait))
}

// abort gives the exchange up before there is an answer.
func (ex *Exchange) abort(err error) error {
	failure := ex.Failure(err)
	ex.timer.Stop()
	ex.cancel(nil)
	return failure
}

// Read reads from the body. Its errors are the transport's: see [Exchange.Failure].
func (ex *Exchange) Read(b []byte) (int, error) {
	if ex.begun.Load() {
		ex.waiting.Store(max(1, int64(time.Since(ex.start))))
	}
	n, err := ex.body.Read(b)
	ex.waiting.Store(0)
	if (n > 0 || err != nil) && ex.begun.CompareAndSwap(false, true) {
		ex.timer.Reset(time.Duration(ex.idle.Load()))
	}
	return n, err //nolint:wrapcheck // a reader's errors are compared
}

// Patience shortens how long the exchange may be silent from now on; it never
// makes it longer.
func (ex *Exchange) Patience(d time.Duration) {
	ex.begun.Store(true)
	if int64(d) < ex.idle.Load() {
		ex.idle.Store(int64(d))
	}
	ex.timer.Reset(time.Duration(ex.idle.Load()))
}

// Peek gives the first byte of the body that is not white space, unread.
func (ex *Exchange) Peek() (byte, error) {
	var first [1]byte
	for {
		switch _, err := io.ReadFull(ex, first[:]); {
		case errors.Is(err, io.EOF):
			return 0, Malformed(ex.Status, "The upstream's answer is empty.", nil)
		case err != nil:
			return 0, ex.Failure(err)
		}
		switch first[0] {
		case ' ', '\t', '\r', '\n':
			continue
		}
		ex.body = io.MultiReader(bytes.NewReader(first[:]), ex.body)
		return first[0], nil
	}
}

// ReadAll reads the whole body, of at most limit bytes. Its errors are
// *[providers.Error].
func (ex *Exchange) ReadAll(limit int) ([]byte, error) {
	raw := make([]byte, 0, max(512, min(ex.size+1, 1<<20)))
	for {
		if len(raw) == cap(raw) {
			raw = append(raw, 0)[:len(raw)]
		}
		n, err := ex.Read(raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		switch {
		case len(raw) > limit:
			return nil, Malformed(ex.Status, "The upstream's answer is too large.", nil)
		case errors.Is(err, io.EOF) && len(raw) == 0:
			return nil, Malformed(ex.Status, "The upstream's answer is empty.", nil)
		case errors.Is(err, io.EOF):
			return raw, nil
		case errors.Is(err, io.ErrUnexpectedEOF) && !ex.Ended():
			return nil, Malformed(ex.Status, "The upstream's answer is cut short.", err)
		case err != nil:
			return nil, ex.Failure(err)
		}
	}
}

// ReadJSON is [Exchange.ReadAll] for an answer that must be JSON by its type.
func (ex *Exchange) ReadJSON(limit int) ([]byte, error) {
	if !JSONType(ex.MediaType()) {
		return nil, Malformed(ex.Status, "The upstream's answer is not JSON.", nil)
	}
	return ex.ReadAll(limit)
}

// MediaType is the answer's, in lower case and without parameters.
func (ex *Exchange) MediaType() string {
	given := ex.Header.Get("Content-Type")
	switch given {
	case "application/json", "text/event-stream":
		return given
	}
	mediaType, _, err := mime.ParseMediaType(given)
	if err != nil {
		mediaType, _, _ = strings.Cut(given, ";")
	}
	return strings.ToLower(strings.TrimSpace(mediaType))
}

// JSONType says whether a body of the type may be JSON. Servers that know no
// better say nothing, or the types that mean nothing.
func JSONType(mediaType string) bool {
	switch mediaType {
	case "", "application/json", "text/json", "text/plain", "application/octet-stream":
		return true
	}
	return strings.HasSuffix(mediaType, "+json")
}

// Ended says whether the exchange was ended from our side: by the caller's
// context, or by a timeout.
func (ex *Exchange) Ended() bool { return ex.ctx.Err() != nil }

// Abandoned says whether the caller's context has ended.
func (ex *Exchange) Abandoned() bool { return ex.parent.Err() != nil }

// Failure says what a transport error means.
func (ex *Exchange) Failure(err error) *providers.Error {
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
	case ex.raw != nil:
		return &providers.Error{Class: providers.Unavailable, Message: "The upstream broke off.", Cause: err}
	}
	return &providers.Error{Class: providers.Unavailable, Message: "The upstream could not be reached.", Cause: err}
}

// Close releases the connection; one whose body was not read to its end is
// closed with it.
func (ex *Exchange) Close() {
	ex.timer.Stop()
	ex.cancel(nil)
	if ex.raw != nil {
		_ = ex.raw.Close()
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
			return 0, err //nolint:wrapcheck // a reader's errors are compared
		}
		g.zip = zip
	}
	return g.zip.Read(b) //nolint:wrapcheck // as above
}
