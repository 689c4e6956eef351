// Package names answers the name queries of guests that may reach some names only. A Server answers guests, a Resolver
// asks name servers for it, and Match compares a name with the patterns of a policy.
//
// No query leaves for a name that its guest may not reach: a name in a query is a message to the owner of its domain.
// The addresses of a permitted name are bound to the guest before it hears of them. It gets them under the name that it
// asked for, without the aliases between, which may be names that it must not reach. It gets no address of IPv6 and no
// record of HTTPS services, whose keys would hide from a gateway which name a connection is for.
//
// Guests and name servers are hostile. What one guest takes is bounded, and less than what there is for all. The buffer
// of a socket is not part of this: the packet filter has to limit how many packets a guest sends to it. Guests share the
// cache, so that a guest can see from the life of an answer that another asked for the same name.
//
// It imports miekg/dns and the standard library, and knows no slot; only package network may import it.
package names

import (
	"errors"
	"net/netip"
	"strings"
)

// The error classes, for errors.Is.
var (
	// ErrNoName: the name does not exist, or is not a host name.
	ErrNoName = errors.New("no such name")
	// ErrUnusable: the name has addresses, and none that a guest may reach.
	ErrUnusable = errors.New("all addresses of the name are private or reserved")
	// ErrServers: no name server gave an answer. It is temporary.
	ErrServers = errors.New("no name server answered")
)

// Match reports whether a host name is one of the patterns. A pattern is in lower case without a last dot:
// example.com is that name, *.example.com all names below it at any depth, and * every name. The host may have
// upper case and a last dot. An IP address in any notation is not a name, and neither is one with other
// characters than those of ASCII host names and underscores.
func Match(patterns []string, host string) bool {
	host, ok := canonical(host)
	if !ok {
		return false
	}
	for _, p := range patterns {
		below, wild := strings.CutPrefix(p, "*")
		if p == host || wild && (below == "" || below[0] == '.' && strings.HasSuffix(host, below)) {
			return true
		}
	}
	return false
}

// The lengths of a name and of a label as text (RFC 1035, 2.3.4).
const maxName, maxLabel = 253, 63

// canonical returns a host name in lower case and without its last dot. An escape in the text form of a query's name
// has a backslash, so that a dot always separates labels.
func canonical(host string) (string, bool) {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > maxName {
		return "", false
	}
	lower := []byte(host)
	for i, c := range lower {
		switch {
		case 'A' <= c && c <= 'Z':
			lower[i] = c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return "", false
		}
	}
	host = string(lower)
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return "", false
		}
		last = label
	}
	return host, !number(last)
}

// number reports whether a last label is one of an IPv4 address, such as 127.0.0.1, 127.1 or 0x7f000001: no domain
// of the top level is a number.
func number(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// reverse reports whether a name in lower case stands for an address.
func reverse(name string) bool {
	return strings.HasSuffix(name, ".in-addr.arpa") || strings.HasSuffix(name, ".ip6.arpa")
}

// addrOf is the address of a peer, and the zero value if it has none.
func addrOf(peer any) netip.Addr {
	if a, ok := peer.(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
