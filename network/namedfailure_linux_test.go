package network

import (
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// failing is a packet filter that refuses one change, or does as it is asked and its answer is lost.
type failing struct {
	enforcer
	in   int // Calls before that.
	lost bool
}

func (f *failing) set(rules ...slotRule) error {
	if f.in--; f.in != -1 {
		return f.enforcer.set(rules...)
	}
	if f.lost {
		return errors.Join(f.enforcer.set(rules...), syscall.ENOBUFS)
	}
	return syscall.ENOBUFS
}

// A change that fails leaves the old policy in force, whatever failed, and can be repeated.
func TestAFailedChangeOfNamesCanBeRepeated(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP2}})
	n := w.open(w.config())
	w.alone(n)
	before, after := byName("a.example", "b.example"), byName("a.example")
	s := w.acquire(n, before)
	guest, slot, real := w.guest(s), n.leases.of(s.GuestIP), n.rules.enforcer
	use := func(e enforcer) {
		slot.mu.Lock() // Others use it with this.
		defer slot.mu.Unlock()
		n.rules.enforcer = e
	}
	for k := range 4 {
		if err := n.SetPolicy(t.Context(), s.ID, before); err != nil {
			t.Fatal(err)
		}
		flows := map[string]flow{}
		for name, addr := range map[string]string{"a.example": internetIP, "b.example": internetIP2} {
			lookUp(t, guest, "udp", resolverIP+":53", name)
			flows[name] = openFlow(t, guest, addr+":8081")
		}
		use(&failing{enforcer: real, in: k % 2, lost: k > 1})
		if err := n.SetPolicy(t.Context(), s.ID, after); !errors.Is(err, syscall.ENOBUFS) {
			t.Fatalf("%d: %v", k, err)
		}
		use(real)
		for name, addr := range map[string]string{"a.example": internetIP, "b.example": internetIP2} {
			if got := lookUp(t, guest, "udp", resolverIP+":53", name); len(got) != 1 {
				t.Errorf("%d: %s has %v", k, name, got)
			}
			if err := reach(guest, "tcp", addr+":8081"); err != nil {
				t.Errorf("%d: %s: %v", k, name, err)
			}
		}
		for range 2 {
			if err := n.SetPolicy(t.Context(), s.ID, after); err != nil {
				t.Fatal(err)
			}
		}
		if err := flows["a.example"].ask(reachTime); err != nil {
			t.Errorf("%d: the flow that stays allowed: %v", k, err)
		}
		if err := flows["b.example"].ask(200 * time.Millisecond); err == nil {
			t.Errorf("%d: the flow that does not still passes", k)
		}
		if err := reach(guest, "tcp", internetIP2+":8081"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%d: a new one: %v", k, err)
		}
	}
}

// Addresses are bound and expire, policies change and slots end, all at once. What is in force is what is remembered.
func TestNamesAreBoundWhileSlotsComeAndGo(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	policies := []Policy{byName("a.example"), byName("a.example", "b.example"), only(internetIP), allow}
	var work sync.WaitGroup
	for i := range 6 {
		s := w.acquire(n, policies[0])
		stop := make(chan struct{})
		var binders sync.WaitGroup
		for _, name := range []string{"a.example", "b.example"} {
			binders.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					a := netip.AddrFrom4([4]byte{30, byte(i), byte(k), name[0]})
					if err := n.naming.Bind(s.GuestIP, name, []netip.Addr{a}, time.Duration(k%3)*time.Second); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		work.Go(func() {
			for k := range 40 {
				if err := n.SetPolicy(t.Context(), s.ID, policies[k%len(policies)]); err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				if err := n.Release(t.Context(), s.ID); err != nil {
					t.Error(err)
				}
			} else if err := n.SetPolicy(t.Context(), s.ID, policies[1]); err != nil {
				t.Error(err)
			}
			close(stop)
			binders.Wait()
		})
	}
	work.Wait()
	slots, err := n.Leased()
	if err != nil || len(slots) != 3 {
		t.Fatalf("%v, %v", slots, err)
	}
	eventually(t, "all expire", func() bool {
		left, err := n.rules.recoverBound()
		return err == nil && len(left) == 0
	})
	if lost, err := n.rules.settle(false); lost || err != nil {
		t.Errorf("the rules are not what they should be: %v", err)
	}
}
