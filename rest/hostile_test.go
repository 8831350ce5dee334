package rest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
)

const chatPath = "/v1/chat/completions"

// body is a completion request with this JSON as its content.
func body(content string) string {
	return `{"model":"echo","messages":[{"role":"user","content":` + content + `}]}`
}

// TestHostileRequests: whatever comes in, the answer is the client's mistake in
// the envelope, and the product goes on.
func TestHostileRequests(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		message := `{"role":"user","content":"x"}`
		for _, c := range []struct {
			name, method, path, body string
			headers                  []string
			status                   int
			code, param              string
		}{
			{"broken JSON", "POST", chatPath, `{"model":`, nil, 400, "invalid_json", ""},
			{"no body", "POST", chatPath, "", nil, 400, "invalid_json", ""},
			{"an empty object", "POST", chatPath, `{}`, nil, 400, "missing_parameter", "model"},
			{"no messages", "POST", chatPath, `{"model":"echo"}`, nil, 400, "missing_parameter", "messages"},
			{"wrong types", "POST", chatPath, `{"model":"echo","messages":[{"role":1}]}`, nil, 400, "invalid_value", "messages[0].role"},
			{"an unknown role", "POST", chatPath, `{"model":"echo","messages":[{"role":"god","content":"x"}]}`, nil, 400, "invalid_value", "messages[0].role"},
			{"10,000 messages", "POST", chatPath, `{"model":"echo","messages":[` + strings.Repeat(message+",", 9999) + message + `]}`, nil, 400, "invalid_value", "messages"},
			{"2,000 parts", "POST", chatPath, body("[" + strings.Repeat(`{"type":"text","text":"x"},`, 1999) + `{"type":"text","text":"x"}]`), nil, 400, "invalid_value", "messages[0].content"},
			{"NUL in a text", "POST", chatPath, body(`"a\u0000b"`), nil, 400, "invalid_value", "messages[0].content"},
			{"NUL in the model", "POST", chatPath, `{"model":"a\u0000b","messages":[` + message + `]}`, nil, 400, "invalid_value", "model"},
			{"invalid UTF-8", "POST", chatPath, body("\"\xff\xfe\""), nil, 400, "invalid_json", ""},
			{"repeated names", "POST", chatPath, `{"model":"echo","model":"gpt","messages":[` + message + `]}`, nil, 400, "invalid_json", "model"},
			{"nested 10,000 deep", "POST", chatPath, `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, nil, 400, "invalid_json", ""},
			{"a form", "POST", chatPath, "model=echo", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", ""},
			{"gzip", "POST", chatPath, "\x1f\x8b", []string{"Content-Encoding", "gzip"}, 415, "unsupported_media_type", ""},
			{"OPTIONS", "OPTIONS", chatPath, "", nil, 405, "method_not_allowed", ""},
			{"TRACE", "TRACE", chatPath, "", nil, 405, "method_not_allowed", ""},
			{"a quote in an id", "GET", "/v1/channels/'%20OR%201=1--", "", nil, 404, "resource_not_found", "id"},
			{"NUL in an id", "GET", "/v1/channels/ch_%00", "", nil, 404, "unknown_endpoint", ""},
			{"a long id", "GET", "/v1/api-keys/" + strings.Repeat("k", 5000), "", nil, 404, "resource_not_found", "id"},
			{"dots", "GET", "/v1/models/../../etc/passwd", "", nil, 404, "unknown_endpoint", ""},
			{"encoded dots", "GET", "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "", nil, 404, "unknown_endpoint", ""},
			{"NUL in a filter", "GET", "/v1/channels?model=%00", "", nil, 400, "invalid_value", "model"},
			{"NUL in a name", "POST", "/v1/api-keys", `{"name":"a\u0000"}`, nil, 400, "invalid_value", "name"},
			{"line breaks in a name", "POST", "/v1/api-keys", `{"name":"a\r\nX: y"}`, nil, 400, "invalid_value", "name"},
			{"NUL in a mapping", "POST", "/v1/channels", `{"name":"a","type":"echo","models":["m"],"model_mapping":{"m":"\u0000"}}`, nil, 400, "invalid_value", "model_mapping.m"},
			{"NUL in a credential", "POST", "/v1/channels", `{"name":"a","type":"openai","models":["m"],"credential":"\u0000"}`, nil, 400, "invalid_value", "credential"},
			{"a header that breaks lines", "POST", "/v1/channels", `{"name":"a","type":"openai","models":["m"],"settings":{"headers":{"X-A":"b\r\nEvil: 1"}}}`, nil, 400, "invalid_value", "settings.headers.X-A"},
			{"NUL in a key's model", "POST", "/v1/api-keys", `{"name":"a","allowed_models":["\u0000"]}`, nil, 400, "invalid_value", "allowed_models[0]"},
		} {
			t.Run(c.name, func(t *testing.T) {
				var in any
				if c.body != "" {
					in = c.body
				}
				res := p.Do(c.method, c.path, coaitest.AdminKey, in, c.headers...)
				refused(t, res, c.status, c.code, c.param)
			})
		}
		if res := p.Do("POST", chatPath, coaitest.AdminKey, body(`"still there"`)); res.Status != http.StatusOK {
			t.Errorf("afterwards: %d %s", res.Status, res.Body)
		}
		if log := p.Logs.String(); strings.Contains(log, `"stack"`) {
			t.Errorf("something panicked: %s", log)
		}
	})
}

// endless is a body of n bytes that costs no memory.
type endless struct{ n int64 }

func (e *endless) Read(b []byte) (int, error) {
	if e.n <= 0 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = ' '
	}
	e.n -= int64(len(b))
	return len(b), nil
}

func TestBodyOfAHundredMegabytes(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	const size = 100 << 20
	for _, c := range []struct {
		name   string
		length int64
		expect string // such a client waits for the verdict before it sends the body
	}{
		{"declared", size, ""}, {"chunked", -1, ""}, {"declared and asking", size, "100-continue"}, {"chunked and asking", -1, "100-continue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "POST", p.URL+chatPath, io.NopCloser(&endless{n: size}))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = c.length
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+coaitest.AdminKey)
			if c.expect != "" {
				req.Header.Set("Expect", c.expect)
			}
			client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 10 * time.Second}}
			defer client.CloseIdleConnections()
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, &coaitest.Response{Status: res.StatusCode, Header: res.Header, Body: b}, 413, "request_too_large", "")
		})
	}
}

// TestRawConnections sends what no HTTP library does.
func TestRawConnections(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	auth := "Host: x\r\nAuthorization: Bearer " + coaitest.AdminKey + "\r\n"
	for _, c := range []struct {
		name, request string
		status        int
		contains      string
	}{
		{"an injected request id", "GET /v1/models HTTP/1.1\r\n" + auth + "X-Request-Id: a\tb\r\n\r\n", 200, "\r\nX-Request-Id: req_"},
		{"a good request id", "GET /v1/models HTTP/1.1\r\n" + auth + "X-Request-Id: my.id_1-2\r\n\r\n", 200, "\r\nX-Request-Id: my.id_1-2\r\n"},
		{"a path that is not clean", "GET /v1/../v1/models HTTP/1.1\r\n" + auth + "\r\n", 404, "unknown_endpoint"},
		{"a doubled slash", "GET //v1/models HTTP/1.1\r\n" + auth + "\r\n", 404, "unknown_endpoint"},
		{"no path", "OPTIONS * HTTP/1.1\r\n" + auth + "\r\n", 200, ""}, // net/http answers this itself
		{"a full URL", "GET http://x/v1/nothing HTTP/1.1\r\n" + auth + "\r\n", 404, "unknown_endpoint"},
		{"an odd method", "BREW /v1/models HTTP/1.1\r\n" + auth + "\r\n", 405, "\r\nAllow: POST, GET, HEAD\r\n"},
		{"HEAD", "HEAD /v1/models HTTP/1.1\r\n" + auth + "Connection: close\r\n\r\n", 200, "\r\nContent-Length: "},
		// Who closes half of the connection counts as gone.
		{"a body that ends early", "POST " + chatPath + " HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{", 499, ""},
		{"huge headers", "GET /v1/models HTTP/1.1\r\n" + auth + "X-Big: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(conn, c.request); err != nil && c.status != 431 {
				t.Fatal(err)
			}
			if strings.HasPrefix(c.name, "a body") {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
			var head strings.Builder
			res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &head)), nil)
			if err != nil {
				t.Fatal(err)
			}
			length := max(res.ContentLength, 0)
			if c.name == "HEAD" {
				length = 0
			}
			_, _ = io.CopyN(io.Discard, res.Body, length)
			if res.StatusCode != c.status || !strings.Contains(head.String(), c.contains) {
				t.Errorf("got %q", head.String())
			}
		})
	}
}

func TestSlowBodyDoesNotHoldTheStreamDeadline(t *testing.T) {
	p := coaitest.Start(t, coaitest.Backends{})
	pr, pw := io.Pipe()
	go func() {
		for _, part := range []string{`{"model":"echo",`, `"stream":true,`, `"messages":[{"role":"user","content":"slow but fine"}]}`} {
			_, _ = fmt.Fprint(pw, part)
		}
		_ = pw.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.URL+chatPath, pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Api-Key", coaitest.AdminKey)
	res, err := p.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	all := coaitest.NewEventStream(t, res).All()
	if len(all) == 0 || all[len(all)-1] != "[DONE]" {
		t.Errorf("%q", all)
	}
}
