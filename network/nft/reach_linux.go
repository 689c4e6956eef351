package nft

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Reach matches packets by what slots reach, of one family. A packet to a port in Ports is judged by Ranges, and one to another port
// by OfPorts; so is an answer by its source port. Packets of protocols without ports are judged by Ranges alone.
//
// Each match needs an element that is there, so that none is true because elements are lost. A packet whose port is not
// known, such as a fragment, matches nothing; connection tracking puts fragments together before.
type Reach struct {
	// Transport has the protocols with ports; see TransportSet.
	Transport *nftables.Set
	// Ports is a PortSet, Ranges a PairSet or PairSet6, and OfPorts a PortPairSet or PortPairSet6.
	Ports, Ranges, OfPorts *nftables.Set

	slot, peer         uint32 // Where a slot's IPv4 address and the other one are in a request.
	backSlot, backPeer uint32 // And in an answer.
	length             uint32 // Of the other address.
	errors             byte   // The protocol of errors.
}

// Looks is how often a packet is compared with what slots reach, until it is permitted. A slot that changes its bank while a packet
// passes the rules of the one and then of the other may be found in neither.
const Looks = 2

// Looked adds a chain, and returns the rules that jump to it: Looks times for the first packets of a flow, and once for later ones.
// It is for rules that decide about the whole flow.
func (b *Table) Looked(chain string, rules [][]expr.Any) [][]expr.Any {
	b.Chain(chain, rules...)
	again := Rule(CtState(Opening), Jump(chain))
	return append([][]expr.Any{Jump(chain)}, slices.Repeat([][]expr.Any{again}, Looks-1)...)
}

// IPv4 and IPv6 return a Reach for packets of a family.
func (r Reach) IPv4() Reach {
	r.slot, r.peer, r.backSlot, r.backPeer, r.length, r.errors = sourceAt, destAt, destAt, sourceAt, 4, unix.IPPROTO_ICMP
	return r
}
func (r Reach) IPv6() Reach {
	r.slot, r.peer, r.backSlot, r.backPeer, r.length, r.errors = lastSource6, destAt6, lastDest6, sourceAt6, addrLen6, unix.IPPROTO_ICMPV6
	return r
}

// TransportSet adds the set of the protocols that policies know ports of.
func (b *Table) TransportSet(name string) *nftables.Set {
	return b.Set(nftables.Set{Name: name, KeyType: nftables.TypeInetProto}, []nftables.SetElement{{Key: []byte{unix.IPPROTO_TCP}}, {Key: []byte{unix.IPPROTO_UDP}}})
}

// All are Others and Requests, of packets that from matches.
func (r Reach) All(from []expr.Any) (out [][]expr.Any) {
	for _, match := range append([][]expr.Any{r.Others()}, r.Requests()...) {
		out = append(out, Rule(from, match))
	}
	return out
}

// Others matches packets of slots of protocols without ports, and Requests those of the others.
func (r Reach) Others() []expr.Any {
	return Rule(NotProto(unix.IPPROTO_TCP), NotProto(unix.IPPROTO_UDP), r.within(network(r.slot, r.peer, r.length)))
}
func (r Reach) Requests() [][]expr.Any {
	return r.byPort([]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}}, network(r.slot, r.peer, r.length), port(2))
}

// Answers match packets to slots, and errors about packets of slots, which routers on the way send, too. The port of the latter is
// that of the flow: what is left of the packet may have other headers before the ports.
func (r Reach) Answers() (out [][]expr.Any) {
	back := network(r.backSlot, r.backPeer, r.length)
	out = append(out, Rule(NotProto(unix.IPPROTO_TCP), NotProto(unix.IPPROTO_UDP), r.within(back)))
	out = append(out, r.byPort([]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}}, back, port(0))...)

	const header = 8 // Of the error, before the packet.
	about := ends{expr.PayloadBaseTransportHeader, header + r.slot, header + r.peer, r.length}
	is := Rule(CtState(Related), IsProto(r.errors))
	proto := []expr.Any{&expr.Ct{Key: expr.CtKeyPROTOCOL, Register: 1}}
	out = append(out, Rule(is, proto, []expr.Any{
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.IPPROTO_TCP}}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}, r.within(about)))
	const original = 0 // The direction of the flow's first packet.
	of := &expr.Ct{Key: expr.CtKeyPROTODST, Register: unix.NFT_REG32_01, Direction: original}
	for _, match := range r.byPort(proto, about, of) {
		out = append(out, Rule(is, match))
	}
	return out
}

// byPort are the matches of protocols with ports. proto loads the protocol into register 1, and port the port into the second one of 32 bits.
func (r Reach) byPort(proto []expr.Any, e ends, port expr.Any) [][]expr.Any {
	is := Rule(proto, []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: r.Transport.Name, SetID: r.Transport.ID}})
	return [][]expr.Any{
		Rule(is, isPair(r.Ports, e.slotTo(unix.NFT_REG32_00), port), r.within(e)),
		Rule(is, isPair(r.OfPorts, e.slotTo(unix.NFT_REG32_00), port, e.peerTo(unix.NFT_REG32_02))),
	}
}

func (r Reach) within(e ends) []expr.Any {
	return isPair(r.Ranges, e.slotTo(unix.NFT_REG32_00), e.peerTo(unix.NFT_REG32_01))
}

// TowardsPort matches requests to a port of an address of IPv4, by a set of PortPairOf.
func TowardsPort(set *nftables.Set) []expr.Any {
	e := network(sourceAt, destAt, 4)
	return isPair(set, e.slotTo(unix.NFT_REG32_00), port(2), e.peerTo(unix.NFT_REG32_02))
}

// ends is where the addresses of a slot and of its peer are.
type ends struct {
	base               expr.PayloadBase
	slot, peer, length uint32
}

func network(slot, peer, length uint32) ends {
	return ends{expr.PayloadBaseNetworkHeader, slot, peer, length}
}

func (e ends) slotTo(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: e.base, Offset: e.slot, Len: 4}
}
func (e ends) peerTo(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: e.base, Offset: e.peer, Len: e.length}
}

// port loads a port. The kernel fills the register with zeros.
func port(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: unix.NFT_REG32_01, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
}
