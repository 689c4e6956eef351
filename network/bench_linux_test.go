package network

import (
	"context"
	"net/netip"
	"testing"
)

func benchNetwork(b *testing.B, ahead int) *Network {
	w := newWorld(b)
	cfg := w.config()
	cfg.Ahead = ahead
	return w.open(cfg)
}

// BenchmarkAcquireInline is a whole slot: made when asked for, and destroyed.
func BenchmarkAcquireInline(b *testing.B) {
	n := benchNetwork(b, -1)
	for b.Loop() {
		s, err := n.Acquire(context.Background(), deny)
		if err != nil {
			b.Fatal(err)
		}
		if err := n.Release(context.Background(), s.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAcquireReady is what a sandbox waits for: a slot of the pool, with
// the policy that it has already and with the other one.
func BenchmarkAcquireReady(b *testing.B) {
	for name, p := range map[string]Policy{"deny": deny, "allow": allow} {
		b.Run(name, func(b *testing.B) {
			n := benchNetwork(b, 4)
			for b.Loop() {
				b.StopTimer()
				waitReady(b, n, 4)
				b.StartTimer()
				s, err := n.Acquire(context.Background(), p)
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				if err := n.Release(context.Background(), s.ID); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkRelease(b *testing.B) {
	n := benchNetwork(b, -1)
	for b.Loop() {
		b.StopTimer()
		s, err := n.Acquire(context.Background(), deny)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := n.Release(context.Background(), s.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetPolicy(b *testing.B) {
	n := benchNetwork(b, -1)
	s, err := n.Acquire(context.Background(), allow)
	if err != nil {
		b.Fatal(err)
	}
	p := deny
	for b.Loop() {
		if err := n.SetPolicy(context.Background(), s.ID, p); err != nil {
			b.Fatal(err)
		}
		p.AllowInternet = !p.AllowInternet
	}
}

// BenchmarkDial is dial, one read, close.
func BenchmarkDial(b *testing.B) {
	w := newWorld(b)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	w.serve(w.guest(s), 49983)
	addr := netip.AddrPortFrom(s.GuestIP, 49983)
	buf := make([]byte, 5)
	for b.Loop() {
		c, err := n.DialContext(context.Background(), addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
