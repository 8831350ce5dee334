package safehttp_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/safehttp"
)

func policy(t testing.TB, setting string, private bool) safehttp.Policy {
	t.Helper()
	p, err := safehttp.ParsePolicy(setting, private)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicy(t *testing.T) {
	const (
		public  = "public"  // always
		private = "private" // when private networks are
		listed  = "listed"  // only when a setting names it
		never   = "never"
	)
	policies := []struct {
		name   string
		policy safehttp.Policy
		allows string
	}{
		{"zero", safehttp.Policy{}, public},
		{"default for untrusted", policy(t, "", false), public},
		{"off", policy(t, " off ", true), public},
		{"default for trusted", policy(t, "", true), public + private},
		{"everything listed", policy(t, "0.0.0.0/0, ::/0", false), public + private + listed},
	}
	for addr, class := range map[string]string{
		"8.8.8.8":              public,
		"1.1.1.1":              public,
		"104.18.7.192":         public,
		"172.15.255.255":       public,
		"172.32.0.1":           public,
		"100.63.255.255":       public,
		"100.128.0.1":          public,
		"168.63.129.15":        public,
		"2606:4700::6810:7c0":  public,
		"2a00:1450:4001:81::e": public,
		"::ffff:8.8.8.8":       public,
		"64:ff9b::8.8.8.8":     public, // how a machine with IPv6 alone reaches it

		"10.0.0.1":                  private,
		"10.255.255.255":            private,
		"172.16.0.1":                private,
		"172.31.255.255":            private,
		"192.168.1.1":               private,
		"100.64.0.1":                private,
		"100.100.100.201":           private,
		"127.0.0.1":                 private,
		"127.1.2.3":                 private,
		"::1":                       private,
		"fc00::1":                   private,
		"fd12:3456:789a::1":         private,
		"::ffff:10.0.0.1":           private,
		"::ffff:127.0.0.1":          private,
		"::ffff:7f00:1":             private,
		"64:ff9b::10.0.0.1":         private,
		"64:ff9b::7f00:1":           private,
		"fd00:ec3::1":               private,
		"192.0.0.193":               listed,
		"192.0.2.1":                 listed,
		"192.88.99.1":               listed,
		"198.18.0.1":                listed,
		"198.51.100.1":              listed,
		"203.0.113.1":               listed,
		"240.0.0.1":                 listed,
		"2001:db8::1":               listed,
		"3fff::1":                   listed,
		"100::1":                    listed, // discard prefix, outside of global unicast
		"2001:2::1":                 listed,
		"0.0.0.0":                   never,
		"0.1.2.3":                   never,
		"169.254.169.254":           never,
		"169.254.170.2":             never,
		"169.254.0.1":               never,
		"100.100.100.200":           never,
		"192.0.0.192":               never,
		"168.63.129.16":             never,
		"224.0.0.1":                 never,
		"239.255.255.250":           never,
		"255.255.255.255":           never,
		"::":                        never,
		"::ffff:169.254.169.254":    never,
		"::ffff:a9fe:a9fe":          never,
		"::ffff:0:169.254.169.254":  never, // IPv4-translated
		"::ffff:0.0.0.0":            never,
		"::127.0.0.1":               never, // IPv4-compatible
		"::169.254.169.254":         never,
		"64:ff9b::169.254.169.254":  never,
		"64:ff9b::a9fe:a9fe":        never,
		"64:ff9b::100.100.100.200":  never,
		"64:ff9b::168.63.129.16":    never,
		"64:ff9b:1::a9fe:a9fe":      never,
		"2002:a9fe:a9fe::":          never,
		"2002:7f00:1::":             never,
		"2002:808:808::1":           never,
		"2001:0:4136:e378::1":       never,
		"fe80::1":                   never,
		"fe80::a9fe:a9fe":           never,
		"fe80::1%eth0":              never,
		"febf::1":                   never,
		"fec0::1":                   never,
		"ff02::1":                   never,
		"fd00:ec2::254":             never,
		"fd00:ec2::23":              never,
		"fd20:ce::254":              never,
		"fd00:42::42":               never,
		"fd00:ec2::254%eth0":        never,
		"::ffff:100.100.100.200%lo": never,
	} {
		ip := netip.MustParseAddr(addr)
		for _, p := range policies {
			err := p.policy.Check(ip)
			if want := strings.Contains(p.allows, class); want != (err == nil) {
				t.Errorf("%s with policy %q: %v; want allowed = %v", addr, p.name, err, want)
			}
			if err != nil && !errors.Is(err, safehttp.ErrRefused) {
				t.Errorf("%s: %v is not ErrRefused", addr, err)
			}
		}
	}
	if err := policy(t, "::/0,0.0.0.0/0", true).Check(netip.Addr{}); !errors.Is(err, safehttp.ErrRefused) {
		t.Errorf("no address: %v", err)
	}
}

func TestPolicyOfListedNetworks(t *testing.T) {
	for _, c := range []struct {
		setting         string
		allows, refuses []string
	}{
		{"10.0.0.0/8,127.0.0.1", []string{"10.1.2.3", "127.0.0.1", "8.8.8.8", "::ffff:10.1.2.3"}, []string{"127.0.0.2", "192.168.0.1", "::1", "fc00::1"}},
		{" 192.168.1.7/24 ", []string{"192.168.1.200"}, []string{"192.168.2.1"}},
		{"::1,fd00::/8", []string{"::1", "fd12::1"}, []string{"fc00::1", "127.0.0.1", "fd00:ec2::254"}},
		{"::ffff:10.0.0.0/104", []string{"10.9.9.9"}, []string{"127.0.0.1"}},
		{"::ffff:127.0.0.1", []string{"127.0.0.1"}, []string{"127.0.0.2"}},
		{"100.64.0.0/10", []string{"100.100.100.199"}, []string{"100.100.100.200"}},
		{"198.18.0.0/15", []string{"198.19.0.1"}, []string{"10.0.0.1"}},
	} {
		p := policy(t, c.setting, true)
		for _, a := range c.allows {
			if err := p.Check(netip.MustParseAddr(a)); err != nil {
				t.Errorf("%q: %v", c.setting, err)
			}
		}
		for _, a := range c.refuses {
			if err := p.Check(netip.MustParseAddr(a)); err == nil {
				t.Errorf("%q lets %s pass", c.setting, a)
			}
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	for _, setting := range []string{
		"on", "true", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.0/8,", ",", "10.0.0.0/8;127.0.0.1", "fe80::1%eth0",
		"169.254.169.254", "169.254.0.0/16", "169.254.169.0/24", "10.0.0.0/8,100.100.100.200", "::", "fe80::/64", "fd00:ec2::254",
		"::ffff:169.254.169.254", "2002::/16", "224.0.0.0/8",
	} {
		if _, err := safehttp.ParsePolicy(setting, true); err == nil {
			t.Errorf("%q was taken", setting)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"", "off", "10.0.0.0/8,127.0.0.1", "::ffff:10.0.0.0/104", "::/0", "fe80::1%eth0", "::ffff:0:0/96"} {
		f.Add(s)
	}
	metadata := netip.MustParseAddr("169.254.169.254")
	f.Fuzz(func(t *testing.T, setting string) {
		p, err := safehttp.ParsePolicy(setting, true)
		if err != nil {
			return
		}
		if err := p.Check(metadata); err == nil {
			t.Errorf("%q lets the metadata service be reached", setting)
		}
	})
}
