package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/idempotency"
	"github.com/coaidev/coai/models"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255
	// maxKept is how long an answer may be that is kept, in bytes.
	maxKept = 1 << 20
	// keepTimeout bounds the work on a key once the request has ended.
	keepTimeout = 5 * time.Second
	// compareTimeout bounds how slowly a repeated body may come.
	compareTimeout = 60 * time.Second
)

// keptHeaders are what is kept of an answer's headers beside its body.
func keptHeaders() []string {
	return []string{"Content-Type", "Content-Disposition", "Location", "X-Should-Retry"}
}

// idempotencyKey is the key of a request that changes something; empty for one
// without, which costs no more than this look.
func (s *Server) idempotencyKey(r *http.Request, m *Mount, v *models.Viewer) (string, error) {
	values := r.Header[idempotencyHeader]
	if len(values) == 0 || v == nil || !m.Idempotent || s.cfg.Idempotency == nil {
		return "", nil
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return "", nil
	}
	key := values[0]
	valid := len(values) == 1 && key != "" && len(key) <= maxIdempotencyKey
	for _, c := range []byte(key) {
		valid = valid && c >= ' ' && c <= '~'
	}
	if !valid {
		return "", models.Invalid(idempotencyHeader, "'%s' must be one value of 1 to %d printable ASCII characters.", idempotencyHeader, maxIdempotencyKey)
	}
	return key, nil
}

// serveOnce answers a request with a key: as it was answered first, or by the
// handler. What is kept are answers below 500 with a known length of at most a
// mebibyte, but for those that another try may change; event streams are not, and
// a request for one may be made again once it has ended.
func (s *Server) serveOnce(w http.ResponseWriter, r *http.Request, m *Mount, v *models.Viewer, key string) {
	claim, kept, err := s.cfg.Idempotency.Claim(r.Context(), v.UserID, key)
	switch {
	case err != nil:
		m.WriteError(w, r, err)
		return
	case claim == nil:
		s.replay(w, r, m, v, kept)
		return
	}
	request := newFingerprint(r, v)
	if r.Body != nil {
		r.Body = &hashedBody{ReadCloser: r.Body, hash: request}
	}
	k := &keeper{ResponseWriter: w}
	stop := s.hold(r.Context(), claim)
	done := false
	defer func() {
		stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keepTimeout)
		defer cancel()
		if done && k.buffering {
			if err := s.keep(ctx, claim, k, request, r); err == nil {
				k.send()
				return
			}
		}
		if err := claim.Release(ctx); err != nil {
			zerolog.Ctx(r.Context()).Warn().Err(err).Msg("an idempotency key was not released")
		}
		if done {
			k.send()
		}
	}()
	m.Handler.ServeHTTP(k, r)
	done = true
}

// keep writes the answer down before the client hears it.
func (s *Server) keep(ctx context.Context, claim *idempotency.Claim, k *keeper, request hash.Hash, r *http.Request) error {
	// What the handler did not read is part of the request too.
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxKept)); err != nil {
			return err //nolint:wrapcheck // only that it failed counts
		}
		if n, err := r.Body.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			return errors.New("the body is too long to be compared")
		}
	}
	a := &idempotency.Answer{Request: request.Sum(nil), Status: k.status, Header: map[string]string{}, Body: k.body.Bytes()}
	for _, name := range keptHeaders() {
		if value := k.Header().Get(name); value != "" {
			a.Header[name] = value
		}
	}
	err := claim.Finish(ctx, a)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("an answer was not kept for its idempotency key")
	}
	return err //nolint:wrapcheck // as above
}

// hold extends the claim until stop is called.
func (s *Server) hold(ctx context.Context, claim *idempotency.Claim) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		beat := time.NewTicker(idempotency.LeaseBeat)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				if err := claim.Extend(ctx); err != nil {
					zerolog.Ctx(ctx).Warn().Err(err).Msg("an idempotency key was not extended")
				}
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// replay answers with what is kept, if it answers the same request.
func (s *Server) replay(w http.ResponseWriter, r *http.Request, m *Mount, v *models.Viewer, kept *idempotency.Answer) {
	if kept == nil {
		e := models.Conflict(idempotencyHeader, "A request with this Idempotency-Key is still at work. Try again when it has ended.")
		e.Retry = time.Second
		m.WriteError(w, r, e)
		return
	}
	request := newFingerprint(r, v)
	if r.Body != nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(compareTimeout)) // a writer without deadlines is one in a test
		if _, err := io.Copy(request, r.Body); err != nil {
			w.Header().Set("Connection", "close")
			m.WriteError(w, r, models.Invalid("", "The body ended early."))
			return
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	if !bytes.Equal(request.Sum(nil), kept.Request) {
		m.WriteError(w, r, models.Conflict(idempotencyHeader,
			"This Idempotency-Key was used for another request in the last 24 hours. Use a new one for each request."))
		return
	}
	h := w.Header()
	for name, value := range kept.Header {
		h.Set(name, value)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(kept.Body)))
	h.Set("Idempotent-Replayed", "true")
	w.WriteHeader(kept.Status)
	_, _ = w.Write(kept.Body) // the client has left when this fails
}

// newFingerprint hashes what a request is, but for its body. The API key is a
// part: another key of the account may not be allowed to see the answer.
func newFingerprint(r *http.Request, v *models.Viewer) hash.Hash {
	h := sha256.New()
	for _, part := range []string{v.KeyID, r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type")} {
		_, _ = io.WriteString(h, strconv.Itoa(len(part))+":"+part)
	}
	return h
}

// hashedBody hashes what is read.
type hashedBody struct {
	io.ReadCloser

	hash hash.Hash
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_, _ = b.hash.Write(p[:n])
	return n, err //nolint:wrapcheck // a reader's error is its own
}

// keeper is the writer of an answer that may be kept: such a one waits in it until
// it is.
type keeper struct {
	http.ResponseWriter

	status    int
	buffering bool
	body      bytes.Buffer
}

// WriteHeader is http.ResponseWriter's.
func (k *keeper) WriteHeader(status int) {
	if k.status != 0 {
		return
	}
	if status < http.StatusOK {
		k.ResponseWriter.WriteHeader(status)
		return
	}
	k.status = status
	length, err := strconv.Atoi(k.Header().Get("Content-Length"))
	if k.buffering = err == nil && length <= maxKept && keeps(status); !k.buffering {
		k.ResponseWriter.WriteHeader(status)
	}
}

// keeps says whether the same request would always be answered so.
func keeps(status int) bool {
	const clientClosed = 499
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests, clientClosed:
		return false
	}
	return status < http.StatusInternalServerError
}

// Write is http.ResponseWriter's.
func (k *keeper) Write(b []byte) (int, error) {
	if k.status == 0 {
		k.WriteHeader(http.StatusOK)
	}
	if k.buffering {
		return k.body.Write(b) //nolint:wrapcheck // never fails
	}
	return k.ResponseWriter.Write(b) //nolint:wrapcheck // a writer's error is its own
}

// FlushError is what http.ResponseController looks for.
func (k *keeper) FlushError() error {
	if k.buffering {
		return nil
	}
	if k.status == 0 {
		k.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(k.ResponseWriter).Flush() //nolint:wrapcheck // as above
}

// Unwrap lets http.ResponseController find the connection's deadlines.
func (k *keeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// send lets a waiting answer go.
func (k *keeper) send() {
	if !k.buffering {
		return
	}
	k.buffering = false
	k.ResponseWriter.WriteHeader(k.status)
	_, _ = k.ResponseWriter.Write(k.body.Bytes()) // the client has left when this fails
}
