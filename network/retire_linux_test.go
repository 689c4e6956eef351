package network

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRetiredSlotsGoByThemselves(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	for range 10 {
		s := w.acquire(n, deny)
		if err := n.Retire(s.ID); err != nil {
			t.Fatal(err)
		}
		if err := n.Retire(s.ID); err != nil {
			t.Errorf("second retire: %v", err)
		}
		if err := n.SetPolicy(context.Background(), s.ID, allow); !errors.Is(err, ErrNotFound) {
			t.Errorf("a retired slot is still leased: %v", err)
		}
	}
	waitCounts(t, n, Counts{})
}

func TestCloseTakesRetiredSlotsAlong(t *testing.T) {
	w := newWorld(t)
	before := w.traces()
	n := w.open(w.config())
	for range 5 {
		n.Retire(w.acquire(n, allow).ID)
	}
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.traces(); got != before {
		t.Errorf("left in the daemon's namespace:\n%s\nwas\n%s", got, before)
	}
	if k := w.mounts(); k != 0 {
		t.Errorf("%d mounts left", k)
	}
}

// waitCounts waits for the reaper, which has no other sign than its work.
func waitCounts(t *testing.T, n *Network, want Counts) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		got, err := n.Counts()
		if err == nil && got == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("counts %+v, %v; want %+v", got, err, want)
		case <-tick.C:
		}
	}
}
