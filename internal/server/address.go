package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddr is the address of the client. X-Forwarded-For counts as far as
// its entries, read from the nearest, were written by trusted proxies.
func (s *Server) clientAddr(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap().WithZone("")
	if !s.trusted(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := parseHop(hops[i])
		if err != nil {
			return addr // the last one that can be believed
		}
		addr = hop
		if !s.trusted(addr) {
			return addr
		}
	}
	return addr
}

// parseHop reads an address with or without a port: proxies write both.
func parseHop(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone(""), nil
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone(""), err //nolint:wrapcheck // only whether it failed counts
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// remoteAddr lets handlers that look at the request see the client, and not
// the proxy in front of it.
func remoteAddr(peer string, client netip.Addr) string {
	if p, err := netip.ParseAddrPort(peer); err != nil || !client.IsValid() || p.Addr().Unmap().WithZone("") == client {
		return peer
	}
	return netip.AddrPortFrom(client, 0).String()
}
