package network

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// spoil makes a slot's namespace file something that cannot be removed. The namespace
// itself stays until mend, as with a sandbox in it: otherwise the kernel removes its link
// at any time.
func spoil(t *testing.T, path string) (mend func()) {
	t.Helper()
	ns, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(path, "inside")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() {
		ns.Close()
		if err := os.Remove(inside); err != nil {
			t.Error(err)
		}
	}
}

// telling is a configuration whose errors are counted, not fatal.
func telling(w *world) (Config, func() int) {
	var mu sync.Mutex
	told := 0
	cfg := w.config()
	cfg.OnError = func(error) {
		mu.Lock()
		defer mu.Unlock()
		told++
	}
	return cfg, func() int {
		mu.Lock()
		defer mu.Unlock()
		return told
	}
}

func TestOneSlotThatCannotBeFreedHoldsUpNoStart(t *testing.T) {
	w := newWorld(t)
	cfg, told := telling(w)
	n, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	kept, bad := w.acquire(n, deny), w.acquire(n, deny)
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	mend := spoil(t, bad.NetNS)
	n = w.open(cfg)
	defer os.Remove(bad.NetNS)
	defer mend()
	if told() == 0 {
		t.Error("no error was reported")
	}
	if lost, err := n.Adopt(context.Background(), []string{kept.ID, bad.ID}); err != nil || !slices.Equal(lost, []string{bad.ID}) {
		t.Errorf("lost %v, %v", lost, err)
	}
	if fresh := w.acquire(n, deny); fresh.GuestIP == bad.GuestIP {
		t.Error("the addresses of a slot that is still there are given to another")
	}
}

func TestAnOrphanThatCannotBeFreedIsTriedAgainAndHoldsUpNoAdoption(t *testing.T) {
	w := newWorld(t)
	cfg, told := telling(w)
	n, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	bad := w.acquire(n, deny)
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	n = w.open(cfg)
	mend := spoil(t, bad.NetNS)
	if lost, err := n.Adopt(context.Background(), nil); err != nil || len(lost) != 0 {
		t.Errorf("lost %v, %v", lost, err)
	}
	if told() == 0 {
		t.Error("no error was reported")
	}
	mend()
	waitCounts(t, n, Counts{})
}
