package egress

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/policy/egress/bundle"
)

// entry is one of a list: addresses, and the port that it is about, or 0.
type entry struct {
	netip.Prefix
	port uint16
}

// on are the entries that are about a port, or for 0 about all of them.
func on(list []entry, port uint16) (out []netip.Prefix) {
	for _, e := range list {
		if e.port == 0 || e.port == port {
			out = append(out, e.Prefix)
		}
	}
	return out
}

// parse reads a list. Names are as Policy has them, or
// bundles as they were given.
func parse(list string, entries []string) (out []entry, names []string, err error) {
	if len(entries) > MaxEntries {
		return nil, nil, invalid("%s has %d entries, and at most %d are accepted", list, len(entries), MaxEntries)
	}
	for _, text := range entries {
		e, name, err := parseEntry(text)
		switch {
		case err != nil:
			return nil, nil, invalid("%s: %.80q %w", list, text, err)
		case name != "":
			names = append(names, name)
		default:
			out = append(out, e)
		}
	}
	slices.Sort(names)
	return out, slices.Compact(names), nil
}

// parseEntry reads an entry, which has addresses or a name. The error says what it is not.
func parseEntry(text string) (e entry, name string, err error) {
	if strings.HasPrefix(text, bundle.Prefix) {
		return entry{}, text, nil
	}
	rest, port, err := cutPort(text)
	if err != nil {
		return entry{}, "", err
	}
	if p, err := prefix(rest); err == nil {
		return entry{p, port}, "", nil
	}
	if !isName(rest) {
		return entry{}, "", errEntry
	}
	if name = strings.TrimSuffix(strings.ToLower(rest), "."); port != 0 {
		name = name + ":" + strconv.Itoa(int(port))
	}
	return entry{}, name, nil
}

var (
	errEntry = errors.New("is not an address, a CIDR block or a host name, with a port or without one")
	errPort  = errors.New("must have a port from 1 to 65535")
)

// cutPort takes the port off an entry; 0 is none. IPv6 with a port is in brackets, and what has colons without them has no port.
func cutPort(text string) (rest string, port uint16, err error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return text, 0, nil
	}
	if rest = text[:i]; strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]") {
		if rest = rest[1 : len(rest)-1]; !strings.Contains(rest, ":") {
			return "", 0, errEntry
		}
	} else if strings.Contains(rest, ":") {
		return text, 0, nil
	} else if strings.EqualFold(text[:i+1], bundle.Prefix) {
		return "", 0, errEntry // It is meant as one.
	}
	n, err := strconv.ParseUint(text[i+1:], 10, 16)
	if err != nil || n == 0 || text[i+1] == '0' {
		isURL := strings.HasPrefix(text[i+1:], "//")
		if _, err := prefix(rest); isURL || err != nil && !isName(rest) {
			return "", 0, errEntry
		}
		return "", 0, errPort
	}
	return rest, uint16(n), nil
}

// portsOf are the ports that entries and names have, in ascending order.
func portsOf(allow, deny []entry, names []string) (ports []uint16, err error) {
	for _, e := range slices.Concat(allow, deny) {
		if e.port != 0 {
			ports = append(ports, e.port)
		}
	}
	for _, name := range names {
		if _, text, has := strings.Cut(name, ":"); has {
			port, _ := strconv.ParseUint(text, 10, 16) // It is one.
			ports = append(ports, uint16(port))
		}
	}
	slices.Sort(ports)
	if ports = slices.Compact(ports); len(ports) > MaxPorts {
		return nil, invalid("allowOut and denyOut have %d different ports, and at most %d are accepted", len(ports), MaxPorts)
	}
	return ports, nil
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
		if known, _, port := strings.Cut(of, ":"); port && bundle.Hosts(known) != nil {
			return nil, invalid("allowOut: %.80q: a bundle takes no port", name)
		}
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
