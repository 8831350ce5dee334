package coaitest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"syscall"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
)

// BenchmarkCompletion measures a completion through the product, and through a
// bare httputil.ReverseProxy to the same upstream. Client, upstream and gateway
// share the process, so compare the two: cpu-µs/op and allocs/op less those of
// "direct" are the gateway's own.
func BenchmarkCompletion(b *testing.B) {
	up := coaitest.NewUpstream(b, coaitest.Whole("hello"))
	p := coaitest.Start(b, coaitest.Backends{}, "COAI_LOG_LEVEL=warn")
	p.Channel(up, nil)
	key := p.UserKey(nil)
	if errs := p.GraphQL(coaitest.AdminKey, `mutation { updatePlan(tier: ENTERPRISE, input: {requestsPerMinute: 1000000000, requestsPerHour: 1000000000, requestsPerDay: 1000000000}) { userErrors { message } } }`, nil, nil); len(errs) > 0 {
		b.Fatal(errs)
	}
	target, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 4096},
	})
	b.Cleanup(proxy.Close)
	for _, way := range []struct{ name, url string }{{"direct", up.URL}, {"reverse-proxy", proxy.URL}, {"coai", p.URL}} {
		b.Run(way.name, func(b *testing.B) {
			body := []byte(`{"model":"gpt-test","messages":[{"role":"user","content":"Hello there, world"}]}`)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
			b.Cleanup(client.CloseIdleConnections)
			b.SetParallelism(32)
			b.ReportAllocs()
			before := cpu(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, way.url+"/v1/chat/completions", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Authorization", "Bearer "+key)
					req.Header.Set("Content-Type", "application/json")
					res, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					if res.StatusCode != http.StatusOK {
						b.Errorf("status %d", res.StatusCode)
						return
					}
				}
			})
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpu is the processor time of this process in microseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + int64(u.Utime.Usec) + int64(u.Stime.Usec)
}
