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

// A loss that is mended by a rewrite for another reason is reported: otherwise an operator does not learn that something flushes the rules.
func TestALossThatARewriteMendsIsReported(t *testing.T) {
	for name, rewrite := range map[string]func(t *testing.T, w *world, n *Network, rules *nftRules){
		"other addresses of the host": func(t *testing.T, _ *world, _ *Network, rules *nftRules) {
			if err := rules.setOwn(append(slices.Clone(rules.own), netip.MustParsePrefix("192.0.2.7/32"))); err != nil {
				t.Fatal(err)
			}
		},
		"ranges that are left": func(_ *testing.T, w *world, n *Network, rules *nftRules) {
			rules.stale = true
			w.acquire(n, allow)
		},
	} {
		for _, flushed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, flushed %v", name, flushed), func(t *testing.T) {
				w := newWorld(t)
				n := w.openHealing()
				w.alone(n.Network)
				rules := n.rules.enforcer.(*nftRules)
				if lost, err := rules.settle(true); lost || err != nil {
					t.Fatalf("lost %v, %v", lost, err)
				}
				if flushed {
					if err := filterOf(n.router.ns, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil }); err != nil {
						t.Fatal(err)
					}
				}
				rewrite(t, w, n.Network, rules)
				for _, mend := range []bool{false, true} {
					if lost, err := rules.settle(mend); lost != flushed || err != nil {
						t.Errorf("lost %v, %v", lost, err)
					}
				}
				if lost, err := rules.settle(true); lost || err != nil {
					t.Errorf("afterwards: lost %v, %v", lost, err)
				}
			})
		}
	}
}
