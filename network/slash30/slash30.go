// Package slash30 divides a range of IPv4 into subnets of four addresses, each of which has two ends. It is pure, and only
// package network may import it.
package slash30

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Bits is the length of the subnets' prefixes.
const Bits = 30

// ErrExhausted: every subnet is leased.
var ErrExhausted = errors.New("network: no free guest subnet")

// Table is the lease table of the /30s of a range. It hands them out in turn
// and not the lowest free one first, so that an address comes back as late as
// possible and a stale packet finds no receiver. Not safe for concurrent use.
type Table struct {
	base netip.Prefix
	// Next is the index of the subnet that is tried first.
	Next uint32
	used map[uint32]bool
}

// New returns a table of a range, which is masked, and in which nothing is leased.
func New(base netip.Prefix) *Table {
	return &Table{base: base, used: map[uint32]bool{}}
}

// Size is how many subnets there are.
func (s *Table) Size() uint32 { return 1 << (Bits - s.base.Bits()) }

// Take leases the next free subnet.
func (s *Table) Take() (netip.Prefix, error) {
	for range s.Size() {
		i := s.Next
		s.Next = (s.Next + 1) % s.Size()
		if !s.used[i] {
			s.used[i] = true
			return s.At(i), nil
		}
	}
	return netip.Prefix{}, ErrExhausted
}

// Claim leases a subnet that was found in use. False if it is not one of the
// range or is leased already.
func (s *Table) Claim(p netip.Prefix) bool {
	i, ok := s.index(p)
	if !ok || s.used[i] {
		return false
	}
	s.used[i] = true
	s.Next = (i + 1) % s.Size()
	return true
}

// Free ends the lease of a subnet.
func (s *Table) Free(p netip.Prefix) {
	if i, ok := s.index(p); ok {
		delete(s.used, i)
	}
}

// At is the subnet with an index.
func (s *Table) At(i uint32) netip.Prefix {
	return netip.PrefixFrom(offset(s.base.Addr(), i<<(32-Bits)), Bits)
}

func (s *Table) index(p netip.Prefix) (uint32, bool) {
	if p.Bits() != Bits || !s.base.Contains(p.Addr()) {
		return 0, false
	}
	a, b := p.Masked().Addr().As4(), s.base.Addr().As4()
	return (binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(b[:])) >> (32 - Bits), true
}

// Near and Far are the two ends of a /30: Near is the end that routes.
func Near(p netip.Prefix) netip.Addr { return offset(p.Addr(), 1) }
func Far(p netip.Prefix) netip.Addr  { return offset(p.Addr(), 2) }

func offset(a netip.Addr, n uint32) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}
