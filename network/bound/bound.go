// Package bound remembers which addresses were given to a guest for which host names. It is pure: the caller tells the
// time. It knows no slots and no policies, and only package network may import it.
package bound

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// Most is how many addresses are remembered. A new one takes the place of that which expired first, or will.
	Most = 512
	// mostNames is how many names an address has: many hosts share those of a content network.
	mostNames = 16
)

// Address is one of some names.
type Address struct {
	// To has port 0 if the names are reached on all ports.
	To netip.AddrPort
	// Names are those that it was given for, the first one first, with spaces between them.
	Names string
}

// Differ returns what each of two lists in ascending order has that the other has not.
func Differ(a, b []Address) (onlyA, onlyB []Address) {
	for len(a) > 0 && len(b) > 0 {
		order := a[0].To.Compare(b[0].To)
		if order <= 0 && a[0] != b[0] {
			onlyA = append(onlyA, a[0])
		}
		if order >= 0 && a[0] != b[0] {
			onlyB = append(onlyB, b[0])
		}
		if order <= 0 {
			a = a[1:]
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return append(onlyA, a...), append(onlyB, b...)
}

// NamesOf are the names that an address of a list was given for, on a port.
func NamesOf(list []Address, to netip.AddrPort) (out []string) {
	for _, a := range list {
		if a.To == to || a.To == netip.AddrPortFrom(to.Addr(), 0) {
			out = append(out, strings.Split(a.Names, " ")...)
		}
	}
	return out
}

// maxComment is the longest comment: the kernel keeps 256 bytes with an element of a set.
const maxComment = 200

// Comment is the names for an element of a set of the packet filter: the last ones, if they are too long. Others are not
// known after a restart.
func (a Address) Comment() string {
	for a.Names != "" && len(a.Names) > maxComment {
		_, a.Names, _ = strings.Cut(a.Names, " ")
	}
	return a.Names
}

// Addresses are those of one guest. An address is in force until it expires, and remembered afterwards: flows that began
// before may go on. The zero value is empty. Not safe for concurrent use.
type Addresses struct {
	byAddr map[netip.AddrPort]*entry
}

type entry struct {
	until time.Time
	names []string // The first one first.
}

// Add puts addresses of a name in force until a time, or prolongs that; port 0 is all ports. The time is a whole second, the next
// one, so that those of many names expire together.
func (a *Addresses) Add(name string, addrs []netip.AddrPort, until time.Time) {
	if a.byAddr == nil {
		a.byAddr = map[netip.AddrPort]*entry{}
	}
	if part := time.Duration(until.Nanosecond()); part > 0 {
		until = until.Add(time.Second - part)
	}
	for _, addr := range addrs {
		e := a.byAddr[addr]
		if e == nil {
			a.makeRoom()
			e = &entry{}
			a.byAddr[addr] = e
		}
		if until.After(e.until) {
			e.until = until
		}
		if !slices.Contains(e.names, name) {
			e.names = append(e.names, name)
		}
		if len(e.names) > mostNames {
			e.names = e.names[1:]
		}
	}
}

// Restore puts addresses in force that At returned to an earlier process, until a time.
func (a *Addresses) Restore(list []Address, until time.Time) {
	for _, l := range list {
		for name := range strings.SplitSeq(l.Names, " ") {
			a.Add(name, []netip.AddrPort{l.To}, until)
		}
	}
}

func (a *Addresses) makeRoom() {
	if len(a.byAddr) < Most {
		return
	}
	var first netip.AddrPort
	for addr, e := range a.byAddr {
		if !first.IsValid() || e.until.Before(a.byAddr[first].until) {
			first = addr
		}
	}
	delete(a.byAddr, first)
}

// At returns the addresses in force at a time, in ascending order, and when the first of them expires.
func (a *Addresses) At(now time.Time) (list []Address, next time.Time) {
	for addr, e := range a.byAddr {
		if !e.until.After(now) {
			continue
		}
		list = append(list, Address{addr, strings.Join(e.names, " ")})
		if next.IsZero() || e.until.Before(next) {
			next = e.until
		}
	}
	slices.SortFunc(list, func(x, y Address) int { return x.To.Compare(y.To) })
	return list, next
}

// Keep forgets what is not allowed any more: ports are those that a name may be reached on, and 0 all of them. An address
// without a name is not in force any more, and gives way to others. Where a name had all ports and has some, its addresses have those.
func (a *Addresses) Keep(ports func(name string) []uint16) {
	for to, e := range maps.Clone(a.byAddr) {
		names, until := e.names, e.until
		e.names = nil
		for _, name := range names {
			allowed := ports(name)
			if slices.Contains(allowed, 0) || slices.Contains(allowed, to.Port()) {
				e.names = append(e.names, name)
			} else if to.Port() == 0 {
				for _, port := range allowed {
					a.Add(name, []netip.AddrPort{netip.AddrPortFrom(to.Addr(), port)}, until)
				}
			}
		}
		if len(e.names) == 0 {
			e.until = time.Time{}
		}
	}
}

// Has reports an address that is remembered with a name on a port, or 0 for other protocols, and Forgot one that had names.
func (a *Addresses) Has(to netip.AddrPort) bool {
	e, all := a.of(to)
	return e != nil && len(e.names) > 0 || all != nil && len(all.names) > 0
}

func (a *Addresses) Forgot(to netip.AddrPort) bool {
	e, all := a.of(to)
	return (e != nil || all != nil) && !a.Has(to)
}

func (a *Addresses) of(to netip.AddrPort) (own, all *entry) {
	return a.byAddr[to], a.byAddr[netip.AddrPortFrom(to.Addr(), 0)]
}
