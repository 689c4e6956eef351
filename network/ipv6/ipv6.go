// Package ipv6 is the part of the network that is about IPv6 alone: the addresses of slots, what no slot reaches, the rules,
// the routes and the links of both namespaces, and the tracked flows of slots. It knows slots by their IPv4 addresses and
// no policies, and only package network and network/tracked may import it. Linux only, but for addresses and ranges.
//
// A slot has the IPv6 address that its IPv4 address makes with a prefix of the instance. So whatever names a slot by
// that, sets of the packet filter among it, serves both families.
package ipv6

import (
	"crypto/sha256"
	"net/netip"

	"go4.org/netipx"
)

// prefixBits is the length of an instance's prefix, before an IPv4 address.
const prefixBits = 96

// PrefixOf is the unique local prefix (RFC 4193) of an instance: 40 bits of its id come from its name.
func PrefixOf(instance string) netip.Prefix {
	sum := sha256.Sum256([]byte("ipv6 " + instance))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), prefixBits)
}

// At is the address that an IPv4 address makes with a prefix.
func At(prefix netip.Prefix, v4 netip.Addr) netip.Addr {
	a, last := prefix.Addr().As16(), v4.As4()
	copy(a[12:], last[:])
	return netip.AddrFrom16(a)
}

// IPv4 is the IPv4 address of an address that At has made.
func IPv4(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// The only addresses of IPv6 that are assigned on the internet (RFC 4291, 2.4), and those within it that are not on the
// internet or lead elsewhere: IETF protocols with Teredo, documentation, and 6to4, which has an IPv4 address inside.
var (
	global  = netip.MustParsePrefix("2000::/3")
	special = []netip.Prefix{
		netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
	}
)

// Reachable has the addresses that slots may reach at all, without the denied ones. What is not global is never among it: private,
// link-local and multicast addresses, and those that have an IPv4 address inside, such as NAT64.
func Reachable(denied []netip.Prefix) *netipx.IPSet {
	var b netipx.IPSetBuilder
	b.AddPrefix(global)
	for _, p := range special {
		b.RemovePrefix(p)
	}
	for _, p := range denied {
		if p.Addr().Is6() {
			b.RemovePrefix(p)
		}
	}
	set, err := b.IPSet()
	if err != nil { // A prefix that is not valid: nothing is reached.
		return new(netipx.IPSet)
	}
	return set
}

// Split divides prefixes by family.
func Split(list []netip.Prefix) (v4, v6 []netip.Prefix) {
	for _, p := range list {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return v4, v6
}
