package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"go4.org/netipx"
)

// PortSet is a set of pairs of an IPv4 address and a range of ports. It is a PairSet: a port is the first half of an address.
func PortSet(table *nftables.Table, name string) nftables.Set { return PairSet(table, name) }

// PortsBut are the elements of one address with all ports but these, which are in ascending order.
func PortsBut(a netip.Addr, ports []uint16) (out []nftables.SetElement) {
	at := func(port int) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(port >> 8), byte(port)})
	}
	next := 0 // The first port that is not covered yet.
	add := func(end int) {
		if next < end {
			last := at(end - 1).As4()
			last[2], last[3] = 0xff, 0xff
			out = append(out, Pair(a, netipx.IPRangeFrom(at(next), netip.AddrFrom4(last)))...)
		}
	}
	for _, port := range ports {
		add(int(port))
		next = int(port) + 1
	}
	add(1 << 16)
	return out
}

// Missing are the ports that elements of a PortSet do not have, in ascending order, for each address that lacks at most so many.
// An address without elements is not among them.
func Missing(elements []nftables.SetElement, most int) map[netip.Addr][]uint16 {
	out := map[netip.Addr][]uint16{}
	for a, ranges := range Pairs(elements) {
		var ports []uint16
		next, ok := 0, true
		add := func(end int) {
			if ok = ok && len(ports)+end-next <= most; ok {
				for ; next < end; next++ {
					ports = append(ports, uint16(next))
				}
			}
		}
		for _, r := range ranges {
			from, to := r.From().As4(), r.To().As4()
			ok = ok && from[2] == 0 && from[3] == 0 && to[2] == 0xff && to[3] == 0xff // Else another program has added it.
			add(int(binary.BigEndian.Uint16(from[:])))
			next = int(binary.BigEndian.Uint16(to[:])) + 1
		}
		if add(1 << 16); ok {
			out[a] = ports
		}
	}
	return out
}

// PortPairSet is a PairSet of an IPv4 address with a port, and a range of IPv4, and PortPairSet6 one with ranges of IPv6.
// Two bytes of zero follow the port: registers have four.
func PortPairSet(table *nftables.Table, name string) nftables.Set {
	return portPairSet(table, name, portHead+4)
}
func PortPairSet6(table *nftables.Table, name string) nftables.Set {
	return portPairSet(table, name, portHead+addrLen6)
}

const portHead = 8 // What is before the range.

func portPairSet(table *nftables.Table, name string, bytes uint32) nftables.Set {
	number := nftables.TypeInteger
	number.Bytes = bytes
	return nftables.Set{Table: table, Name: name, Interval: true, KeyType: number}
}

// PortPair is the elements of one pair of either set: its beginning, and its end, which is behind its last address, and for the last
// address of all in the bytes of zero.
func PortPair(a netip.AddrPort, r netipx.IPRange) []nftables.SetElement {
	return []nftables.SetElement{{Key: portKey(a, r.From())}, {Key: plus(portKey(a, r.To()), 1), IntervalEnd: true}}
}

// PortPairOf is an element of a set of such pairs without ranges, and WithPort the slot's address, and the other one with the port, of one.
func PortPairOf(a netip.Addr, to netip.AddrPort, comment string) nftables.SetElement {
	return nftables.SetElement{Key: portKey(netip.AddrPortFrom(a, to.Port()), to.Addr()), Comment: comment}
}
func WithPort(e nftables.SetElement) (a netip.Addr, to netip.AddrPort, ok bool) {
	if len(e.Key) != portHead+4 {
		return a, to, false
	}
	head, b := portHalf(e.Key, 0)
	from, ok := head.addrPort()
	return from.Addr(), netip.AddrPortFrom(b, from.Port()), ok
}

func portKey(a netip.AddrPort, b netip.Addr) []byte {
	key := binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port())
	return append(append(key, 0, 0), b.AsSlice()...)
}

// plus adds a byte, of two's complement if it is 0xff, to a number. It cannot overflow: no slot has the last address of IPv4.
func plus(n []byte, change byte) []byte {
	over := byte(0)
	if change == 0xff {
		over = 0xff
	}
	for i := len(n) - 1; i >= 0; i-- {
		if n[i] += change; n[i] != over {
			break
		}
	}
	return n
}

// head is an address, a port and two bytes of zero.
type head [portHead]byte

func (h head) addrPort() (a netip.AddrPort, ok bool) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[:4])), binary.BigEndian.Uint16(h[4:])), h[6]|h[7] == 0
}

// portHalf divides a key, less n, which is 0 or 1.
func portHalf(key []byte, n uint64) (head, netip.Addr) {
	if key = slices.Clone(key); n > 0 {
		plus(key, 0xff)
	}
	b, _ := netip.AddrFromSlice(key[portHead:])
	return head(key[:portHead]), b
}

// PortPairs are the ranges of each address and port, in ascending order, of the elements of a PortPairSet, and PortPairs6 those of a
// PortPairSet6. As Pairs, they leave out what does not form a range.
func PortPairs(elements []nftables.SetElement) map[netip.AddrPort][]netipx.IPRange {
	return portPairs(elements, portHead+4)
}
func PortPairs6(elements []nftables.SetElement) map[netip.AddrPort][]netipx.IPRange {
	return portPairs(elements, portHead+addrLen6)
}

func portPairs(elements []nftables.SetElement, size int) map[netip.AddrPort][]netipx.IPRange {
	out := map[netip.AddrPort][]netipx.IPRange{}
	for head, ranges := range pairs(elements, size, portHalf) {
		if a, ok := head.addrPort(); ok {
			out[a] = ranges
		}
	}
	return out
}
