package ipv6

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/rundlet/rundlet/network/nft"
)

// Way is a permission of slots: the match for their packets, and those for the answers.
type Way struct {
	Out  []expr.Any
	Back [][]expr.Any
}

// Within are the ways of slots to what they reach. out match their packets, and to those to them by the interface.
func Within(out [][]expr.Any, to []expr.Any, reach nft.Reach) (ways []Way) {
	for _, match := range out {
		ways = append(ways, Way{Out: match})
	}
	for _, match := range reach.Answers() {
		ways[0].Back = append(ways[0].Back, nft.Rule(to, match))
	}
	return ways
}

// Router is what the rules of the router need.
type Router struct {
	Prefix netip.Prefix
	// Uplink is the link to the internet.
	Uplink string
	// Sources has the interface and the IPv4 address of each slot, and Reachable what may be reached at all.
	Sources, Reachable *nftables.Set
	Ways               []Way
	// Permit marks a packet that may be routed, and Refused is the chain that refuses one.
	Permit  []expr.Any
	Refused string
}

// The chains for packets of IPv6, for First: in the router before connection tracking, before routing, towards the
// router itself, and through it.
const (
	Arriving, Permitting, Incoming, Forwarding = "arriving6", "permitting6", "incoming6", "forwarding6"
)

// First begins a chain: packets of IPv6 go to another one, which decides about all of them. So no other rule of the chain
// sees one, and takes a part of its addresses for one of IPv4.
func First(chain string) []expr.Any { return nft.Rule(nft.IsIPv6(), nft.Jump(chain)) }

// Add adds the chains of the router.
func (r Router) Add(b *nft.Table) {
	slot := nft.SourceIn6(r.Prefix, r.Sources)
	b.Chain(Arriving,
		nft.Rule(nft.IIF(r.Uplink), nft.Accept()),
		nft.Rule(slot, nft.Accept()),
		nft.Drop(),
	)
	permits := [][]expr.Any{nft.Rule(nft.IIF(r.Uplink), nft.CtState(nft.Established), r.Permit)}
	var ways, back, out [][]expr.Any
	for _, w := range r.Ways {
		ways = append(ways, nft.Rule(slot, w.Out, nft.DestIn6(r.Reachable), r.Permit, nft.Accept()))
		out = append(out, nft.Rule(w.Out, nft.DestIn6(r.Reachable), nft.Accept()))
		for _, match := range w.Back {
			back = append(back, nft.Rule(match, nft.Accept()))
		}
	}
	b.Chain("ways6", ways...)
	b.Chain("requests6", out...)
	b.Chain("answers6", back...)
	back, out = nil, nil
	for range nft.Looks {
		permits = append(permits, nft.Jump("ways6"))
		back = append(back, nft.Rule(nft.IIF(r.Uplink), nft.CtState(nft.Established), nft.Jump("answers6")))
		out = append(out, nft.Rule(nft.OIF(r.Uplink), nft.Jump("requests6")))
	}
	b.Chain(Permitting, append(permits, nft.Accept())...)
	// The router has no service over IPv6, and believes no advertisement of routers.
	b.Chain(Incoming,
		nft.Rule(nft.IIF(r.Uplink), nft.Drop()),
		nft.Rule(slot, nft.IsNeighborDiscovery(), nft.Accept()),
		nft.Refuse(),
		nft.Drop(),
	)
	b.Chain(Forwarding, slices.Concat(back,
		[][]expr.Any{nft.Rule(nft.IIF(r.Uplink), nft.Drop())}, out,
		[][]expr.Any{nft.Jump(r.Refused), nft.Drop()})...)
}

// Host is what the rules of the daemon's namespace need.
type Host struct {
	// Link is the link to the router, which has the address Router there.
	Link   string
	Router netip.Addr
	// Reachable is what may be reached at all; see Reachable.
	Reachable []nftables.SetElement
	// Permit marks a packet that may be routed, and Revoke takes the mark away.
	Permit, Revoke []expr.Any
}

// reachable is the name of the set of addresses that may be reached at all, in both namespaces.
const reachable = "reachable6"

// Static is the sets with fixed elements.
var Static = []string{reachable}

// ReachableSet adds that set.
func ReachableSet(b *nft.Table, elements []nftables.SetElement) *nftables.Set {
	return b.Set(nftables.Set{Name: reachable, KeyType: nftables.TypeIP6Addr, Interval: true}, elements)
}

// Chains are the rules of the daemon's namespace for packets of IPv6: to mark what comes from guests, and the answers to
// them after translation; for what goes to this machine and through it; to translate, and to drop what was not. They come
// first in the chains for both families.
type Chains struct{ Permit, Answers, Input, Forward, Translate, Translated [][]expr.Any }

// Chains adds what the rules need, and returns them.
func (h Host) Chains(b *nft.Table) (c Chains) {
	set := ReachableSet(b, h.Reachable)
	from := nft.Rule(nft.IIF(h.Link), nft.IsIPv6())
	guest := nft.Rule(from, nft.SourceIs6(h.Router))
	leaves := nft.Rule(nft.SourceIs6(h.Router), nft.NotOIF(h.Link))
	c.Permit = [][]expr.Any{nft.Rule(guest, nft.DestIn6(set), h.Permit), nft.Rule(from, nft.Accept())}
	c.Answers = [][]expr.Any{
		nft.Rule(from, nft.IsDNAT(), h.Revoke), // And the forward chain refuses it.
		nft.Rule(nft.NotIIF(h.Link), nft.DestIs6(h.Router), nft.CtState(nft.Established), h.Permit),
		nft.Rule(nft.IsIPv6(), nft.Accept()),
	}
	c.Input = [][]expr.Any{nft.Rule(from, nft.Refuse())}
	c.Forward = [][]expr.Any{
		nft.Rule(from, nft.IsDNAT(), nft.Refuse()), // A port that the host publishes is the host.
		nft.Rule(guest, nft.DestIn6(set), nft.Accept()),
		nft.Rule(from, nft.Refuse()),
	}
	c.Translate = [][]expr.Any{nft.Rule(leaves, nft.Masquerade()), nft.Rule(nft.IsIPv6(), nft.Accept())}
	c.Translated = [][]expr.Any{nft.Rule(leaves, nft.Drop())}
	return c
}
