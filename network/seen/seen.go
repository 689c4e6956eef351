// Package seen records what each slot sent, received, reached and was refused, in memory and within bounds. It is pure:
// the caller says the time. It knows no policies, imports no package of this module but network/refused, and only package
// network may import it.
package seen

import (
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/network/refused"
)

// Slot is the record of one slot. The zero value is empty, and a nil one records nothing. Safe for concurrent use.
type Slot struct {
	refused     refused.List
	hosts       hosts
	connections atomic.Uint64
	// What was refused: packets, connections by name, and queries.
	packets, named, queries atomic.Uint64
}

// Packet records one that the packet filter refused.
func (s *Slot) Packet(p refused.Packet, at time.Time) {
	if s != nil {
		s.packets.Add(1)
		s.refused.Add(p, at)
	}
}

// Refused records a connection that the gateway refused, or, if its protocol is "dns", a query that the resolver refused.
func (s *Slot) Refused(p refused.Packet, at time.Time) {
	switch {
	case s == nil:
		return
	case p.Proto == "dns":
		s.queries.Add(1)
	default:
		s.named.Add(1)
	}
	s.refused.Add(p, at)
}

// Answered records a query for a name that had an answer. The name is in lower case without a last dot.
func (s *Slot) Answered(name string, at time.Time) {
	if s != nil {
		s.hosts.answered(name, at)
	}
}

// Opened records a connection to a port of a host that was opened by its name.
func (s *Slot) Opened(name string, port uint16, at time.Time) {
	if s != nil {
		s.connections.Add(1)
		s.hosts.opened(name, port, at)
	}
}

// Attempts returns what was refused, the latest first; nil if that was all until a time.
func (s *Slot) Attempts(since time.Time) []refused.Attempt { return s.refused.Since(since) }

// Traffic is what a slot sent, received, reached and was refused. What the kernel counts is since the slot was made, and
// the rest is since then or since the daemon was started.
type Traffic struct {
	// BytesOut and PacketsOut passed the slot's link from the guest, and BytesIn and PacketsIn to it, with their headers: also
	// what the daemon and the guest say to each other. A packet may have many segments of TCP.
	BytesOut, PacketsOut, BytesIn, PacketsIn uint64
	// Connections were opened by name. RefusedConnections were refused by name, RefusedQueries are queries for
	// names, and RefusedPackets all others, as far as the kernel reported them.
	Connections, RefusedConnections, RefusedQueries, RefusedPackets uint64
	// Hosts are those that were reached by name, in the order of their names, and Forgotten is how many gave way to others.
	Hosts     []Host
	Forgotten uint64
}

// Traffic returns what was recorded, without what the kernel counts.
func (s *Slot) Traffic() Traffic {
	t := Traffic{
		Connections: s.connections.Load(), RefusedConnections: s.named.Load(), RefusedQueries: s.queries.Load(), RefusedPackets: s.packets.Load(),
	}
	t.Hosts, t.Forgotten = s.hosts.all()
	return t
}
