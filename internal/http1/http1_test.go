package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/http1"
)

func newTransport(t testing.TB) *http1.Transport {
	t.Helper()
	transport := http1.New(&http.Transport{
		MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 4 << 10, DisableCompression: true,
	})
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func ask(ctx context.Context, transport http.RoundTripper, method, target string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return transport.RoundTrip(req)
}

// read asks and gives the status and the whole body.
func read(t *testing.T, transport http.RoundTripper, method, target string, body []byte) (int, string, error) {
	t.Helper()
	res, err := ask(t.Context(), transport, method, target, body)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func TestConnectionsServeAgain(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/chunked":
			_, _ = fmt.Fprintf(w, "%s %s", r.Method, r.URL)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(b)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/informal":
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "after hints")
		default:
			_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL, r.Header.Get("User-Agent"), b)
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	transport := newTransport(t)
	long := strings.Repeat("x", 60<<10)
	for range 3 {
		for _, c := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"POST", "/a%20b?c=d", "hello", 200, "POST /a%20b?c=d Go-http-client/1.1 hello"},
			{"GET", "/", "", 200, "GET / Go-http-client/1.1 "},
			{"POST", "/chunked", long, 200, "POST /chunked" + long},
			{"DELETE", "/empty", "", 204, ""},
			{"POST", "/informal", "", 200, "after hints"},
		} {
			status, got, err := read(t, transport, c.method, srv.URL+c.path, []byte(c.body))
			if err != nil || status != c.status || got != c.want {
				t.Errorf("%s %s: %d %.80q, %v", c.method, c.path, status, got, err)
			}
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// An idle connection that the other side closes is noticed before it is used
// again, and soon after even if it is not.
func TestConnectionsThatTheServerClosed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	gone := sync.NewCond(&mu)
	states := map[http.ConnState]int{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		states[s]++
		gone.Broadcast()
	}
	srv.Start()
	t.Cleanup(srv.Close)
	transport := newTransport(t)
	for i := range 3 {
		if _, got, err := read(t, transport, http.MethodPost, srv.URL, []byte("{}")); err != nil || got != "ok" {
			t.Fatalf("%q, %v", got, err)
		}
		srv.CloseClientConnections()
		mu.Lock()
		for states[http.StateClosed] <= i {
			gone.Wait()
		}
		mu.Unlock()
	}
}

func TestCancellation(t *testing.T) {
	t.Parallel()
	left := make(chan struct{}, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		left <- struct{}{}
	}))
	t.Cleanup(srv.Close)
	transport := newTransport(t)
	because := errors.New("the reason")

	ctx, cancel := context.WithCancelCause(t.Context())
	res, err := ask(ctx, transport, http.MethodPost, srv.URL+"/body", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
		t.Fatalf("%q, %v", first, err)
	}
	cancel(because)
	if _, err := res.Body.Read(first); !errors.Is(err, because) {
		t.Errorf("reading on: %v", err)
	}
	<-left

	ctx, cancel = context.WithCancelCause(t.Context())
	stop := time.AfterFunc(20*time.Millisecond, func() { cancel(because) })
	defer stop.Stop()
	if _, err := ask(ctx, transport, http.MethodPost, srv.URL+"/head", []byte("{}")); !errors.Is(err, because) { //nolint:bodyclose // there is none
		t.Errorf("waiting for the head: %v", err)
	}
	<-left
	if _, err := ask(ctx, transport, http.MethodPost, srv.URL+"/head", []byte("{}")); !errors.Is(err, because) { //nolint:bodyclose // there is none
		t.Errorf("asking too late: %v", err)
	}
}

// A body that is closed before its end takes its connection with it, and one with
// more behind its end too.
func TestConnectionsThatDoNotServeAgain(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"closed early":        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot",
		"more than announced": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnot and more",
		"asked to close":      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnot",
		"old":                 "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nnot",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, closed := serveRaw(t, answer)
			res, err := ask(t.Context(), newTransport(t), http.MethodPost, "http://"+addr, []byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 3)
			if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "not" {
				t.Errorf("%q, %v", b, err)
			}
			if name != "closed early" {
				if n, err := res.Body.Read(b); n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("behind the end: %d, %v", n, err)
				}
			}
			_ = res.Body.Close()
			if _, err := res.Body.Read(b); err == nil {
				t.Error("a closed body can be read")
			}
			<-closed
		})
	}
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"none":            "",
		"half a head":     "HTTP/1.1 200 OK\r\nContent-",
		"no HTTP":         "SSH-2.0-OpenSSH_9.9\r\n\r\n",
		"endless head":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 16<<10) + "\r\n\r\n",
		"two lengths":     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nnot",
		"only informal":   strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 9),
		"other protocols": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"half a body":     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot",
		"half a chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nnot",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, _ := serveRaw(t, answer)
			if _, got, err := read(t, newTransport(t), http.MethodPost, "http://"+addr, []byte("{}")); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// serveRaw answers one request with bytes, then ends its side, and says when the
// client has closed the connection.
func serveRaw(t testing.TB, answer string) (addr string, closed <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		r := bufio.NewReader(c)
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.Copy(io.Discard, req.Body)
		}
		_, _ = io.WriteString(c, answer)
		if !strings.Contains(answer, "closed early") && answer != "" {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		if answer != "" {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	return l.Addr().String(), done
}

// Header fields cannot smuggle anything into a request.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	transport := newTransport(t)
	for name, header := range map[string]http.Header{
		"line end in a value": {"X": {"a\r\nY: b"}},
		"space in a name":     {"X Y": {"a"}},
	} {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Header: header}
		if res, err := transport.RoundTrip(req); err == nil || strings.Contains(err.Error(), "dial") {
			if err == nil {
				_ = res.Body.Close()
			}
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is not plain and short is net/http's.
func TestOthers(t *testing.T) {
	t.Parallel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s %d", r.Proto, n)
	})
	plain, secure := httptest.NewServer(echo), httptest.NewUnstartedServer(echo)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	other, ok := secure.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("no transport")
	}
	transport := http1.New(other)
	t.Cleanup(transport.CloseIdleConnections)
	big := make([]byte, 1<<20)
	if _, got, err := read(t, transport, http.MethodPost, plain.URL, big); err != nil || got != "HTTP/1.1 1048576" {
		t.Errorf("a long body: %q, %v", got, err)
	}
	if _, got, err := read(t, transport, http.MethodPost, secure.URL, []byte("{}")); err != nil || got != "HTTP/2.0 2" {
		t.Errorf("TLS: %q, %v", got, err)
	}
}

// FuzzAnswer holds what is read out of an answer against what net/http reads.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n\r\nlater",
		"HTTP/1.0 502 Bad Gateway\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	theirs := &http.Transport{DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 4 << 10}
	ours := http1.New(theirs)
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) > 2<<10 || bytes.Contains(answer, []byte(" 101 ")) {
			t.Skip()
		}
		outcome := func(transport http.RoundTripper) string {
			addr, _ := serveRaw(t, string(answer))
			status, body, err := read(t, transport, http.MethodPost, "http://"+addr, []byte("{}"))
			return fmt.Sprintf("%d %q %t", status, body, err == nil)
		}
		if a, b := outcome(ours), outcome(theirs); a != b {
			t.Errorf("%q is read as %s, by net/http as %s", answer, a, b)
		}
		ours.CloseIdleConnections()
	})
}
