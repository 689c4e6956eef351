// Package egress says which addresses and host names a sandbox may reach, by the rules that its client gave. It is pure
// policy: rules come in, ranges of addresses, patterns of names, headers of requests and a proxy come out. It imports package sandbox,
// its bundles of names and the libraries that know the forms; node gives them to the network, which enforces them.
//
//	reached = everything − (denied − allowed), and the hosts with an allowed name
//
// That is E2B's meaning: what is allowed wins over what is denied, whatever is narrower, and an allowed address
// limits nothing as long as nothing is denied. What no sandbox reaches, such as private addresses, is the
// network's to refuse: no rule opens it.
package egress

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/rundlet/rundlet/policy/egress/bundle"
	"github.com/rundlet/rundlet/sandbox"
)

// MaxEntries is how many entries each list of a sandbox may have: it bounds what the packet filter of all
// sandboxes has to hold. A bundle is one entry, since names are not in the packet filter and all bundles together are
// less than a list may have. It is our own bound.
const MaxEntries = 256

// Policy is what a sandbox may reach. The zero value is nothing. The slices are
// shared, and must not be changed.
type Policy struct {
	// All is everything that is not refused to all sandboxes. The others are then nil.
	All bool
	// Only are the ranges that are reached, in ascending order, those of IPv4 first, and without overlap.
	Only []netipx.IPRange
	// Names are the patterns of the host names that are reached besides, in ascending order, in lower case and without a last dot: a
	// name, "*." and a name for all names below it, or "*" for all names.
	Names []string
	// Headers are set in the requests to hosts: by host name, or "*." and a name, as in Names; then by header in its canonical
	// form. A host without any has none of a wildcard either; if no host has any, it is nil. They permit nothing. The
	// maps are shared, too.
	Headers map[string]map[string]string
	// Proxy, if it is not the zero value, is where connections of TCP go through. What is reached is the same.
	Proxy Proxy
}

// Everything is the policy of a sandbox without rules.
var Everything = Policy{All: true}

// None reports whether nothing is reached.
func (p Policy) None() bool { return !p.All && len(p.Only) == 0 && len(p.Names) == 0 }

// Equal reports whether two policies are the same.
func (p Policy) Equal(o Policy) bool {
	return p.All == o.All && p.Proxy == o.Proxy && slices.Equal(p.Only, o.Only) && slices.Equal(p.Names, o.Names) &&
		maps.EqualFunc(p.Headers, o.Headers, maps.Equal)
}

// mapped is the length of the prefix by which an address of IPv4 is written as one of IPv6.
const mapped = 96

// ipv4 and ipv6 are all addresses of a family.
var (
	ipv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	ipv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

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
		return Policy{}, invalid("%w", err)
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
		return Policy{}, invalid("%w", err)
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
		return Policy{}, invalid("%w", err)
	}
	if yes.ContainsPrefix(ipv4) && yes.ContainsPrefix(ipv6) {
		return Policy{All: true, Headers: headers, Proxy: proxy}, nil
	}
	return Policy{Only: yes.Ranges(), Names: names, Headers: headers, Proxy: proxy}, nil
}

func is6(p netip.Prefix) bool { return p.Addr().Is6() }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{sandbox.ErrInvalid}, args...)...)
}

// parse reads a list. Names are as Policy has them, or
// bundles as they were given.
func parse(list string, entries []string) (out []netip.Prefix, names []string, err error) {
	if len(entries) > MaxEntries {
		return nil, nil, invalid("%s has %d entries, and at most %d are accepted", list, len(entries), MaxEntries)
	}
	for _, entry := range entries {
		p, err := prefix(entry)
		switch {
		case err == nil:
			out = append(out, p)
		case isName(entry):
			names = append(names, strings.TrimSuffix(strings.ToLower(entry), "."))
		case strings.HasPrefix(entry, bundle.Prefix):
			names = append(names, entry)
		default:
			return nil, nil, invalid("%s: %.80q is not an address, a CIDR block or a host name", list, entry)
		}
	}
	slices.Sort(names)
	return out, slices.Compact(names), nil
}

// unbundle puts the hosts of bundles in their place.
func unbundle(names []string) (out []string, err error) {
	for _, name := range names {
		of, is := strings.CutPrefix(name, bundle.Prefix)
		if !is {
			out = append(out, name)
			continue
		}
		hosts := bundle.Hosts(of)
		if hosts == nil {
			return nil, invalid("allowOut: %.80q is not a bundle; bundles are %s", name, strings.Join(bundle.Names(), ", "))
		}
		out = append(out, hosts...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// prefix reads an address or a CIDR block. One of IPv4 that is written as IPv6 is of IPv4.
func prefix(entry string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(entry)
	if err != nil {
		a, addrErr := netip.ParseAddr(entry)
		if addrErr != nil || a.Zone() != "" {
			return netip.Prefix{}, err
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), nil
}

func notInLabel(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", r)
}

const (
	maxName  = 253 // RFC 1035, 2.3.4, without the last dot.
	maxLabel = 63
)

// isName reports a host name, one with a wildcard as its first label, or a wildcard alone. A number as its last label
// is a bad address, as in the URL standard.
func isName(s string) bool {
	if s == "*" {
		return true
	}
	s = strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(s), "*."), ".")
	if s == "" || len(s) > maxName {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel || strings.ContainsFunc(label, notInLabel) ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
