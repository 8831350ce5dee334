package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/models"
)

const (
	// maxResponse is how much of an answer is read, and kept.
	maxResponse = 16 << 10
	// bodyTimeout bounds the reading of an answer whose status has come: that is all
	// that counts.
	bodyTimeout    = 2 * time.Second
	connectTimeout = 5 * time.Second
	userAgent      = "CoAI-Webhooks/1"
)

// outcome is what came of an attempt.
type outcome struct {
	status     int    // 0: no answer
	err        string // why it failed; empty when it did not
	response   string
	retryAfter time.Duration
	latency    time.Duration
	aborted    bool // by this process; it tells nothing of the endpoint
}

func (o *outcome) delivered() bool { return o.err == "" && !o.aborted }
func (o *outcome) gone() bool      { return o.status == http.StatusGone }

// newClient makes the client that speaks to endpoints. It follows no redirects,
// asks no proxy, and keeps no connection: none serves two users.
func newClient(cfg Config) *http.Client {
	t := safehttp.NewTransport(safehttp.Options{Policy: cfg.Policy, ConnectTimeout: min(connectTimeout, cfg.Timeout)})
	t.DisableKeepAlives = true
	t.MaxResponseHeaderBytes = 16 << 10
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// send makes an attempt.
func (s *Service) send(ctx context.Context, w *models.Webhook, e *models.Event) outcome {
	began := s.now()
	o := s.post(ctx, w, e)
	o.latency = s.now().Sub(began)
	return o
}

func (s *Service) post(ctx context.Context, w *models.Webhook, e *models.Event) outcome {
	timed, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := s.request(timed, w, e)
	if err != nil {
		s.log.Error().Err(err).Str("webhook", w.ID).Msg("request cannot be made")
		return outcome{err: "the request could not be made"}
	}
	res, err := s.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return outcome{aborted: true}
		}
		return outcome{err: s.reason(err)}
	}
	defer func() { _ = res.Body.Close() }()
	o := outcome{status: res.StatusCode, response: head(res.Body, cancel)}
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
	case res.StatusCode >= 300 && res.StatusCode < 400:
		o.err = fmt.Sprintf("status %d: redirects are not followed", res.StatusCode)
	default:
		o.err = fmt.Sprintf("status %d", res.StatusCode)
		o.retryAfter = retryAfter(res.Header.Get("Retry-After"), s.now())
	}
	return o
}

// head is the beginning of an answer, as far as it comes in time.
func head(body io.Reader, cancel func()) string {
	late := time.AfterFunc(bodyTimeout, cancel)
	defer late.Stop()
	b, _ := io.ReadAll(io.LimitReader(body, maxResponse))                       // as much as has come
	return strings.ReplaceAll(strings.ToValidUTF8(string(b), "?"), "\x00", "?") // no longer than it was
}

func (s *Service) request(ctx context.Context, w *models.Webhook, e *models.Event) (*http.Request, error) {
	body, err := e.Body()
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be read") // the reason would quote it
	}
	if len(w.Headers) > 0 {
		text, err := s.box.Open(sealedHeaders, w.ID, w.Headers)
		if err != nil {
			return nil, fmt.Errorf("open the headers of %s: %w", w.ID, err)
		}
		var headers map[string]string
		if err := json.Unmarshal(text, &headers); err != nil {
			return nil, fmt.Errorf("read the headers of %s: %w", w.ID, err)
		}
		for name, value := range headers {
			req.Header.Set(name, value)
		}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	now := s.now()
	secrets, err := s.secrets(w, now)
	if err != nil {
		return nil, err
	}
	return req, sign(req.Header, e.ID, now, body, secrets)
}

// reason says why there was no answer. It holds neither the URL, which may carry a
// token, nor the address that a name led to, which may be nobody's business.
func (s *Service) reason(err error) string {
	var (
		dns      *net.DNSError
		verify   *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		deadline interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, safehttp.ErrRefused):
		return "the address is not allowed"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &verify), errors.As(err, &unknown):
		return "the certificate is not valid"
	case errors.As(err, &record), errors.As(err, &alert):
		return "TLS failed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &deadline) && deadline.Timeout():
		return fmt.Sprintf("no answer within %s", s.cfg.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE):
		return "the connection was closed without an answer"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "host unreachable"
	}
	return "the connection failed"
}
