package network

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/slash30"
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

// BenchmarkSetRulesWhileRemoving is what a create waits for while 1000 slots are
// being removed, again and again.
func BenchmarkSetRulesWhileRemoving(b *testing.B) {
	n := benchNetwork(b, -1)
	retired := make([]slotRule, 1000)
	ids := make([]string, len(retired))
	for i := range retired {
		retired[i] = slotRule{id: newSlotID(), guest: slash30.Far(n.leases.subnets.At(uint32(i)))}
		ids[i] = retired[i].id
	}
	ctx, stop := context.WithCancel(context.Background())
	var removing sync.WaitGroup
	removing.Go(func() {
		for ctx.Err() == nil {
			for part := range slices.Chunk(retired, freeBatch) {
				if err := n.rules.set(part...); err != nil {
					b.Error(err)
					return
				}
			}
			for part := range slices.Chunk(ids, freeBatch) {
				if err := n.rules.remove(part...); err != nil {
					b.Error(err)
					return
				}
			}
		}
	})
	created := slotRule{guest: slash30.Far(n.leases.subnets.At(2000))}
	var most time.Duration
	for b.Loop() {
		created.id = newSlotID()
		start := time.Now()
		if err := n.rules.set(created); err != nil {
			b.Fatal(err)
		}
		most = max(most, time.Since(start))
		b.StopTimer()
		if err := n.rules.remove(created.id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	stop()
	removing.Wait()
	b.ReportMetric(float64(most.Microseconds()), "max-us")
}

// BenchmarkForget is the pass through the tracked flows, of which there are
// 20000 of others, for one slot and for more.
func BenchmarkForget(b *testing.B) {
	w := newWorld(b)
	n := w.open(w.config())
	err := namespace.In(n.router.ns, func() error {
		for i := range 20000 {
			flow := &netlink.ConntrackFlow{FamilyType: unix.AF_INET, TimeOut: 7440, Forward: netlink.IPTuple{
				SrcIP: net.IPv4(10, 200, 255, 2).To4(), DstIP: net.IPv4(9, byte(i>>8), byte(i), 9).To4(), SrcPort: 4000, DstPort: 80, Protocol: unix.IPPROTO_UDP,
			}}
			flow.Reverse = netlink.IPTuple{
				SrcIP: flow.Forward.DstIP, DstIP: flow.Forward.SrcIP, SrcPort: 80, DstPort: 4000, Protocol: unix.IPPROTO_UDP,
			}
			if err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, flow); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, slots := range []uint32{1, 2} {
		guests := map[netip.Addr]bool{}
		for i := range slots {
			guests[slash30.Far(n.leases.subnets.At(i))] = true
		}
		b.Run(strconv.Itoa(int(slots)), func(b *testing.B) {
			for b.Loop() {
				if err := n.tracking.Forget(guests, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
