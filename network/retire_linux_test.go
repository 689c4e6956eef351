package network

import (
	"context"
	"errors"
	"reflect"
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
	deadline := time.After(time.Minute)
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

func TestLeasedAreThoseInUseAndNoOthers(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Ahead = 2
	n := w.open(cfg)
	kept, retired, released := w.acquire(n, deny), w.acquire(n, deny), w.acquire(n, deny)
	if err := errors.Join(n.Retire(retired.ID), n.Release(context.Background(), released.ID)); err != nil {
		t.Fatal(err)
	}
	leased, err := n.Leased()
	if err != nil || len(leased) != 1 || !reflect.DeepEqual(leased[0], kept) {
		t.Errorf("leased are %+v, %v; want %+v", leased, err, kept)
	}
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Leased(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	n = w.open(cfg) // Slots that were found and not adopted may be another's.
	if leased, err := n.Leased(); err != nil || len(leased) != 0 {
		t.Errorf("leased before Adopt: %+v, %v", leased, err)
	}
	if _, err := n.Adopt(context.Background(), []string{kept.ID}); err != nil {
		t.Fatal(err)
	}
	if leased, err := n.Leased(); err != nil || len(leased) != 1 || !reflect.DeepEqual(leased[0], kept) {
		t.Errorf("after Adopt leased are %+v, %v; want %+v", leased, err, kept)
	}
}
