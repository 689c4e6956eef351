package ipv6

import (
	"net/netip"
	"testing"
)

func TestAnAddressHasThatOfIPv4(t *testing.T) {
	a, b := PrefixOf("rl0"), PrefixOf("rl1")
	if a == b || a != PrefixOf("rl0") || a.Bits() != 96 || !netip.MustParsePrefix("fd00::/8").Overlaps(a) {
		t.Errorf("prefixes %v and %v", a, b)
	}
	v4 := netip.MustParseAddr("10.200.3.255")
	if at := At(a, v4); !a.Contains(at) || IPv4(at) != v4 || at.Next() != At(a, v4.Next()) {
		t.Errorf("%v is at %v", v4, at)
	}
}

func TestReachable(t *testing.T) {
	set := Reachable([]netip.Prefix{netip.MustParsePrefix("2a00:9::/32"), netip.MustParsePrefix("9.0.0.0/8")})
	for addr, want := range map[string]bool{
		"2606:4700::1111": true, "2a00:1::7": true, "2001:200::1": true, "2003::1": true, "3ffe:ffff::1": true, "2a00:8:ffff::": true, "2a00:a::": true,
		"2a00:9::1": false, "::": false, "::1": false, "::9.9.9.9": false, "::ffff:9.9.9.9": false, "64:ff9b::9.9.9.9": false, "64:ff9b:1::1": false,
		"100::1": false, "2001::1": false, "2001:1ff:ffff::1": false, "2001:db8::1": false, "2002:909:909::1": false, "3fff:fff::1": false, "4000::1": false,
		"5f00::1": false, "fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fec0::1": false, "ff02::1": false, "ff0e::1": false, "9.9.9.9": false,
	} {
		if got := set.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is reached: %v", addr, got)
		}
	}
	if n := len(Reachable([]netip.Prefix{{}, netip.MustParsePrefix("2000::/3")}).Ranges()); n != 0 {
		t.Errorf("%d ranges are left", n)
	}
}
