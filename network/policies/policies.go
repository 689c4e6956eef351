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
	// Names, if there are any, are patterns of host names (see names.Match): AllowInternet is about Only and the hosts
	// with such a name. Such a slot asks for names at the resolver of the router; on ports 80 and 443 the gateway there checks
	// the name, and on others the addresses count that were given for it. The slice must not be changed.
	Names []string
	// Headers, if there are any, are set in the requests to hosts on ports 80 and 443 that the policy allows otherwise:
	// by host name, or "*." and a name for all below it, then by header in its canonical form. Hosts are in lower case, without
	// a last dot. A host without any has none of a wildcard either. The maps must not be changed.
	Headers map[string]map[string]string
	// Proxy, if it is not the zero value, is where connections of TCP go through: directly there are none but to port 53 of the
	// name servers. What is reached is the same. Other protocols go as they do without it.
	Proxy socks.Proxy
}

// All reports whether it is about all of the internet, and Limited whether about parts of it.
func (p Policy) All() bool     { return p.AllowInternet && len(p.Only)+len(p.Names) == 0 }
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
	return p.AllowInternet == o.AllowInternet && slices.Equal(p.Only, o.Only) && slices.Equal(p.Names, o.Names)
}

// Covers reports whether an address is reached whatever its name is.
func (p Policy) Covers(a netip.Addr) bool {
	return p.All() || p.AllowInternet && slices.ContainsFunc(p.Only, func(r netipx.IPRange) bool { return r.Contains(a) })
}

// errCannot: a policy that can never be in force.
var errCannot = errors.New("a policy that cannot be enforced")

// Check says why a policy can never be enforced. certified is whether guests trust certificates of ours.
func (p Policy) Check(certified bool) error {
	if p.Rewritten() && !certified {
		return fmt.Errorf("%w: headers, without certificates that guests trust", errCannot)
	}
	for i, r := range p.Only {
		if !r.IsValid() || r.From().Is4In6() || i > 0 && !p.Only[i-1].To().Less(r.From()) {
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
