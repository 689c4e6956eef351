package network

import (
	"encoding/binary"
	"net/netip"
)

// subnets is the lease table of the /30s of a range. It hands them out in turn
// and not the lowest free one first, so that an address comes back as late as
// possible and a stale packet finds no receiver. Not safe for concurrent use.
type subnets struct {
	base netip.Prefix
	next uint32
	used map[uint32]bool
}

func newSubnets(base netip.Prefix) *subnets {
	return &subnets{base: base, used: map[uint32]bool{}}
}

func (s *subnets) size() uint32 { return 1 << (slotBits - s.base.Bits()) }

// take leases the next free subnet.
func (s *subnets) take() (netip.Prefix, error) {
	for range s.size() {
		i := s.next
		s.next = (s.next + 1) % s.size()
		if !s.used[i] {
			s.used[i] = true
			return s.at(i), nil
		}
	}
	return netip.Prefix{}, ErrExhausted
}

// claim leases a subnet that was found in use. False if it is not one of the
// range or is leased already.
func (s *subnets) claim(p netip.Prefix) bool {
	i, ok := s.index(p)
	if !ok || s.used[i] {
		return false
	}
	s.used[i] = true
	s.next = (i + 1) % s.size()
	return true
}

// free ends the lease of a subnet.
func (s *subnets) free(p netip.Prefix) {
	if i, ok := s.index(p); ok {
		delete(s.used, i)
	}
}

func (s *subnets) at(i uint32) netip.Prefix {
	return netip.PrefixFrom(offset(s.base.Addr(), i<<(32-slotBits)), slotBits)
}

func (s *subnets) index(p netip.Prefix) (uint32, bool) {
	if p.Bits() != slotBits || !s.base.Contains(p.Addr()) {
		return 0, false
	}
	a, b := p.Masked().Addr().As4(), s.base.Addr().As4()
	return (binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(b[:])) >> (32 - slotBits), true
}

// near and far are the two ends of a /30: near is the end that routes.
func near(p netip.Prefix) netip.Addr { return offset(p.Addr(), 1) }
func far(p netip.Prefix) netip.Addr  { return offset(p.Addr(), 2) }

func offset(a netip.Addr, n uint32) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}
