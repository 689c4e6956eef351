package byname

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/nft"
)

const (
	// The ports of the namespace where the resolver and the gateway listen: what slots send to it is redirected to there. No
	// other connection comes from them.
	resolverPort, gatewayPort = 53, 443
	// boundFlow is the bit of the mark of a tracked flow that says: it began to an address that was bound then.
	// It ends with the flow and not with the binding.
	boundFlow = 1
)

// checkedPorts are those of TCP where the gateway checks the name.
var checkedPorts = []uint16{80, 443}

// Slots are the matches for packets of slots whose names are checked, and for those to them, of one bank.
type Slots struct {
	// From matches what comes from such a slot by its interface, and To what goes there. Source matches what has its
	// address, too.
	From, To, Source []expr.Any
	// Reach is what slots reach by address. Bound has each slot's address with those of its names, and BoundPorts with those that
	// it reaches on one port.
	Reach             nft.Reach
	Bound, BoundPorts *nftables.Set
	// Reachable has what may be reached at all.
	Reachable *nftables.Set
}

// Way is a permission: the match for packets of a slot, and that for the answers, if no other way has it.
type Way struct{ Out, Back []expr.Any }

// FlowWay is the permission of flows that began to bound addresses.
func (s Slots) FlowWay() Way {
	flow := nft.HasFlowMark(boundFlow)
	return Way{Out: nft.Rule(s.From, flow), Back: nft.Rule(s.To, flow)}
}

// AddressWays are the permissions by address, without those for answers. Port 53 is not among them, so that a query which was
// not redirected ends here.
func (s Slots) AddressWays() (out [][]expr.Any) {
	out = append(out, nft.Rule(s.From, s.Reach.Others()))
	for _, match := range s.Reach.Requests() {
		out = append(out, nft.Rule(s.From, match, nft.NotPorts(resolverPort)))
	}
	return out
}

// Marks are the rules that mark flows to bound addresses, on ports that nothing else checks.
func (s Slots) Marks() (rules [][]expr.Any) {
	slot := nft.Rule(s.Source, nft.DestIn(s.Reachable))
	for _, part := range [][]expr.Any{
		nft.Rule(nft.IsProto(unix.IPPROTO_TCP), nft.NotPorts(append(checkedPorts, resolverPort)...)),
		nft.Rule(nft.IsProto(unix.IPPROTO_UDP), nft.NotPorts(resolverPort)),
	} {
		rules = append(rules,
			nft.Rule(slot, part, nft.Towards(s.Bound), nft.MarkFlow(boundFlow)),
			nft.Rule(slot, part, nft.TowardsPort(s.BoundPorts), nft.MarkFlow(boundFlow)))
	}
	own := nft.Rule(nft.IsProto(unix.IPPROTO_ICMP), nft.CtState(nft.OfItself)) // An error belongs to the flow that it is about.
	return append(rules, nft.Rule(slot, nft.Towards(s.Bound), own, nft.MarkFlow(boundFlow)))
}

// Questions are the rules that send queries to the resolver. They come before other redirections.
func (s Slots) Questions() [][]expr.Any {
	return [][]expr.Any{
		nft.Rule(s.Source, nft.IsPort(unix.IPPROTO_UDP, 53), nft.RedirectTo(resolverPort)),
		nft.Rule(s.Source, nft.IsPort(unix.IPPROTO_TCP, 53), nft.RedirectTo(resolverPort)),
	}
}

// Redirects are the rules that send to the gateway what is not allowed by its address.
func (s Slots) Redirects() (rules [][]expr.Any) {
	for _, match := range s.Reach.Requests() {
		rules = append(rules, nft.Rule(s.Source, match, nft.Accept()))
	}
	for _, port := range checkedPorts {
		rules = append(rules, nft.Rule(s.Source, nft.DestIn(s.Reachable), nft.IsPort(unix.IPPROTO_TCP, port), nft.RedirectTo(gatewayPort)))
	}
	return rules
}

