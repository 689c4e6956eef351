package network

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/rundlet/rundlet/network/slash30"
)

// fourSlots is a range for four slots.
var fourSlots = netip.MustParsePrefix("10.200.0.0/28")

func begin(t *testing.T, l *leases, state slotState) *slot {
	t.Helper()
	s, err := l.begin(deny)
	if err != nil {
		t.Fatal(err)
	}
	l.made(s, state)
	return s
}

func ids(l *leases, state slotState) (out []string) {
	l.each(state, func(s *slot) { out = append(out, s.id) })
	slices.Sort(out)
	return out
}

func TestASlotIsLeasedOnceAndItsSubnetIsFreedLast(t *testing.T) {
	l := newLeases(fourSlots)
	making, err := l.begin(deny)
	if err != nil {
		t.Fatal(err)
	}
	if s := l.lease(); s != nil {
		t.Fatalf("slot %s is leased before it is made", s.id)
	}
	l.made(making, slotMaking)
	second := begin(t, l, slotMaking)
	direct := begin(t, l, slotLeased)
	if leased, ready := l.count(); leased != 1 || ready != 2 {
		t.Errorf("%d leased, %d ready, want 1 and 2", leased, ready)
	}
	if a, b, c := l.lease(), l.lease(), l.lease(); a != making || b != second || c != nil {
		t.Errorf("leased %v, %v and %v, want the oldest ready slot first", a, b, c)
	}
	l.retire(direct.id)
	l.retire(direct.id)
	if _, err := l.leased(direct.id); !errors.Is(err, ErrNotFound) {
		t.Errorf("a retired slot is leased: %v", err)
	}
	begin(t, l, slotLeased)
	if _, err := l.begin(deny); !errors.Is(err, ErrExhausted) {
		t.Errorf("a fifth slot of four, before one is destroyed: %v", err)
	}
	l.forget(direct)
	if s, err := l.begin(deny); err != nil || s.subnet != direct.subnet {
		t.Errorf("the subnet of a destroyed slot is not leased again: %v", err)
	}
}

func TestAdoptKeepsWhatIsInUseAndRetiresTheRest(t *testing.T) {
	l := newLeases(fourSlots)
	subnets := slash30.New(fourSlots)
	used := l.find("used", subnets.At(0), allow)
	if used == nil || l.find("orphan", subnets.At(1), deny) == nil {
		t.Fatal("slots of an earlier process are not found")
	}
	if l.find("double", subnets.At(1), deny) != nil || l.find("foreign", netip.MustParsePrefix("10.9.0.0/30"), deny) != nil {
		t.Error("found a slot with a subnet that it cannot have")
	}
	l.block(subnets.At(2))
	pooled := begin(t, l, slotMaking)
	if pooled.subnet != subnets.At(3) {
		t.Errorf("leased %v, want the only subnet that is free", pooled.subnet)
	}
	if leased := ids(l, slotLeased); leased != nil {
		t.Errorf("before Adopt %v are leased", leased)
	}
	lost, needUplink := l.adopt([]string{"gone", "used"})
	if !slices.Equal(lost, []string{"gone"}) || !needUplink {
		t.Errorf("lost %v, uplink %v", lost, needUplink)
	}
	if leased, retired := ids(l, slotLeased), ids(l, slotRetired); !slices.Equal(leased, []string{"used"}) || !slices.Equal(retired, []string{"orphan"}) {
		t.Errorf("leased %v, retired %v", leased, retired)
	}
	if _, needUplink := l.adopt(nil); needUplink {
		t.Error("a second Adopt adopts again")
	}
	idle, kept := l.end()
	slices.SortFunc(idle, func(a, b *slot) int { return a.subnet.Compare(b.subnet) })
	if kept != 1 || len(idle) != 2 || idle[0].id != "orphan" || idle[1] != pooled {
		t.Errorf("at the end %v are idle, %d kept", idle, kept)
	}
	if s := l.lease(); s != nil {
		t.Errorf("slot %s is leased after the end", s.id)
	}
}

func TestASlotWithoutItsLinkIsReportedOnceAndNotLeased(t *testing.T) {
	l := newLeases(fourSlots)
	ready, leased, retired := begin(t, l, slotMaking), begin(t, l, slotLeased), begin(t, l, slotLeased)
	l.retire(retired.id)
	if _, err := l.begin(deny); err != nil { // It has no link yet.
		t.Fatal(err)
	}
	wrong := func(*slot) bool { return true }
	if odd := l.uncut(wrong); len(odd) != 2 || !slices.Contains(odd, ready) || !slices.Contains(odd, leased) {
		t.Errorf("%v are looked at, want the ready and the leased one", odd)
	}
	if odd := l.uncut(func(s *slot) bool { return s == leased }); !slices.Equal(odd, []*slot{leased}) {
		t.Errorf("%v are wrong, want the leased one", odd)
	}
	if !l.cut(ready) || l.cut(leased) {
		t.Error("want the ready slot retired, and the leased one not")
	}
	if odd := l.uncut(wrong); odd != nil {
		t.Errorf("%v are reported again", odd)
	}
	if s := l.lease(); s != nil {
		t.Errorf("slot %s without a link is leased", s.id)
	}
	if _, err := l.leased(leased.id); err != nil {
		t.Errorf("a slot in use is not leased without its link: %v", err)
	}
}
