package ranges

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
)

// The sets, by their names without a bank.
const (
	Reach  = "reach_"  // The address of a guest with each range that it reaches.
	Reach6 = "reach6_" // The same with the ranges of IPv6.
	// The address of a guest with the ports that those are about; and with each other port, and each range that is reached there.
	Ports      = "ports_"
	PortReach  = "portreach_"
	PortReach6 = "portreach6_"
)

// Banks is how many of each set there are. A slot whose ranges change gets them in the other bank, then changes
// the bank, and then the former ones go. So no packet finds a mixture, or less than both policies allow: a range that
// comes or goes hides others of the same address for an instant.
const Banks = 2

// InBank is the name of a set of a bank.
func InBank(set string, bank int) string { return fmt.Sprint(set, bank) }

func withoutBank(name string) string { return strings.TrimRight(name, "01") }

// Is reports whether a name is that of a set of ranges.
func Is(name string) bool { return makers[withoutBank(name)] != nil }

// Set makes the set with a name, in a table; ok is false if it is not one of ranges.
func Set(table *nftables.Table, name string) (set nftables.Set, ok bool) {
	if !Is(name) {
		return set, false
	}
	return makers[withoutBank(name)](table, name), true
}

// Names are the names of the sets of a bank.
func Names(bank int) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(makers)) {
		out = append(out, InBank(name, bank))
	}
	return out
}

// Reached is what guests reach, by the sets of a bank. transport is the set of the protocols with ports.
func Reached(sets map[string]*nftables.Set, transport *nftables.Set, bank int) (v4, v6 nft.Reach) {
	of := func(reach, ofPorts string) nft.Reach {
		return nft.Reach{Transport: transport, Ports: sets[InBank(Ports, bank)], Ranges: sets[InBank(reach, bank)], OfPorts: sets[InBank(ofPorts, bank)]}
	}
	return of(Reach, PortReach).IPv4(), of(Reach6, PortReach6).IPv6()
}

var makers = map[string]func(*nftables.Table, string) nftables.Set{
	Reach: nft.PairSet, Reach6: nft.PairSet6, Ports: nft.PortSet, PortReach: nft.PortPairSet, PortReach6: nft.PortPairSet6,
}

// Of are the elements of a guest with a limited policy, by set.
func Of(guest netip.Addr, p policies.Policy) map[string][]nftables.SetElement {
	out := map[string][]nftables.SetElement{Ports: nft.PortsBut(guest, p.OwnPorts())}
	for _, r := range p.Only {
		if r.From().Is6() {
			out[Reach6] = append(out[Reach6], nft.Pair6(guest, r)...)
		} else {
			out[Reach] = append(out[Reach], nft.Pair(guest, r)...)
		}
	}
	for _, port := range p.Ports {
		for _, r := range port.Only {
			set := PortReach
			if r.From().Is6() {
				set = PortReach6
			}
			out[set] = append(out[set], nft.PortPair(netip.AddrPortFrom(guest, port.Port), r)...)
		}
	}
	return out
}

// Read returns the policies of guests by the elements of sets, without names. A guest whose ports cannot be read reaches nothing, and so
// does one without any of those elements: all of the internet is not said by ranges. The sets of an earlier version are without
// ports: of those the list is nil.
func Read(list func(set string) []nftables.SetElement) func(guest netip.Addr) (p policies.Policy, any bool) {
	reached, ofPorts := nft.Pairs(list(Reach)), nft.PortPairs(list(PortReach))
	for guest, more := range nft.Pairs6(list(Reach6)) {
		reached[guest] = append(reached[guest], more...)
	}
	for at, more := range nft.PortPairs6(list(PortReach6)) {
		ofPorts[at] = append(ofPorts[at], more...)
	}
	earlier, own := list(Ports) == nil, nft.Missing(list(Ports), policies.MostPorts)
	return func(guest netip.Addr) (p policies.Policy, any bool) {
		ports, known := own[guest]
		if p.AllowInternet = true; !known && !earlier {
			return p, false
		}
		p.Only = reached[guest]
		for _, port := range ports {
			p.Ports = append(p.Ports, policies.Port{Port: port, Only: ofPorts[netip.AddrPortFrom(guest, port)]})
		}
		return p, p.Limited()
	}
}
