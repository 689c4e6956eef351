package network

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/bound"
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

// inForce is what a slot reaches by names.
func inForce(n *Network, s Slot) []bound.Address {
	slot := n.leases.of(s.GuestIP)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	return slot.inForce
}

// expireAll has the time come of all that a slot was given for names. It returns what is still in force.
func expireAll(n *Network, s Slot) []bound.Address {
	slot := n.leases.of(s.GuestIP)
	slot.mu.Lock()
	defer slot.mu.Unlock()
	slot.names = bound.Addresses{}
	slot.names.Restore(slot.inForce, time.Now().Add(-time.Minute))
	return slot.inForce
}

// What an earlier process bound expires also before its slot is adopted.
func TestWhatWasFoundExpires(t *testing.T) {
	w := newWorld(t)
	n, s, _ := w.reopened()
	given := expireAll(n, s)
	if err := n.naming.expire(t.Context()); err != nil || len(given) != 2 {
		t.Fatalf("%v of %v", err, given)
	}
	if left, err := n.rules.recoverBound(); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// counting counts changes.
type counting struct {
	enforcer
	sets int
}

func (c *counting) set(rules ...slotRule) error {
	c.sets++
	return c.enforcer.set(rules...)
}

// An address whose change failed may be in force. It expires, and later answers with it change nothing.
func TestAnAddressExpiresAfterALostAnswer(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	w.alone(n)
	s := w.acquire(n, byName("a.example"))
	bind := func(life time.Duration) error {
		return n.naming.Bind(s.GuestIP, "a.example", []netip.Addr{netip.MustParseAddr(internetIP)}, life)
	}
	real := n.rules.enforcer
	n.rules.enforcer = &failing{enforcer: real, lost: true}
	if err := bind(time.Second); !errors.Is(err, syscall.ENOBUFS) {
		t.Fatal(err)
	}
	n.rules.enforcer = real
	if left, err := n.rules.recoverBound(); err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	eventually(t, "it expires", func() bool { // As in the background, which is still.
		select {
		case <-n.naming.due.Wake:
			if err := n.naming.expire(t.Context()); err != nil {
				t.Error(err)
			}
		default:
		}
		left, err := n.rules.recoverBound()
		return err == nil && len(left) == 0
	})
	n.rules.enforcer = &failing{enforcer: real, lost: true}
	if err := bind(time.Hour); !errors.Is(err, syscall.ENOBUFS) {
		t.Fatal(err)
	}
	expireAll(n, s) // Its life is over before the next attempt.
	n.rules.enforcer = real
	if err := n.naming.expire(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := n.rules.recoverBound(); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	c := &counting{enforcer: real}
	n.rules.enforcer = c
	for range 3 {
		if err := bind(time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	n.rules.enforcer = real
	if c.sets != 1 {
		t.Errorf("%d changes", c.sets)
	}
}

// A slot ends while an answer for it, or the end of one, waits for it: another may have its address.
func TestNothingIsBoundForASlotThatEnded(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, byName("a.example"))
	slot := n.leases.of(s.GuestIP)
	if err := n.Release(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	n.leases.mu.Lock()
	n.leases.add(slot) // They had looked it up before.
	n.leases.mu.Unlock()
	addrs := []netip.Addr{netip.MustParseAddr(internetIP)}
	if err := n.naming.Bind(s.GuestIP, "a.example", addrs, time.Hour); !errors.Is(err, ErrNotFound) {
		t.Errorf("bind: %v", err)
	}
	slot.mu.Lock()
	slot.names.Add("a.example", []netip.AddrPort{netip.AddrPortFrom(addrs[0], 0)}, time.Now().Add(time.Hour))
	slot.mu.Unlock()
	if err := n.naming.expire(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := n.rules.recoverBound(); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	n.leases.forget(slot)
}

// A flow goes on after its address has expired, also if everything is allowed in between.
func TestAFlowOutlivesItsAddressAndItsPolicy(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	p := byName("a.example")
	s := w.acquire(n, p)
	guest := w.guest(s)
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	f := openFlow(t, guest, internetIP+":8081")
	w.alone(n)
	expireAll(n, s)
	if err := n.naming.expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := inForce(n, s); len(left) > 0 {
		t.Fatal(left)
	}
	for _, policy := range []Policy{p, allow, p} {
		if err := n.SetPolicy(t.Context(), s.ID, policy); err != nil {
			t.Fatal(err)
		}
		if err := f.ask(reachTime); err != nil {
			t.Errorf("%v: %v", policy, err)
		}
	}
}

// Addresses beside names are reached before the policy is set again after a restart, and nothing else is. Names wait.
func TestAddressesBesideNamesSurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	p := only(internetIP2)
	p.Names = []string{"a.example"}
	s := w.acquire(n, p)
	guest := w.guest(s)
	n.abandon()
	n = w.open(w.config())
	if err := reach(guest, "tcp", internetIP2+":8081"); err != nil {
		t.Errorf("the allowed address: %v", err)
	}
	if err := reach(guest, "tcp", internetIP+":8081"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("another: %v", err)
	}
	answered := make(chan bool)
	go func() { answered <- n.naming.Allowed(s.GuestIP, "a.example", 0) }()
	select {
	case <-answered:
		t.Error("what is not known is answered")
	case <-time.After(silence):
	}
	n.abandon() // It does not wait for what waits.
	select {
	case allowed := <-answered:
		if allowed {
			t.Error("what is not known is allowed")
		}
	case <-time.After(foundWait / 2):
		t.Error("a guest waits for a daemon that has ended")
	}
	w.open(w.config())
}
