package safehttp

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// DefaultConnectTimeout is that of [Options] that name none.
const DefaultConnectTimeout = 10 * time.Second

// Options say how a transport connects.
type Options struct {
	Policy Policy
	// ConnectTimeout bounds looking up the name and dialling together, and then
	// TLS again; zero is [DefaultConnectTimeout].
	ConnectTimeout time.Duration
	// ProxyURL is an http, https or socks5 proxy for all requests; nil for none. The
	// environment names none. The policy applies to the proxy's own address, and to
	// targets that are literal addresses; names are looked up by the proxy.
	ProxyURL *url.URL
}

// NewTransport makes a transport for many requests at a time to few hosts. It
// waits for an answer as long as the request's context lets it, and leaves
// compression and, as all transports, redirects to its user.
func NewTransport(o Options) *http.Transport {
	timeout := o.ConnectTimeout
	if timeout <= 0 {
		timeout = DefaultConnectTimeout
	}
	dialer := &net.Dialer{
		Timeout: timeout,
		// It sees the address itself, after the name was looked up for the last time:
		// a name that changes its address in between gains nothing.
		Control: func(_, address string, _ syscall.RawConn) error { return o.Policy.checkDial(address) },
	}
	return &http.Transport{
		Proxy:               o.proxy,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: timeout,
		ForceAttemptHTTP2:   true,
		// Bodies pass through as they are.
		DisableCompression:  true,
		MaxIdleConnsPerHost: 4096,
		IdleConnTimeout:     90 * time.Second,
		// One connection each for thousands of streams: buffers are most of its memory.
		ReadBufferSize:         4 << 10,
		WriteBufferSize:        4 << 10,
		MaxResponseHeaderBytes: 64 << 10,
		ExpectContinueTimeout:  time.Second,
		// A connection that died without a word would hold every stream on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// proxy is [http.Transport.Proxy].
func (o Options) proxy(req *http.Request) (*url.URL, error) {
	if o.ProxyURL == nil {
		return nil, nil //nolint:nilnil // no proxy, as http.Transport.Proxy defines it
	}
	if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := o.Policy.Check(addr); err != nil {
			return nil, err
		}
	}
	return o.ProxyURL, nil
}

func (p Policy) checkDial(address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not an address and a port", ErrRefused, address)
	}
	return p.Check(target.Addr())
}
