package safehttp_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/safehttp"
)

func client(t *testing.T, o safehttp.Options) *http.Client {
	t.Helper()
	transport := safehttp.NewTransport(o)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err == nil {
		t.Cleanup(func() { _ = res.Body.Close() })
	}
	return res, err
}

// server counts the connections it gets, refused ones being none.
func server(t *testing.T, answer string) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	connections := new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, connections
}

func TestTransportDialsWhatThePolicyAllows(t *testing.T) {
	s, _ := server(t, "hello")
	for _, setting := range []string{"127.0.0.0/8", ""} {
		res, err := get(t, client(t, safehttp.Options{Policy: policy(t, setting, true)}), s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" {
			t.Errorf("body = %q, %v", body, err)
		}
	}
}

func TestTransportRefusesBeforeItDials(t *testing.T) {
	s, connections := server(t, "secret")
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for name, target := range map[string]string{
		"address":             s.URL,
		"name":                "http://localhost" + port,
		"mapped address":      "http://[::ffff:127.0.0.1]" + port,
		"metadata":            "http://169.254.169.254/latest/meta-data/",
		"metadata over NAT64": "http://[64:ff9b::a9fe:a9fe]/latest/meta-data/",
		"link-local":          "http://[fe80::1%25lo]" + port,
		"https":               "https://127.0.0.1" + port,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := get(t, client(t, safehttp.Options{}), target)
			var urlErr *url.Error
			if !errors.Is(err, safehttp.ErrRefused) || !errors.As(err, &urlErr) {
				t.Errorf("error = %v; want ErrRefused in a *url.Error", err)
			}
		})
	}
	if connections.Load() != 0 {
		t.Errorf("%d connections were made", connections.Load())
	}
}

func TestTransportRefusesRedirects(t *testing.T) {
	inner, connections := server(t, "secret")
	outer := httptest.NewServer(http.RedirectHandler(strings.Replace(inner.URL, "127.0.0.1", "127.0.0.2", 1), http.StatusFound))
	t.Cleanup(outer.Close)
	if _, err := get(t, client(t, safehttp.Options{Policy: policy(t, "127.0.0.1", false)}), outer.URL); !errors.Is(err, safehttp.ErrRefused) {
		t.Errorf("error = %v; want ErrRefused", err)
	}
	if connections.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestPolicyAppliesToTheProxy(t *testing.T) {
	proxy, connections := server(t, "from the proxy")
	for _, scheme := range []string{"http", "https", "socks5"} {
		u, err := url.Parse(proxy.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.Scheme = scheme
		if _, err := get(t, client(t, safehttp.Options{ProxyURL: u}), "http://example.com/"); !errors.Is(err, safehttp.ErrRefused) {
			t.Errorf("%s proxy: %v; want ErrRefused", scheme, err)
		}
	}
	if connections.Load() != 0 {
		t.Fatalf("%d connections were made", connections.Load())
	}

	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, safehttp.Options{Policy: policy(t, "127.0.0.1", false), ProxyURL: u})
	res, err := get(t, c, "http://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "from the proxy" {
		t.Errorf("body = %q, %v", body, err)
	}
	// The proxy would dial these for us.
	for _, target := range []string{"http://169.254.169.254/", "http://[::ffff:a9fe:a9fe]/", "http://10.0.0.1/"} {
		if _, err := get(t, c, target); !errors.Is(err, safehttp.ErrRefused) {
			t.Errorf("%s by the proxy: %v; want ErrRefused", target, err)
		}
	}
}

func TestTransportTakesNoProxyFromTheEnvironment(t *testing.T) {
	proxy, connections := server(t, "")
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("ALL_PROXY", proxy.URL)
	tr := safehttp.NewTransport(safehttp.Options{})
	req := httptest.NewRequest(http.MethodGet, "http://example.com/", nil)
	if u, err := tr.Proxy(req); u != nil || err != nil || connections.Load() != 0 {
		t.Errorf("Proxy = %v, %v", u, err)
	}
}

func TestTransportSpeaksHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("Accept-Encoding = %q; want none", got)
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := client(t, safehttp.Options{Policy: policy(t, "", true)})
	trustServer(t, c, s)
	res, err := get(t, c, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "HTTP/2.0" {
		t.Errorf("the server heard %q, %v", body, err)
	}
}

func TestTransportRefusesOldTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	c := client(t, safehttp.Options{Policy: policy(t, "", true)})
	trustServer(t, c, s)
	if _, err := get(t, c, s.URL); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

func TestTransportRefusesUnknownCertificates(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	var unknown *tls.CertificateVerificationError
	if _, err := get(t, client(t, safehttp.Options{Policy: policy(t, "", true)}), s.URL); !errors.As(err, &unknown) {
		t.Errorf("error = %v; want a certificate error", err)
	}
}

func trustServer(t *testing.T, c *http.Client, s *httptest.Server) {
	t.Helper()
	trusted, ok := s.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	ours, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not a transport")
	}
	ours.TLSClientConfig.RootCAs = trusted.TLSClientConfig.RootCAs
}

func TestTransportKeepsConnections(t *testing.T) {
	s, connections := server(t, "hello")
	c := client(t, safehttp.Options{Policy: policy(t, "", true)})
	for range 10 {
		res, err := get(t, c, s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	if connections.Load() != 1 {
		t.Errorf("10 requests one after another took %d connections", connections.Load())
	}
	tr := safehttp.NewTransport(safehttp.Options{})
	if tr.MaxIdleConnsPerHost < 1000 || tr.MaxIdleConns != 0 || tr.IdleConnTimeout != 90*time.Second {
		t.Errorf("idle connections: %d per host, %d in all, for %s", tr.MaxIdleConnsPerHost, tr.MaxIdleConns, tr.IdleConnTimeout)
	}
}

func TestConnectTimeout(t *testing.T) {
	// It takes connections and never answers.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := client(t, safehttp.Options{Policy: policy(t, "", true), ConnectTimeout: 50 * time.Millisecond})
	begin := time.Now()
	_, err = get(t, c, "https://"+l.Addr().String())
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("error = %v; want a time-out of the TLS handshake", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
