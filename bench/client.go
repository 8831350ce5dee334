package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// patience is how long a client waits for a single read or write.
const patience = 30 * time.Second

// conn is a client's connection. It costs far less than net/http's client: what
// the load generator takes from a small machine, the measured processes lack.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(ctx context.Context, url string) (*conn, error) {
	c, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 2<<10)}, nil
}

func (c *conn) close() { _ = c.Close() }

// completion is a request's body. With chunks it asks for a stream.
func completion(chunks int, interval time.Duration) string {
	var more string
	if chunks > 0 {
		more = fmt.Sprintf(`,"stream":true,"stream_options":{"include_usage":true},"x_chunks":%d,"x_interval_us":%d`, chunks, interval.Microseconds())
	}
	return `{"model":"bench","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say something about foxes and dogs."}],"temperature":0.7,"max_tokens":256` + more + `}`
}

// request is what goes over the wire.
func request(key, body string) []byte {
	return []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: application/json\r\nAuthorization: Bearer " + key +
		"\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// send sends a request and reads the head of its answer.
func (c *conn) send(request []byte) (*http.Response, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(request); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return nil, fmt.Errorf("status %d: %s", res.StatusCode, b)
	}
	return res, nil
}

// whole makes a completion that is not streamed.
func (c *conn) whole(request []byte) error {
	res, err := c.send(request)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && n < 100 {
		err = fmt.Errorf("an answer of only %d bytes", n)
	}
	return err
}

// received is what a client saw of a stream.
type received struct {
	first   time.Duration // to the first chunk with text
	transit []int64       // nanoseconds from the upstream to here, of each chunk with text
}

// stream makes a streamed completion; seen is told of each chunk with text.
func (c *conn) stream(request []byte, seen func()) (received, error) {
	var got received
	began := time.Now()
	res, err := c.send(request)
	if err != nil {
		return got, err
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewReaderSize(res.Body, 2<<10)
	for {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return got, fmt.Errorf("read a stream after %d chunks: %w", len(got.transit), unexpected(err))
		}
		if bytes.HasPrefix(line, []byte("data: [DONE]")) {
			_, err := io.Copy(io.Discard, lines)
			return got, err
		}
		if at := bytes.Index(line, []byte(stamp)); at >= 0 {
			if got.first == 0 {
				got.first = time.Since(began)
			}
			got.transit = append(got.transit, time.Now().UnixNano()-number(line[at+len(stamp):]))
			seen()
		} else if bytes.Contains(line, []byte(`"error"`)) {
			return got, fmt.Errorf("the stream failed: %s", line)
		}
	}
}

// number reads the digits that b begins with.
func number(b []byte) (n int64) {
	for _, d := range b {
		if d < '0' || d > '9' {
			break
		}
		n = 10*n + int64(d-'0')
	}
	return n
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
