package nft

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"go4.org/netipx"
)

// PairSet is a set of pairs of an IPv4 address and a range of them. The kernel keeps it as a tree, ordered by
// both: it must not know that they are two, since it deletes from sets of concatenations a thousand times slower.
// For the program nft it is a set of numbers.
func PairSet(table *nftables.Table, name string) nftables.Set {
	number := nftables.TypeInteger
	number.Bytes = 8
	return nftables.Set{Table: table, Name: name, Interval: true, KeyType: number}
}

// Pair is the elements of one pair: its beginning, and its end, which is behind its last address.
func Pair(a netip.Addr, r netipx.IPRange) []nftables.SetElement {
	key := func(b netip.Addr, n uint64) []byte {
		both := append(a.AsSlice(), b.AsSlice()...)
		return binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(both)+n)
	}
	return []nftables.SetElement{{Key: key(r.From(), 0)}, {Key: key(r.To(), 1), IntervalEnd: true}}
}

// Pairs are the ranges of each address, in ascending order, of the elements of a PairSet. It leaves out elements that do
// not form a range: another version of the program may have added them. Pairs6 is that of a PairSet6.
func Pairs(elements []nftables.SetElement) map[netip.Addr][]netipx.IPRange {
	return pairs(elements, 8, half)
}
func Pairs6(elements []nftables.SetElement) map[netip.Addr][]netipx.IPRange {
	return pairs(elements, 4+addrLen6, half6)
}

func pairs[K comparable](elements []nftables.SetElement, size int, half func(key []byte, n uint64) (K, netip.Addr)) map[K][]netipx.IPRange {
	elements = slices.DeleteFunc(elements, func(e nftables.SetElement) bool { return len(e.Key) != size })
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
			return c
		}
		if a.IntervalEnd { // One ends where the next begins.
			return -1
		}
		return 1
	})
	out := map[K][]netipx.IPRange{}
	for i := 1; i < len(elements); i++ {
		if elements[i-1].IntervalEnd || !elements[i].IntervalEnd {
			continue
		}
		a, from := half(elements[i-1].Key, 0)
		if last, to := half(elements[i].Key, 1); a == last {
			out[a] = append(out[a], netipx.IPRangeFrom(from, to))
		}
	}
	return out
}

// PairOf is an element of a set of pairs without ranges.
func PairOf(a, b netip.Addr, comment string) nftables.SetElement {
	return nftables.SetElement{Key: append(a.AsSlice(), b.AsSlice()...), Comment: comment}
}

// Both are the addresses of such an element; ok is false for another.
func Both(e nftables.SetElement) (a, b netip.Addr, ok bool) {
	if len(e.Key) != 8 {
		return a, b, false
	}
	a, b = half(e.Key, 0)
	return a, b, true
}

// half divides a key, less n, into its two addresses.
func half(key []byte, n uint64) (a, b netip.Addr) {
	both := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(key)-n)
	return netip.AddrFrom4([4]byte(both[:4])), netip.AddrFrom4([4]byte(both[4:]))
}
