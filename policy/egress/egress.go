// Package egress says which addresses and host names a sandbox may reach, by the rules that its client gave. It is pure
// policy: rules come in, ranges of addresses, patterns of names, headers of requests and a proxy come out. It imports package sandbox,
// its bundles of names and the libraries that know the forms; node gives them to the network, which enforces them.
//
//	reached = everything − (denied − allowed), and the hosts with an allowed name
//
// That is E2B's meaning: what is allowed wins over what is denied, whatever is narrower, and an allowed address
// limits nothing as long as nothing is denied. Our entries may have a port, of TCP and UDP: what is reached on that port is what the entries
// with it say together with those without any, and on others what the latter say alone. What no sandbox reaches, such as private addresses, is the
// network's to refuse: no rule opens it.
package egress

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/rundlet/rundlet/sandbox"
)

// MaxEntries is how many entries each list of a sandbox may have: it bounds what the packet filter of all
// sandboxes has to hold. A bundle is one entry, since names are not in the packet filter and all bundles together are
// less than a list may have. It is our own bound.
const MaxEntries = 256

// MaxPorts is how many different ports the entries of a sandbox may have: the packet filter has all ranges for each. It is our own bound.
const MaxPorts = 16

// MaxRanges is how many ranges of addresses all of these ports have together: a change of them takes the packet filter four times as
// long as that of two full lists without ports.
const MaxRanges = 2048

// Policy is what a sandbox may reach. The zero value is nothing. The slices are
// shared, and must not be changed.
type Policy struct {
	// All is everything that is not refused to all sandboxes. The others are then nil.
	All bool
	// Only are the ranges that are reached, in ascending order, those of IPv4 first, and without overlap.
	Only []netipx.IPRange
	// Ports are the ports where other ranges are reached than Only, in ascending order.
	Ports []Port
	// Names are the patterns of the host names that are reached besides, in ascending order, in lower case and without a last dot: a
	// name, "*." and a name for all names below it, or "*" for all names; and ":" with a port behind it, if it is reached on that port alone.
	Names []string
	// Headers are set in the requests to hosts: by host name, or "*." and a name, as in Names; then by header in its canonical
	// form. A host without any has none of a wildcard either; if no host has any, it is nil. They permit nothing. The
	// maps are shared, too.
	Headers map[string]map[string]string
	// Proxy, if it is not the zero value, is where connections of TCP go through. What is reached is the same.
	Proxy Proxy
}

// Port is what is reached on a port of TCP and UDP: ranges as in Policy.Only.
type Port struct {
	Port uint16
	Only []netipx.IPRange
}

// Everything is the policy of a sandbox without rules.
var Everything = Policy{All: true}

// None reports whether nothing is reached.
func (p Policy) None() bool {
	return !p.All && len(p.Only) == 0 && len(p.Ports) == 0 && len(p.Names) == 0
}

// Equal reports whether two policies are the same.
func (p Policy) Equal(o Policy) bool {
	return p.All == o.All && p.Proxy == o.Proxy && slices.Equal(p.Only, o.Only) && slices.Equal(p.Names, o.Names) &&
		slices.EqualFunc(p.Ports, o.Ports, func(a, b Port) bool { return a.Port == b.Port && slices.Equal(a.Only, b.Only) }) &&
		maps.EqualFunc(p.Headers, o.Headers, maps.Equal)
}

// mapped is the length of the prefix by which an address of IPv4 is written as one of IPv6.
const mapped = 96

