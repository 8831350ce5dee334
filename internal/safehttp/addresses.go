package safehttp

import (
	"net/netip"

	"code.dny.dev/ssrf"
)

func privateNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fc00::/7"),
	}
}

type refused struct {
	network netip.Prefix
	reason  string
}

// neverAllowed no setting permits. Who can reach a metadata service has the
// credentials of the machine.
//
//nolint:gochecknoglobals // a constant table, read for each connection
var neverAllowed = []refused{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified: this host"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, where clouds keep their metadata"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("100.100.100.200/32"), "the metadata service of Alibaba Cloud"},
	{netip.MustParsePrefix("192.0.0.192/32"), "the metadata service of Oracle Cloud"},
	{netip.MustParsePrefix("168.63.129.16/32"), "the metadata service of Azure"},

	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local, which is obsolete"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "the metadata service of AWS"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "the metadata service of Google Cloud"},
	{netip.MustParsePrefix("fd00:42::42/128"), "the metadata service of Scaleway"},
	// These lead to an IPv4 address that is not plain to see.
	{netip.MustParsePrefix("2002::/16"), "6to4, which may lead anywhere"},
	{netip.MustParsePrefix("2001::/32"), "Teredo, which may lead anywhere"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "NAT64 of a local network, which may lead anywhere"},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "IPv4-translated, which may lead anywhere"},
}

// never is the reason why an address is not allowed by any setting, empty if
// there is none.
func never(addr netip.Addr) string {
	for _, r := range neverAllowed {
		if r.network.Contains(addr) {
			return r.reason
		}
	}
	b := addr.As16()
	if addr.Is6() && [12]byte(b[:12]) == [12]byte{} && addr != netip.IPv6Loopback() {
		return "unspecified, or IPv4-compatible, which is obsolete"
	}
	return ""
}

// neverNetwork is [never] for a network all of whose addresses are refused.
func neverNetwork(network netip.Prefix) string {
	for _, r := range neverAllowed {
		if r.network.Bits() <= network.Bits() && r.network.Contains(network.Addr()) {
			return r.reason
		}
	}
	if network.IsSingleIP() {
		return never(network.Addr())
	}
	return ""
}

// plain is the address that a connection would end at: without a zone, and as
// IPv4 when the IPv6 form only wraps one, as IPv4-mapped addresses and those of
// the well-known NAT64 prefix do.
// https://www.rfc-editor.org/rfc/rfc6052#section-2.1
func plain(addr netip.Addr) (_ netip.Addr, reason string) {
	if !addr.IsValid() {
		return addr, "not an address"
	}
	addr = addr.WithZone("").Unmap()
	if ssrf.IPv6NAT64Prefix.Contains(addr) {
		b := addr.As16()
		return netip.AddrFrom4([4]byte(b[12:])), ""
	}
	return addr, ""
}
