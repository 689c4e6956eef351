package network

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/internal/gate"
)

func TestPoolRefills(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Ahead, cfg.Default = 3, allow
	n := w.open(cfg)
	w.serve(w.outer, 80)
	waitReady(t, n, 3)
	seen := map[netip.Addr]bool{}
	for range 10 {
		s := w.acquire(n, allow)
		if seen[s.GuestIP] {
			t.Fatalf("address %v given twice", s.GuestIP)
		}
		seen[s.GuestIP] = true
	}
	waitReady(t, n, 3)
	if err := reach(w.guest(w.acquire(n, allow)), "tcp", internetIP+":80"); err != nil {
		t.Error(err)
	}
	if err := reach(w.guest(w.acquire(n, deny)), "tcp", internetIP+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("pool slot with another policy: %v", err)
	}
}

// waitReady waits for the refiller, which has no other sign than its work.
func waitReady(t testing.TB, n *Network, want int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		n.leases.mu.Lock()
		got := len(n.leases.ready)
		n.leases.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d slots ready, want %d", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

// failingRules is an enforcer that fails a given number of times.
type failingRules struct {
	enforcer
	mu       sync.Mutex
	failures int
}

var errInjected = errors.New("injected")

func (f *failingRules) set(rules ...slotRule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failures > 0 {
		f.failures--
		return errInjected
	}
	return f.enforcer.set(rules...)
}

func TestFailureLeavesNothing(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	rules := &failingRules{enforcer: n.rules.enforcer, failures: 1}
	n.watcher.mu.Lock() // It is used in the background, too.
	n.rules.enforcer = rules
	n.watcher.mu.Unlock()
	if _, err := n.Acquire(context.Background(), deny); !errors.Is(err, errInjected) {
		t.Fatalf("%v, want the injected error", err)
	}
	if got := counts(t, n); got != (Counts{}) {
		t.Errorf("left: %+v", got)
	}
	s := w.acquire(n, deny)
	rules.mu.Lock()
	rules.failures = 1
	rules.mu.Unlock()
	if err := n.SetPolicy(context.Background(), s.ID, allow); !errors.Is(err, errInjected) {
		t.Errorf("set policy: %v", err)
	}
	if err := reach(w.guest(s), "tcp", internetIP+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("after a failed change the old policy is not in force: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := n.Acquire(ctx, deny); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled acquire: %v", err)
	}
	if err := n.Release(ctx, s.ID); err != nil {
		t.Errorf("release with an ended context: %v", err)
	}
	if got := counts(t, n); got != (Counts{}) {
		t.Errorf("left: %+v", got)
	}
}

func TestRefillBacksOffAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, err := Config{RunDir: "/nowhere", Ahead: 1}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var times []time.Duration
		start := time.Now()
		cfg.OnError = func(error) {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(start))
		}
		tries := func() []time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(times)
		}
		p := newPool(cfg, &gate.Gate{}, newLeases(cfg.Range), nil, nil, nil)
		p.makeSlot = func(Policy, slotState) (*slot, error) { return nil, errInjected }
		ctx, stop := context.WithCancel(t.Context())
		go retries.Repeat(ctx, p.wake, p.refill, cfg.OnError)
		time.Sleep(time.Second)
		synctest.Wait()
		// Pauses of 200 and 400 ms, each a fifth longer or shorter.
		got := tries()
		if len(got) != 3 || got[0] != 0 || got[1] < 160*time.Millisecond || got[1] > 240*time.Millisecond ||
			got[2]-got[1] < 320*time.Millisecond || got[2]-got[1] > 480*time.Millisecond {
			t.Errorf("tries at %v, want one each at 0s, 200ms and 600ms, about", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if k := len(tries()); k < 110 || k > 145 {
			t.Errorf("%d tries in an hour, want one each %v", k, retries.Most)
		}
		stop()
	})
}

func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Ahead = 2
	n := w.open(cfg)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				s, err := n.Acquire(context.Background(), Policy{AllowInternet: i%2 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				if err := n.SetPolicy(context.Background(), s.ID, Policy{AllowInternet: i%2 == 1}); err != nil {
					t.Error(err)
				}
				var again sync.WaitGroup
				for range 2 {
					again.Go(func() {
						if err := n.Release(context.Background(), s.ID); err != nil {
							t.Error(err)
						}
					})
				}
				again.Wait()
			}
		})
	}
	wg.Wait()
	waitReady(t, n, 2)
	if got := counts(t, n); got != (Counts{Ready: 2, Namespaces: 2, Links: 2, Rules: 2}) {
		t.Errorf("after all: %+v", got)
	}
}
