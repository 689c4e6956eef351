package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/nftables"

	"github.com/mdlayher/netlink"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/ranges"
)

// Whatever of a limited policy another program deletes, nothing more is open, and it comes back.
func TestALostRangeOpensNothing(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n, rules := w.quiet()
	s := w.acquire(n, only(internetIP2, internetIP))
	guest := w.guest(s)
	members := rules.have[s.ID].members()
	for _, name := range []string{ranges.InBank(setLimited, 0), ranges.InBank(ranges.Reach, 0)} {
		if len(members[name]) == 0 {
			t.Fatalf("no members of %s", name)
		}
		err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
			set := memberSet(name)
			return conn.SetDeleteElements(&set, members[name])
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{internetIP, internetIP2} {
			if err := reach(guest, "tcp", a+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("without %s: %v", name, err)
			}
		}
		if lost, err := rules.settle(true); !lost || err != nil {
			t.Errorf("without %s: lost %v, %v", name, lost, err)
		}
		if err := reach(guest, "tcp", internetIP+":80"); err != nil {
			t.Errorf("with %s again: %v", name, err)
		}
	}
	// A range more is found, too.
	more := slotRule{id: s.ID, guest: s.GuestIP, policy: only("1.1.1.1")}
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
		set := memberSet(ranges.InBank(ranges.Reach, 0))
		return conn.SetAddElements(&set, more.members()[set.Name])
	})
	if err != nil {
		t.Fatal(err)
	}
	if lost, err := rules.settle(true); !lost || err != nil {
		t.Errorf("with a range more: lost %v, %v", lost, err)
	}
}