// Rewritten are the rules that send requests of slots, whose packets from matches, to the gateway, wherever they go. They
// come before Redirects: they are about slots of any kind.
func Rewritten(from []expr.Any, reachable *nftables.Set) (rules [][]expr.Any) {
	for _, port := range checkedPorts {
		rules = append(rules, nft.Rule(from, nft.DestIn(reachable), nft.IsPort(unix.IPPROTO_TCP, port), nft.RedirectTo(gatewayPort)))
	}
	return rules
}

// Tunneled are the rules that send all connections of slots, whose packets from matches, to the gateway, but for queries to
// name servers. They come before Redirects, too.
func Tunneled(from []expr.Any, nameservers, reachable *nftables.Set) [][]expr.Any {
	return [][]expr.Any{
		nft.Rule(from, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_TCP, resolverPort), nft.Accept()),
		nft.Rule(from, nft.DestIn(reachable), nft.IsProto(unix.IPPROTO_TCP), nft.RedirectTo(gatewayPort)),
	}
}

// Direct are the matches for packets of slots, and for the answers, that do not go through a proxy: all but TCP, the TCP of
// slots that have none, by their interfaces, and queries to name servers.
func Direct(out, back []expr.Any, nameservers *nftables.Set) (requests, answers [][]expr.Any) {
	other, tcp := nft.NotProto(unix.IPPROTO_TCP), nft.IsProto(unix.IPPROTO_TCP)
	return [][]expr.Any{other, nft.Rule(tcp, out), nft.Rule(nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_TCP, resolverPort))},
		[][]expr.Any{other, nft.Rule(tcp, back), nft.IsSourcePort(unix.IPPROTO_TCP, resolverPort)}
}

// queryRate is how many packets a second one slot sends to the resolver over UDP, and queryBurst how many at once: all
// share the buffer of its socket. A client that loses a query waits for seconds, so a program may ask for two types with each
// of a thousand connections a second.
const queryRate, queryBurst = 2000, 1000

// Arrivals are the rules that accept what was redirected to the resolver and the gateway. source matches any slot, of
// which there are most at a time.
func Arrivals(b *nft.Table, source []expr.Any, most uint32) [][]expr.Any {
	slot := nft.Rule(source, nft.IsDNAT())
	tooMany := b.LimitEach("queries", expr.MetaKeyIIFNAME, most, &expr.Limit{
		Type: expr.LimitTypePkts, Rate: queryRate, Unit: expr.LimitTimeSecond, Burst: queryBurst, Over: true,
	})
	return [][]expr.Any{
		nft.Rule(slot, nft.IsPort(unix.IPPROTO_UDP, resolverPort), tooMany, nft.Drop()),
		nft.Rule(slot, nft.IsPort(unix.IPPROTO_UDP, resolverPort), nft.Accept()),
		nft.Rule(slot, nft.IsPort(unix.IPPROTO_TCP, resolverPort), nft.Accept()),
		nft.Rule(slot, nft.IsPort(unix.IPPROTO_TCP, gatewayPort), nft.Accept()),
	}
}

// Asked are the rules that refuse what the resolver and the gateway send elsewhere than to name servers and to what may be
// reached at all: a name may have an address of the host. out matches packets that leave.
func Asked(out []expr.Any, nameservers, reachable *nftables.Set) [][]expr.Any {
	return [][]expr.Any{
		nft.Rule(out, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_UDP, 53), nft.Accept()),
		nft.Rule(out, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_TCP, 53), nft.Accept()),
		nft.Rule(out, nft.DestIn(reachable), nft.Accept()),
		nft.Rule(out, nft.Refuse()),
	}
}

// Replies are the rules that accept what the resolver and the gateway send, in a chain before connection tracking.
func Replies() [][]expr.Any {
	return [][]expr.Any{
		nft.Rule(nft.IsSourcePort(unix.IPPROTO_UDP, resolverPort), nft.Accept()),
		nft.Rule(nft.IsSourcePort(unix.IPPROTO_TCP, resolverPort), nft.Accept()),
		nft.Rule(nft.IsSourcePort(unix.IPPROTO_TCP, gatewayPort), nft.Accept()),
	}
}
