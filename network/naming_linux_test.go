package network

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// reopened has a slot of an earlier process with a flow to the address of each name, and that address is bound.
func (w *world) reopened() (n *Network, s Slot, flows map[string]flow) {
	w.t.Helper()
	w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP2}})
	n = w.open(w.config())
	s = w.acquire(n, byName("a.example", "b.example"))
	guest := w.guest(s)
	flows = map[string]flow{}
	for name, addr := range map[string]string{"a.example": internetIP, "b.example": internetIP2} {
		lookUp(w.t, guest, "udp", resolverIP+":53", name)
		flows[name] = openFlow(w.t, guest, addr+":8081")
	}
	n.abandon()
	return w.open(w.config()), s, flows
}

// The first policy after a restart is a narrower one, if a change was broken off between the slot and the row. It cuts
// what it does not allow, also if it fails at first.
func TestNamesAreNarrowedAfterARestart(t *testing.T) {
	for _, fails := range []bool{false, true} {
		w := newWorld(t)
		n, s, flows := w.reopened()
		w.alone(n)
		if lost, err := n.Adopt(t.Context(), []string{s.ID}); err != nil || len(lost) > 0 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if fails {
			real := n.rules.enforcer
			n.rules.enforcer = &failing{enforcer: real}
			if err := n.SetPolicy(t.Context(), s.ID, byName("a.example")); !errors.Is(err, syscall.ENOBUFS) {
				t.Fatal(err)
			}
			n.rules.enforcer = real
		}
		if err := n.SetPolicy(t.Context(), s.ID, byName("a.example")); err != nil {
			t.Fatal(err)
		}
		if err := flows["a.example"].ask(reachTime); err != nil {
			t.Errorf("failed before: %v: what is allowed: %v", fails, err)
		}
		if err := flows["b.example"].ask(200 * time.Millisecond); err == nil {
			t.Errorf("failed before: %v: what is not allowed still passes", fails)
		}
	}
}