// Ranges that could not be deleted are not inherited by the next slot with the address.
func TestRangesThatStayedAreNotInherited(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Range = netip.MustParsePrefix("10.200.0.0/30") // One slot at a time.
	n := w.open(cfg)
	w.alone(n)
	rules := n.rules.enforcer.(*nftRules)
	s := w.acquire(n, only(internetIP2, internetIP))
	had := rules.have[s.ID]
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error { // The kernel does not delete what is not there.
		set := memberSet(ranges.InBank(ranges.Reach, 0))
		return conn.SetDeleteElements(&set, nft.Pair(had.guest, only(internetIP2).Only[0]))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Release(context.Background(), s.ID); err != nil {
		t.Fatal(err)
	}
	if left, err := rules.read(ranges.InBank(ranges.Reach, 0)); err != nil || len(left) != 2 {
		t.Fatalf("%d ends of ranges stayed, %v", len(left), err)
	}
	again := w.acquire(n, only(internetIP2))
	if again.GuestIP != had.guest {
		t.Fatalf("the next slot has %v, and the first had %v", again.GuestIP, had.guest)
	}
	left, err := rules.read(ranges.InBank(ranges.Reach, 0))
	if err != nil || len(left) != 2 {
		t.Errorf("%d ends of ranges, %v", len(left), err)
	}
}

// Many slots with many ranges are written in one piece, and change one by one.
func TestManyRanges(t *testing.T) {
	w := newWorld(t)
	n, rules := w.quiet()
	var ranges []string
	for i := range 256 {
		ranges = append(ranges, fmt.Sprintf("20.%d.0.0-20.%d.0.9", i, i))
	}
	var last Slot
	for range 12 {
		last = w.acquire(n, only(ranges...))
	}
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if lost, err := rules.settle(true); !lost || err != nil {
		t.Fatalf("lost %v, %v", lost, err)
	}
	if err := n.SetPolicy(context.Background(), last.ID, only(ranges[1:]...)); err != nil {
		t.Fatal(err)
	}
	got, err := rules.recover()
	if err != nil || len(got) != 12 || !got[last.ID].Equal(only(ranges[1:]...)) {
		t.Errorf("%d policies, %v", len(got), err)
	}
	if lost, err := rules.settle(false); lost || err != nil {
		t.Errorf("lost %v, %v", lost, err)
	}
}

// A table that is larger than a socket's usual buffer is written, and so is each large part of it.
func TestALargeTableIsWritten(t *testing.T) {
	w := newWorld(t)
	_, rules := w.quiet()
	var ranges []string
	for i := range 500 {
		ranges = append(ranges, fmt.Sprintf("20.%d.%d.0-20.%d.%d.9", i/256, i%256, i/256, i%256))
	}
	var list []slotRule
	var ids []string
	guest := netip.MustParseAddr("10.201.0.2")
	for i := range 30 {
		list = append(list, slotRule{id: fmt.Sprintf("s-%013d", i), guest: guest, policy: only(ranges...)})
		ids = append(ids, list[i].id)
		guest = guest.Next()
	}
	if err := rules.set(list...); err != nil {
		t.Fatal("set", err)
	}
	if err := rules.reset(list); err != nil {
		t.Fatal("reset", err)
	}
	if lost, err := rules.settle(false); lost || err != nil {
		t.Errorf("lost %v, %v", lost, err)
	}
	if err := rules.remove(ids...); err != nil || rules.stale {
		t.Errorf("remove: stale %v, %v", rules.stale, err)
	}
}

// The kernel does as it is asked, and its answers are lost: no slot has what is left of it.
func TestAChangeWithoutAnAnswerLeavesNothing(t *testing.T) {
	w := newWorld(t)
	n, rules := w.quiet()
	rules.mu.Lock()
	rules.disconnect()
	deaf, err := nftables.New(nftables.WithNetNSFd(int(n.router.ns.Fd())), nftables.AsLasting(),
		nftables.WithSockOptions(func(conn *netlink.Conn) error { return errors.Join(conn.SetWriteBuffer(16<<20), conn.SetReadBuffer(1)) }))
	rules.lasting = deaf
	rules.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	guest := netip.MustParseAddr("10.201.0.2")
	var list []slotRule
	for i := range 30 {
		var ranges []string
		for k := range 500 {
			ranges = append(ranges, fmt.Sprintf("20.%d.%d.0-20.%d.%d.9", k/256, k%256, k/256, k%256))
		}
		list = append(list, slotRule{id: fmt.Sprintf("s-%013d", i), guest: guest, policy: only(ranges...)})
		guest = guest.Next()
	}
	if err := rules.set(list...); !errors.Is(err, syscall.ENOBUFS) {
		t.Fatalf("set: %v", err)
	}
	next := slotRule{id: "s-next000000000", guest: list[0].guest, policy: only(internetIP)}
	if err := rules.set(next); err != nil {
		t.Fatal(err)
	}
	got, err := rules.recover()
	if err != nil || len(got) != 1 || !got[next.id].Equal(next.policy) {
		t.Errorf("%d policies, that of the next %v, %v", len(got), got[next.id], err)
	}
}

// While the way to the internet cannot be set up, a slot that has one can be limited all the same.
func TestASlotIsLimitedWithoutAnUplink(t *testing.T) {
	w := newWorld(t)
	n := w.openHealing()
	w.alone(n.Network)
	s := w.acquire(n.Network, only(internetIP2, internetIP))
	closed := w.acquire(n.Network, Policy{})
	n.uplink.mu.Lock()
	n.uplink.up, n.uplink.cfg.LinkRange = false, netip.MustParsePrefix("9.9.9.0/30") // All of it is taken.
	n.uplink.mu.Unlock()
	if err := n.SetPolicy(context.Background(), closed.ID, only(internetIP)); !errors.Is(err, ErrUplink) {
		t.Errorf("a way is opened that there is not: %v", err)
	}
	if err := n.SetPolicy(context.Background(), s.ID, only(internetIP)); err != nil {
		t.Error(err)
	}
	got, err := n.rules.recover()
	if err != nil || !got[s.ID].Equal(only(internetIP)) || !got[closed.ID].Equal(Policy{}) {
		t.Errorf("in force: %v, %v", got, err)
	}
}
