package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
)

// What is not excepted is reachable and nothing else is, at the edges of each
// prefix, whatever their order and however they overlap.
func TestReachableIsAllButWhatIsExcepted(t *testing.T) {
	for name, own := range map[string][]netip.Prefix{
		"nothing more":      nil,
		"an address":        mustPrefixes("9.9.9.2/32"),
		"one in another":    mustPrefixes("9.9.0.0/16", "9.9.9.2/32"),
		"another around it": mustPrefixes("9.9.9.2/32", "9.9.0.0/16"),
		"side by side":      mustPrefixes("9.9.9.4/32", "9.9.9.2/31"),
		"next to a denied":  mustPrefixes("11.0.0.0/24", "223.255.255.0/24"),
		"twice":             mustPrefixes("9.9.9.2/32", "9.9.9.2/32"),
		"not masked":        mustPrefixes("9.9.9.77/24"),
	} {
		var edges []uint32 // The set begins or ends at each, in turn.
		for i, e := range nft.Except(policies.AlwaysDenied, own) {
			edge := binary.BigEndian.Uint32(e.Key)
			if e.IntervalEnd != (i%2 == 1) || i > 0 && edge <= edges[i-1] {
				t.Fatalf("%s: element %d is %v, after %v", name, i, e, edges)
			}
			edges = append(edges, edge)
		}
		reachable := func(a uint32) (in bool) {
			for i, edge := range edges {
				if a >= edge {
					in = i%2 == 0
				}
			}
			return in
		}
		excepted := slices.Concat(own, policies.AlwaysDenied)
		for _, p := range excepted {
			first := p.Masked().Addr().As4()
			from := binary.BigEndian.Uint32(first[:])
			for _, a := range []uint32{from - 1, from, from + 1<<(32-p.Bits()) - 1, from + 1<<(32-p.Bits())} {
				addr, want := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a))), true
				for _, q := range excepted {
					want = want && !q.Contains(addr)
				}
				if reachable(a) != want {
					t.Errorf("%s: %v is reachable: %v, want %v", name, addr, !want, want)
				}
			}
		}
	}
}

func mustPrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// A loss that is mended by a rewrite for another reason is reported, once: otherwise an operator does not learn that something flushes the rules.
func TestALossThatARewriteMendsIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		host    bool
		rewrite func(w *world, n *Network, rules *nftRules) error
	}{
		"the router, other addresses of the host": {false, func(_ *world, _ *Network, rules *nftRules) error {
			return rules.setOwn(append(slices.Clone(rules.own), netip.MustParsePrefix("192.0.2.7/32")))
		}},
		"the router, ranges that are left": {false, func(w *world, n *Network, rules *nftRules) error {
			rules.stale = true
			w.acquire(n, allow)
			return nil
		}},
		"the host, other addresses of it": {true, func(_ *world, n *Network, _ *nftRules) error {
			n.uplink.mu.Lock()
			defer n.uplink.mu.Unlock()
			n.uplink.own = nil // Before.
			return n.uplink.follow()
		}},
	} {
		for _, flushed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, flushed %v", name, flushed), func(t *testing.T) {
				w := newWorld(t)
				n, rules := w.quiet()
				ns, settle := n.router.ns, rules.settle
				if c.host {
					ns, settle = w.host, n.uplink.settleRules
				}
				w.acquire(n, allow) // It makes the uplink.
				if lost, err := settle(true); lost || err != nil {
					t.Fatalf("lost %v, %v", lost, err)
				}
				if flushed {
					if err := filterOf(ns, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil }); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.rewrite(w, n, rules); err != nil {
					t.Fatal(err)
				}
				for _, mend := range []bool{false, true} {
					if lost, err := settle(mend); lost != flushed || err != nil {
						t.Errorf("lost %v, %v", lost, err)
					}
				}
				if lost, err := settle(true); lost || err != nil {
					t.Errorf("afterwards: lost %v, %v", lost, err)
				}
			})
		}
	}
}
