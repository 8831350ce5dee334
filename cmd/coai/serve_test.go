package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
)

// screen is what a running command has printed so far.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// freePort is one that nobody listens on just now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// What a new user does first: start, copy the key and the curl lines, stop.
func TestServeFromNothing(t *testing.T) {
	c := newTerminal(t, "COAI_LOG_LEVEL=warn")
	addr := freePort(t)
	start := func() (out *screen, stop func() int) {
		ctx, cancel := context.WithCancel(t.Context())
		out = new(screen)
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"serve", "--addr", addr}, process{environ: c.environ, in: strings.NewReader(""), out: out, errOut: out})
		}()
		coaitest.Eventually(t, "the server is ready", func() bool {
			status, _, _ := c.run("healthcheck", "--addr", addr)
			return status == exitOK
		})
		return out, func() int {
			cancel()
			select {
			case c := <-code:
				return c
			case <-time.After(20 * time.Second):
				t.Fatal("the server does not stop")
				return -1
			}
		}
	}

	out, stop := start()
	key := regexp.MustCompile(`sk-coai-[0-9A-Za-z]+`).FindString(out.String())
	if key == "" || !strings.Contains(out.String(), "http://"+addr) || strings.Count(out.String(), "curl ") < 3 {
		t.Errorf("the first start printed\n%s", out)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/chat/completions",
		strings.NewReader(`{"model":"echo","messages":[{"role":"user","content":"Hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("the first completion: status %d", res.StatusCode)
	}
	// A second process on the same directory is refused; the command line is not.
	c.refused(exitFailure, "another 'coai serve'", "serve", "--addr", "127.0.0.1:0")
	if out := c.ok("admin", "users"); !strings.Contains(out, "admin") {
		t.Errorf("users beside a server:\n%s", out)
	}
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, out)
	}
	c.refused(exitFailure, "", "healthcheck", "--addr", addr)

	again, stop := start()
	if strings.Contains(again.String(), "sk-coai-") {
		t.Errorf("the second start printed a key\n%s", again)
	}
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, again)
	}
}

func TestWorkerStops(t *testing.T) {
	c := newTerminal(t)
	metrics := freePort(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out screen
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"worker", "--metrics-addr", metrics}, process{environ: c.environ, in: strings.NewReader(""), out: &out, errOut: &out})
	}()
	coaitest.Eventually(t, "the worker is ready", func() bool {
		status, _, _ := c.run("healthcheck", "--metrics-addr", metrics)
		return status == exitOK
	})
	cancel()
	select {
	case got := <-code:
		if got != exitOK {
			t.Errorf("exit code %d\n%s", got, out.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the worker does not stop")
	}
}
