// Package policies says what a slot may reach, and compares that. It is pure, and knows no slot: package network puts
// policies in force, and what is always denied is denied in each.
package policies

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/rundlet/rundlet/network/socks"
)

// Policy is the set of destinations that a slot may reach. In every policy the
// always-denied destinations of the package comment stay denied.
type Policy struct {
	// AllowInternet permits destinations that are not always denied, and DNS
	// to the configured name servers. False denies everything; the daemon can
	// still dial in.
	AllowInternet bool
	// Only, if there are any, are the ranges that AllowInternet is about, in ascending order, those of IPv4 first, and
	// without overlap: nothing else is reached, name servers neither. The slice
	// must not be changed.
	Only []netipx.IPRange
	// Ports are the ports of TCP and UDP that have separate ranges, in ascending order and at most MostPorts: Only is about the others,
	// and about other protocols. If there are any, all of the internet is Everywhere in Only. The slice must not be changed.
	Ports []Port
	// Names, if there are any, are patterns of host names (see names.Match): AllowInternet is about Only and the hosts
	// with such a name. Such a slot asks for names at the resolver of the router; on ports 80 and 443 the gateway there checks
	// the name, and on others the addresses count that were given for it. A name with ":" and a port is reached on that port
	// alone. The slice must not be changed.
	Names []string
	// Headers, if there are any, are set in the requests to hosts on ports 80 and 443 that the policy allows otherwise:
	// by host name, or "*." and a name for all below it, then by header in its canonical form. Hosts are in lower case, without
	// a last dot. A host without any has none of a wildcard either. The maps must not be changed.
	Headers map[string]map[string]string
	// Proxy, if it is not the zero value, is where connections of TCP go through: directly there are none but to port 53 of the
	// name servers. What is reached is the same. Other protocols go as they do without it.
	Proxy socks.Proxy
}

// Port is what is reached on a port: ranges as Only, of which there may be none.
type Port struct {
	Port uint16
	Only []netipx.IPRange
}

// MostPorts is how many ports of a policy have separate ranges. The packet filter has all ranges of each.
const MostPorts = 16

// Everywhere is all addresses.
var Everywhere = []netipx.IPRange{netipx.MustParseIPRange("0.0.0.0-255.255.255.255"), netipx.MustParseIPRange("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}

// OwnPorts are the ports that have separate ranges.
func (p Policy) OwnPorts() (out []uint16) {
	for _, port := range p.Ports {
		out = append(out, port.Port)
	}
	return out
}

// All reports whether it is about all of the internet, and Limited whether about parts of it.
func (p Policy) All() bool     { return p.AllowInternet && len(p.Only)+len(p.Names)+len(p.Ports) == 0 }
func (p Policy) Limited() bool { return p.AllowInternet && !p.All() }

// Rewritten reports whether requests get headers.
func (p Policy) Rewritten() bool { return p.AllowInternet && len(p.Headers) > 0 }

// Tunneled reports whether connections go through a proxy.
func (p Policy) Tunneled() bool { return p.AllowInternet && p.Proxy != socks.Proxy{} }

// Named reports whether names are checked.
func (p Policy) Named() bool { return p.AllowInternet && len(p.Names) > 0 }

// Equal reports whether both are the same.
func (p Policy) Equal(o Policy) bool {
	return p.ReachesAs(o) && p.Proxy == o.Proxy && maps.EqualFunc(p.Headers, o.Headers, maps.Equal)
}

// ReachesAs reports whether both permit the same.
func (p Policy) ReachesAs(o Policy) bool {
	return p.AllowInternet == o.AllowInternet && slices.Equal(p.Only, o.Only) && slices.Equal(p.Names, o.Names) &&
		slices.EqualFunc(p.Ports, o.Ports, func(a, b Port) bool { return a.Port == b.Port && slices.Equal(a.Only, b.Only) })
}

// on are the ranges for a port of TCP and UDP, or 0 for other protocols.
func (p Policy) on(port uint16) []netipx.IPRange {
	for _, own := range p.Ports {
		if own.Port == port {
			return own.Only
		}
	}
	return p.Only
}

// AllOn reports whether all of the internet is reached on a port of TCP and UDP, or 0 for other protocols. Covers
// reports whether an address is, whatever its name is.
func (p Policy) AllOn(port uint16) bool {
	return p.All() || p.AllowInternet && slices.Equal(p.on(port), Everywhere)
}
func (p Policy) Covers(a netip.AddrPort) bool {
	return p.All() || p.AllowInternet && slices.ContainsFunc(p.on(a.Port()), func(r netipx.IPRange) bool { return r.Contains(a.Addr()) })
}

// errCannot: a policy that can never be in force.
var errCannot = errors.New("a policy that cannot be enforced")

// Check says why a policy can never be enforced. certified is whether guests trust certificates of ours.
func (p Policy) Check(certified bool) error {
	if p.Rewritten() && !certified {
		return fmt.Errorf("%w: headers, without certificates that guests trust", errCannot)
	}
	for i, own := range p.Ports {
		if own.Port == 0 || i >= MostPorts || i > 0 && p.Ports[i-1].Port >= own.Port {
			return fmt.Errorf("%w: port %d, the %d. of them", errCannot, own.Port, i+1)
		}
		if err := check(own.Only); err != nil {
			return fmt.Errorf("port %d: %w", own.Port, err)
		}
	}
	return check(p.Only)
}

func check(ranges []netipx.IPRange) error {
	for i, r := range ranges {
		if !r.IsValid() || r.From().Is4In6() || i > 0 && !ranges[i-1].To().Less(r.From()) {
			return fmt.Errorf("%w: range %v", errCannot, r)
		}
	}
	return nil
}

// AlwaysDenied are the destinations that no policy opens: everything that is
// not the public IPv4 internet, and Azure's host endpoint, a metadata address
// that looks public.
var AlwaysDenied = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
	"168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)

// Denied reports whether all of p is always denied.
func Denied(p netip.Prefix) bool {
	for _, d := range AlwaysDenied {
		if d.Bits() <= p.Bits() && d.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// UnknownNames, UnknownHeaders and UnknownProxy are those of a policy that was found after a restart. They match nothing.
var (
	UnknownNames   = []string{""}
	UnknownHeaders = map[string]map[string]string{"": nil}
	UnknownProxy   = socks.Proxy{Host: "."}
)

// Unknown reports whether a part of it is one of those.
func (p Policy) Unknown() bool {
	_, headers := p.Headers[""]
	return headers || slices.Equal(p.Names, UnknownNames) || p.Proxy == UnknownProxy
}
