package quota

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestBudgetIsShared(t *testing.T) {
	b := NewBudget(100, 40)
	for _, step := range []struct {
		owner string
		take  int64
		ok    bool
	}{
		{"a", 40, true}, {"a", 1, false}, {"b", 41, false}, {"b", 40, true}, {"c", 21, false}, {"c", 20, true}, {"d", 1, false},
	} {
		if ok := b.Take(step.owner, step.take); ok != step.ok {
			t.Errorf("%s takes %d: %v", step.owner, step.take, ok)
		}
	}
	b.Give("a", 40)
	if !b.Take("d", 40) {
		t.Error("what was given back cannot be taken")
	}
	for owner, n := range map[string]int64{"b": 40, "c": 20, "d": 40} {
		b.Give(owner, n)
	}
	if b.Used() != 0 || len(b.by) != 0 {
		t.Errorf("%d is used, %d owners are remembered", b.Used(), len(b.by))
	}
}

func TestRateByPeer(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewRate(2, 4, 100)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for range 4 {
		if _, ok := r.Take(a, 1, now); !ok {
			t.Fatal("the burst is smaller than it should be")
		}
	}
	if wait, ok := r.Take(a, 1, now); ok || wait != 500*time.Millisecond {
		t.Errorf("behind the burst: %v, %v", wait, ok)
	}
	if _, ok := r.Take(netip.MustParseAddr("::ffff:192.0.2.1"), 1, now); ok {
		t.Error("an address in its IPv6 form is another peer")
	}
	if _, ok := r.Take(b, 4, now); !ok {
		t.Error("a neighbour has to wait")
	}
	if _, ok := r.Take(a, 1, now.Add(500*time.Millisecond)); !ok {
		t.Error("it waited as long as requested")
	}
	if _, ok := r.Take(a, 5, now.Add(time.Hour)); ok {
		t.Error("more than the burst was saved up")
	}
}

func TestRateTakesAnIPv6NetworkForOnePeer(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewRate(1, 1, 100)
	if _, ok := r.Take(netip.MustParseAddr("2001:db8::1"), 1, now); !ok {
		t.Error("the first has to wait")
	}
	if _, ok := r.Take(netip.MustParseAddr("2001:db8::ffff:2"), 1, now); ok {
		t.Error("another address of the same /64 has a separate burst")
	}
	if _, ok := r.Take(netip.MustParseAddr("2001:db8:0:1::1"), 1, now); !ok {
		t.Error("another /64 has to wait")
	}
}

func TestRateRemembersBoundedlyMany(t *testing.T) {
	now := time.Unix(1000, 0)
	r := NewRate(1, 1, 3)
	for i := range 100 {
		r.Take(netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)), 1, now)
	}
	if len(r.peers) != 3 || r.order.Len() != 3 {
		t.Errorf("%d peers, %d in order", len(r.peers), r.order.Len())
	}
	if _, ok := r.Take(netip.MustParseAddr("192.0.2.99"), 1, now); ok {
		t.Error("the last peer was forgotten")
	}
}
