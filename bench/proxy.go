package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// serveProxy is what the gateway is compared with: httputil.ReverseProxy, set up
// well, and nothing else. The body is read before it is sent on, because an
// upstream that answers at once would else break streams off.
func serveProxy(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("proxy takes the upstream's URL")
	}
	target, err := url.Parse(args[0])
	if err != nil {
		return fmt.Errorf("read the upstream's URL: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 4096, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		},
		BufferPool:    &pool{},
		FlushInterval: -1,
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 20<<20))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	})
	return serve(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}, out)
}

// pool are the proxy's copy buffers.
type pool struct{ p sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 8<<10)
}

func (p *pool) Put(b []byte) { p.p.Put(&b) }
