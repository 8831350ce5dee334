// Package safehttp makes HTTP transports that check each address before they
// dial it, so that a URL from a user cannot reach what is meant for this machine
// alone: the cloud's metadata service above all.
// https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
package safehttp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"code.dny.dev/ssrf"
)

// ErrRefused says that the policy does not let the address be dialled. It is
// found by errors.Is in what an [net/http.Client] returns.
var ErrRefused = errors.New("address refused")

// Policy says which addresses may be dialled. The zero value permits public ones
// alone. No policy permits the addresses of a cloud's metadata service,
// link-local, multicast and unspecified ones, nor IPv6 addresses that hide such
// an IPv4 address.
type Policy struct {
	allowed []netip.Prefix // beside public addresses
}

// ParsePolicy reads an operator's setting. Beside public addresses it permits:
//   - "": private networks and this machine if private says so, else none
//   - "off": none
//   - networks or addresses, separated by commas, such as
//     "10.0.0.0/8, 127.0.0.1": these
//
// Private are 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 (shared
// address space), fc00::/7, and loopback. A network of which no address can ever
// be permitted is an error.
func ParsePolicy(setting string, private bool) (Policy, error) {
	switch strings.TrimSpace(setting) {
	case "":
		if private {
			return Policy{allowed: privateNetworks()}, nil
		}
		return Policy{}, nil
	case "off":
		return Policy{}, nil
	}
	var p Policy
	for entry := range strings.SplitSeq(setting, ",") {
		entry = strings.TrimSpace(entry)
		network, err := parseNetwork(entry)
		if err != nil {
			return Policy{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8, an address, or the word off", entry)
		}
		if reason := neverNetwork(network); reason != "" {
			return Policy{}, fmt.Errorf("%s can never be allowed: %s", entry, reason)
		}
		p.allowed = append(p.allowed, network)
	}
	return p, nil
}

// Check fails with [ErrRefused] when the address must not be dialled.
func (p Policy) Check(addr netip.Addr) error {
	addr, reason := plain(addr)
	if reason == "" {
		reason = never(addr)
	}
	if reason != "" {
		return fmt.Errorf("%w: %s is %s", ErrRefused, addr, reason)
	}
	for _, network := range p.allowed {
		if network.Contains(addr) {
			return nil
		}
	}
	if err := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork()).SafeAddr(addr); err != nil {
		return fmt.Errorf("%w: %s is not a public address, and no allowed network holds it", ErrRefused, addr)
	}
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}
