package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// Policy is the set of destinations that a slot may reach. In every policy the
// always-denied destinations of the package comment stay denied.
type Policy struct {
	// AllowInternet permits destinations that are not always denied, and DNS
	// to the configured name servers. False denies everything; the daemon can
	// still dial in.
	AllowInternet bool
	// Only, if there are any, are the ranges of IPv4 that AllowInternet is about, in ascending
	// order and without overlap: nothing else is reached, name servers neither. The slice
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
}

// all reports whether it is about all of the internet, and limited whether about parts of it.
func (p Policy) all() bool     { return p.AllowInternet && len(p.Only)+len(p.Names) == 0 }
func (p Policy) limited() bool { return p.AllowInternet && !p.all() }

// rewritten reports whether requests get headers.
func (p Policy) rewritten() bool { return p.AllowInternet && len(p.Headers) > 0 }

// named reports whether names are checked.
func (p Policy) named() bool { return p.AllowInternet && len(p.Names) > 0 }

func (p Policy) equal(o Policy) bool {
	return p.reachesAs(o) && maps.EqualFunc(p.Headers, o.Headers, maps.Equal)
}

// reachesAs reports whether both permit the same.
func (p Policy) reachesAs(o Policy) bool {
	return p.AllowInternet == o.AllowInternet && slices.Equal(p.Only, o.Only) && slices.Equal(p.Names, o.Names)
}

// covers reports whether an address is reached whatever its name is.
func (p Policy) covers(a netip.Addr) bool {
	return p.all() || p.AllowInternet && slices.ContainsFunc(p.Only, func(r netipx.IPRange) bool { return r.Contains(a) })
}

// check says why a policy can never be enforced. certified is whether guests trust certificates of ours.
func (p Policy) check(certified bool) error {
	if p.rewritten() && !certified {
		return fmt.Errorf("%w: headers without Config.Certify", ErrInvalid)
	}
	for i, r := range p.Only {
		if !r.IsValid() || !r.From().Is4() || i > 0 && !p.Only[i-1].To().Less(r.From()) {
			return fmt.Errorf("%w: range %v of a policy", ErrInvalid, r)
		}
	}
	return nil
}

// alwaysDenied are the destinations that no policy opens: everything that is
// not the public IPv4 internet, and Azure's host endpoint, a metadata address
// that looks public.
var alwaysDenied = mustPrefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
	"168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)

// denied reports whether all of p is always denied.
func denied(p netip.Prefix) bool {
	for _, d := range alwaysDenied {
		if d.Bits() <= p.Bits() && d.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
