// Package refused records what slots were refused: it reads the packets that a rule of the packet filter logs, and
// keeps a bounded list for each slot. Linux only, but for the lists. It knows no slots and no policies, imports
// go-nflog and no package of this module but network/nft, and only package network may import it.
package refused

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Packet is one that was refused.
type Packet struct {
	From netip.Addr
	// Proto is "tcp", "udp", "icmp", "icmpv6", the number of the protocol, or "dns" for a question.
	Proto string
	// To has port 0 if the protocol has no ports, or the packet is a later fragment. It is not valid if Proto is "dns".
	To netip.AddrPort
	// Name is the host that was asked for, or "": packets do not tell.
	Name string
}

// Attempt is a destination that was refused, with how often and when a packet to it was seen. The kernel logs a share
// of the packets only, so that Count is the least there were.
type Attempt struct {
	Proto       string
	To          netip.AddrPort
	Name        string
	Count       int
	First, Last time.Time
}

// Most is how many destinations a List has. A new one takes the place of that which was seen longest ago.
const Most = 64

// List has the destinations that one slot was refused. The zero value is empty. Safe for concurrent use.
type List struct {
	mu   sync.Mutex
	seen map[destination]*Attempt
	last time.Time // of the latest packet
}

type destination struct {
	proto string
	to    netip.AddrPort
	name  string
}

// Add counts a packet that was seen at a time.
func (l *List) Add(p Packet, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.last) {
		l.last = at
	}
	key := destination{p.Proto, p.To, p.Name}
	if a := l.seen[key]; a != nil {
		a.Count++
		a.Last = at
		return
	}
	if l.seen == nil {
		l.seen = map[destination]*Attempt{}
	}
	if len(l.seen) == Most {
		var oldest destination
		var last time.Time
		for k, a := range l.seen {
			if last.IsZero() || a.Last.Before(last) {
				oldest, last = k, a.Last
			}
		}
		delete(l.seen, oldest)
	}
	l.seen[key] = &Attempt{Proto: p.Proto, To: p.To, Name: p.Name, Count: 1, First: at, Last: at}
}

// All returns a copy of the attempts, the latest first.
func (l *List) All() []Attempt { return l.Since(time.Time{}) }

// Since is All if a packet was seen after a time, and nil if not, which costs nothing.
func (l *List) Since(t time.Time) []Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.After(t) {
		return nil
	}
	out := make([]Attempt, 0, len(l.seen))
	for _, a := range l.seen {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b Attempt) int {
		return cmp.Or(b.Last.Compare(a.Last), a.To.Compare(b.To), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// The parts of the headers of IPv4 (RFC 791, 3.1) and IPv6 (RFC 8200, 3), and the protocols with ports.
const (
	leastHeader = 20
	header6     = 40
	tcp         = 6
	udp         = 17
	icmp        = 1
	icmpv6      = 58
)

// parse6 reads the beginning of an IPv6 packet. One with more headers than one has no ports, and the number of the next
// header as its protocol.
func parse6(b []byte) (p Packet, ok bool) {
	if len(b) < header6 {
		return Packet{}, false
	}
	p.From = netip.AddrFrom16([16]byte(b[8:24]))
	port := uint16(0)
	if proto := b[6]; (proto == tcp || proto == udp) && len(b) >= header6+4 {
		port = binary.BigEndian.Uint16(b[header6+2:])
	}
	p.To = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:40])), port)
	p.Proto = protocol(b[6])
	return p, true
}

// parse reads the beginning of a packet. A guest has made it.
func parse(b []byte) (p Packet, ok bool) {
	if len(b) > 0 && b[0]>>4 == 6 {
		return parse6(b)
	}
	if len(b) < leastHeader || b[0]>>4 != 4 {
		return Packet{}, false
	}
	size := int(b[0]&0xf) * 4
	if size < leastHeader {
		return Packet{}, false
	}
	p.From = netip.AddrFrom4([4]byte(b[12:16]))
	to, port := netip.AddrFrom4([4]byte(b[16:20])), uint16(0)
	proto, later := b[9], binary.BigEndian.Uint16(b[6:8])&0x1fff != 0
	if (proto == tcp || proto == udp) && !later && len(b) >= size+4 {
		port = binary.BigEndian.Uint16(b[size+2:])
	}
	p.To = netip.AddrPortFrom(to, port)
	p.Proto = protocol(proto)
	return p, true
}

func protocol(proto byte) string {
	switch proto {
	case tcp:
		return "tcp"
	case udp:
		return "udp"
	case icmp:
		return "icmp"
	case icmpv6:
		return "icmpv6"
	}
	return strconv.Itoa(int(proto))
}