// ipv4 and ipv6 are all addresses of a family.
var (
	ipv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	ipv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// everywhere is all of them.
var everywhere = []netipx.IPRange{netipx.RangeOfPrefix(ipv4), netipx.RangeOfPrefix(ipv6)}

// Of is the policy of rules that Compile has accepted. internet nil is true. Rules that it does not accept reach
// nothing.
func Of(internet *bool, rules sandbox.Egress) Policy {
	p, err := Compile(internet, rules)
	if err != nil {
		return Policy{}
	}
	return p
}

// Compile makes a policy of a sandbox's rules. internet false denies everything, and nil is true. The error is
// sandbox.ErrInvalid with the entry that is wrong.
func Compile(internet *bool, rules sandbox.Egress) (Policy, error) {
	all := internet == nil || *internet
	allow, names, err := parse("allowOut", rules.Allow)
	if err != nil {
		return Policy{}, err
	}
	if names, err = unbundle(names); err != nil {
		return Policy{}, err
	}
	if len(names) > 0 && all && !slices.Contains(rules.Deny, ipv4.String()) {
		return Policy{}, invalid("names and bundles in allowOut need denyOut with %s", ipv4)
	}
	deny, bad, err := parse("denyOut", rules.Deny)
	if err != nil {
		return Policy{}, err
	}
	if len(bad) > 0 {
		return Policy{}, invalid("%.80q: denyOut takes addresses and CIDR blocks only", bad[0])
	}
	headers, err := parseHeaders(rules.Headers)
	if err != nil {
		return Policy{}, err
	}
	proxy, err := parseProxy(rules.Proxy)
	if err != nil {
		return Policy{}, err
	}
	ports, err := portsOf(allow, deny, names)
	if err != nil {
		return Policy{}, err
	}
	whole := Policy{Names: names, Headers: headers, Proxy: proxy}
	if whole.Only, err = reached(all, on(allow, 0), on(deny, 0)); err != nil {
		return Policy{}, err
	}
	ranges := 0
	for _, port := range ports {
		only, err := reached(all, on(allow, port), on(deny, port))
		if err != nil {
			return Policy{}, err
		}
		if !slices.Equal(only, whole.Only) {
			whole.Ports = append(whole.Ports, Port{port, only})
			ranges += len(only)
		}
	}
	if ranges > MaxRanges {
		return Policy{}, invalid("allowOut and denyOut make %d ranges of addresses on %d ports, and at most %d are accepted", ranges, len(whole.Ports), MaxRanges)
	}
	if slices.Equal(whole.Only, everywhere) {
		whole.Names = nil // All have addresses of IPv4, which are reached.
		if len(whole.Ports) == 0 {
			whole.All, whole.Only = true, nil
		}
	}
	return whole, nil
}

// reached are the ranges that lists of prefixes say. all is whether what no list has is reached.
func reached(all bool, allow, deny []netip.Prefix) ([]netipx.IPRange, error) {
	// Who allows all of IPv4 and says nothing of IPv6 allows everything, too.
	if slices.Contains(allow, ipv4) && !slices.ContainsFunc(deny, is6) {
		allow = append(allow, ipv6)
	}
	var refused, reached netipx.IPSetBuilder
	for _, p := range deny {
		refused.AddPrefix(p)
	}
	listed, err := refused.IPSet()
	if err != nil {
		return nil, invalid("%w", err)
	}
	// And who denies all of IPv4, be it in parts, denies everything, whatever else is on the list.
	if !all || listed.ContainsPrefix(ipv4) {
		deny = append(deny, ipv4, ipv6)
		refused.AddPrefix(ipv4)
		refused.AddPrefix(ipv6)
	}
	for _, p := range allow {
		refused.RemovePrefix(p)
	}
	no, err := refused.IPSet()
	if err != nil {
		return nil, invalid("%w", err)
	}
	// Rules that shut a part of IPv4 and name none of IPv6 may be of a time when guests had no IPv6. What they shut must not open by that,
	// nor the same host be reached by its other address.
	if ranges := no.Ranges(); len(ranges) > 0 && ranges[0].From().Is4() && !slices.ContainsFunc(deny, is6) {
		for _, p := range allow {
			if is6(p) {
				reached.AddPrefix(p)
			}
		}
	} else {
		reached.AddPrefix(ipv6)
	}
	reached.AddPrefix(ipv4)
	reached.RemoveSet(no)
	yes, err := reached.IPSet()
	if err != nil {
		return nil, invalid("%w", err)
	}
	return yes.Ranges(), nil
}

func is6(p netip.Prefix) bool { return p.Addr().Is6() }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{sandbox.ErrInvalid}, args...)...)
}
