package network

import (
	"context"
	"testing"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/nft"
)

// A create must not wait for a look at all the rules because the one before it
// changed some, and a change of somebody else must not hide behind ours.
func TestOurOwnChangesNeedNoLookAndHideNoOther(t *testing.T) {
	w := newWorld(t)
	n, rules := w.quiet()
	s := w.acquire(n, allow)
	settle := func(want bool) {
		t.Helper()
		if lost, err := rules.settle(true); lost != want || err != nil {
			t.Fatalf("lost %v, %v, want %v", lost, err, want)
		}
	}
	settle(false)
	w.acquire(n, allow)
	if err := n.Release(context.Background(), w.acquire(n, deny).ID); err != nil {
		t.Fatal(err)
	}
	filter, err := nft.Dial(n.router.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer filter.Close()
	now, err := nft.Generation(filter)
	if err != nil || now != rules.guard.Seen || now != rules.flows.Seen {
		t.Errorf("generation %d, %v; seen %d and %d", now, err, rules.guard.Seen, rules.flows.Seen)
	}
	settle(false)
	err = filterOf(n.router.ns, func(conn *nftables.Conn) error {
		set := memberSet(setInternet)
		return conn.SetDeleteElements(&set, slotRule{id: s.ID, policy: allow}.members()[setInternet])
	})
	if err != nil {
		t.Fatal(err)
	}
	w.acquire(n, allow)
	settle(true)
	settle(false)
}
