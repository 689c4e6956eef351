package nft

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// The addresses of IPv6 that slots have begin with a prefix of 96 bits, and end with the IPv4 address of the slot. So the
// sets that name slots serve both families: of an IPv6 address of a slot the rules look at the last four bytes.
const (
	sourceAt6   = 8
	destAt6     = 24
	addrLen6    = 16
	header6     = 40
	lastSource6 = sourceAt6 + 12 // The last four bytes of the source, right before the destination.
	lastDest6   = destAt6 + 12
)

// SourceIn6 matches the pair of incoming interface and IPv6 source, which has the prefix of slots.
func SourceIn6(prefix netip.Prefix, set *nftables.Set) []expr.Any {
	head := prefix.Addr().As16()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAt6, Len: 12},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: head[:12]},
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Payload{DestRegister: unix.NFT_REG32_04, Base: expr.PayloadBaseNetworkHeader, Offset: lastSource6, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// SourceIs6 and DestIs6 match one IPv6 address.
func SourceIs6(a netip.Addr) []expr.Any { return addrIs6(sourceAt6, a) }
func DestIs6(a netip.Addr) []expr.Any   { return addrIs6(destAt6, a) }

func addrIs6(offset uint32, a netip.Addr) []expr.Any {
	return Rule(IsIPv6(), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addrLen6},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	})
}

// DestIn6 matches IPv6 destinations by a set.
func DestIn6(set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destAt6, Len: addrLen6},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// IfaceNotIn matches interfaces that a set of names has not; key says which interface.
func IfaceNotIn(key expr.MetaKey, set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: true},
	}
}

// IsNeighborDiscovery matches solicitations and advertisements of neighbours that no router has forwarded (RFC 4861, 7.1).
func IsNeighborDiscovery() []expr.Any {
	const hopLimitAt, solicitation = 7, 135 // 136 is the advertisement.
	return Rule(IsProto(unix.IPPROTO_ICMPV6), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: hopLimitAt, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{255}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{solicitation}, ToData: []byte{solicitation + 1}},
	})
}

// PairSet6 is a PairSet of an IPv4 address and a range of IPv6.
func PairSet6(table *nftables.Table, name string) nftables.Set {
	number := nftables.TypeInteger
	number.Bytes = 4 + addrLen6
	return nftables.Set{Table: table, Name: name, Interval: true, KeyType: number}
}

// Pair6 is the elements of one pair: its beginning, and its end, which is behind its last address.
func Pair6(a netip.Addr, r netipx.IPRange) []nftables.SetElement {
	end := append(a.AsSlice(), r.To().AsSlice()...)
	for i := len(end) - 1; i >= 0; i-- { // It cannot overflow: no slot has the last address of IPv4.
		if end[i]++; end[i] != 0 {
			break
		}
	}
	return []nftables.SetElement{{Key: append(a.AsSlice(), r.From().AsSlice()...)}, {Key: end, IntervalEnd: true}}
}

// half6 divides a key, less n, into its two addresses.
func half6(key []byte, n uint64) (a, b netip.Addr) {
	part := func(at int) uint64 { return binary.BigEndian.Uint64(key[at:]) }
	low, borrow := bits.Sub64(part(12), n, 0)
	high, borrow := bits.Sub64(part(4), 0, borrow)
	first := binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(key)-uint32(borrow))
	both := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high), low)
	return netip.AddrFrom4([4]byte(first)), netip.AddrFrom16([16]byte(both))
}

// Intervals6 are the elements of an interval set of these ranges of IPv6.
func Intervals6(set *netipx.IPSet) (out []nftables.SetElement) {
	for _, r := range set.Ranges() {
		out = append(out, nftables.SetElement{Key: r.From().AsSlice()})
		if end := r.To().Next(); end.IsValid() { // Behind the last address it stays open.
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return slices.Clip(out)
}
