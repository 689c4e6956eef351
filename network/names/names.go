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
	"slices"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/network/hostname"
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

// Ports are the ports on which patterns allow a host name, in the order of the patterns; a single 0 is all ports, and none is
// that no pattern is the name. A pattern is in lower case without a last dot:
// example.com is that name, *.example.com all names below it at any depth, and * every name; and it may end with ":" and a port. The host may have
// upper case and a last dot. An IP address in any notation is not a name, and neither is one with other
// characters than those of ASCII host names and underscores.
func Ports(patterns []string, host string) (ports []uint16) {
	host, ok := hostname.Canonical(host)
	if !ok {
		return nil
	}
	for _, p := range patterns {
		p, of, limited := strings.Cut(p, ":")
		below, wild := strings.CutPrefix(p, "*")
		switch {
		case p != host && (!wild || below != "" && (below[0] != '.' || !strings.HasSuffix(host, below))):
		case !limited:
			return []uint16{0}
		default:
			if port, err := strconv.ParseUint(of, 10, 16); err == nil && port > 0 && !slices.Contains(ports, uint16(port)) {
				ports = append(ports, uint16(port))
			}
		}
	}
	return ports
}

// Match reports whether patterns allow a host name on a port, as Ports; of port 0, whether on any.
func Match(patterns []string, host string, port uint16) bool {
	ports := Ports(patterns, host)
	return len(ports) > 0 && (port == 0 || ports[0] == 0 || slices.Contains(ports, port))
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
