package quota

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Rate gives each peer so much work a second, and a burst after a time without.
// It remembers a bounded number of peers, those that asked last: one that was
// forgotten has its burst again. It is safe for concurrent use.
type Rate struct {
	perSecond, burst float64
	most             int

	mu    sync.Mutex
	peers map[netip.Prefix]*list.Element // guarded by mu
	order *list.List                     // of *bucket, the last to ask in front; guarded by mu
}

type bucket struct {
	peer netip.Prefix
	left float64
	at   time.Time // when left was right
}

// NewRate returns a rate for up to most peers at the same time.
func NewRate(perSecond, burst float64, most int) *Rate {
	return &Rate{perSecond: perSecond, burst: burst, most: most, peers: map[netip.Prefix]*list.Element{}, order: list.New()}
}

// Take charges the peer for work, or returns how long it has to wait until it can
// be. A refusal is not charged.
func (r *Rate) Take(peer netip.Addr, work float64, now time.Time) (wait time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucket(peer, now)
	b.left = min(r.burst, b.left+max(0, now.Sub(b.at).Seconds())*r.perSecond)
	b.at = now
	if b.left < work {
		return time.Duration((work - b.left) / r.perSecond * float64(time.Second)), false
	}
	b.left -= work
	return 0, true
}

// bucket returns the peer's, in front of all others. The caller holds mu.
func (r *Rate) bucket(peer netip.Addr, now time.Time) *bucket {
	network := Network(peer)
	if e := r.peers[network]; e != nil {
		r.order.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if r.order.Len() >= r.most {
		last := r.order.Back()
		delete(r.peers, last.Value.(*bucket).peer)
		r.order.Remove(last)
	}
	b := &bucket{peer: network, left: r.burst, at: now}
	r.peers[network] = r.order.PushFront(b)
	return b
}

// Network returns the address range of one peer: an IPv4 address, or the /64 from
// which an IPv6 host chooses its addresses.
func Network(peer netip.Addr) netip.Prefix {
	peer = peer.Unmap().WithZone("")
	bits := peer.BitLen()
	if peer.Is6() {
		bits = 64
	}
	p, _ := peer.Prefix(bits) // The zero address has the zero prefix.
	return p
}
