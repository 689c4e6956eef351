package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"go4.org/netipx"
)

// PairSet is a set of pairs of an IPv4 address and a range of them. The kernel keeps it as a tree, ordered by
// both: it must not know that they are two, since it deletes from sets of concatenations a thousand times slower.
func PairSet(table *nftables.Table, name string) nftables.Set {
	return nftables.Set{
		Table: table, Name: name, Interval: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr),
	}
}

// Pair is the elements of one pair: its beginning, and its end, which is behind its last address.
func Pair(a netip.Addr, r netipx.IPRange) []nftables.SetElement {
	key := func(b netip.Addr, n uint64) []byte {
		both := append(a.AsSlice(), b.AsSlice()...)
		return binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(both)+n)
	}
	return []nftables.SetElement{{Key: key(r.From(), 0)}, {Key: key(r.To(), 1), IntervalEnd: true}}
}

// Pairs are the ranges of each address, in ascending order, of the elements of a PairSet.
func Pairs(elements []nftables.SetElement) (map[netip.Addr][]netipx.IPRange, error) {
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
			return c
		}
		if a.IntervalEnd { // One ends where the next begins.
			return -1
		}
		return 1
	})
	out := map[netip.Addr][]netipx.IPRange{}
	for part := range slices.Chunk(elements, 2) {
		if len(part) != 2 || len(part[0].Key) != 8 || len(part[1].Key) != 8 || part[0].IntervalEnd || !part[1].IntervalEnd {
			return nil, errors.New("a range of addresses has another form")
		}
		a, from := half(part[0].Key, 0)
		last, to := half(part[1].Key, 1)
		if a != last {
			return nil, errors.New("a range has the addresses of two guests")
		}
		out[a] = append(out[a], netipx.IPRangeFrom(from, to))
	}
	return out, nil
}

// half divides a key, less n, into its two addresses.
func half(key []byte, n uint64) (a, b netip.Addr) {
	both := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(key)-n)
	return netip.AddrFrom4([4]byte(both[:4])), netip.AddrFrom4([4]byte(both[4:]))
}
