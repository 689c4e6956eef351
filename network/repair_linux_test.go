package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/changes"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/slash30"
)

// healing is a network that reports repairs, and not as errors.
type healing struct {
	*Network
	mu   sync.Mutex
	told []Repair
}

func (w *world) openHealing() *healing {
	h := &healing{}
	was := self
	self = -1 // The test is another program.
	w.t.Cleanup(func() { self = was })
	cfg := w.config()
	cfg.OnRepair = func(r Repair) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told = append(h.told, r)
	}
	h.Network = w.open(cfg)
	return h
}

func (h *healing) repaired() (sum uint64) {
	for _, k := range h.Repairs() {
		sum += k
	}
	return sum
}

// calm forgets that there were repairs just now, as time would.
func (h *healing) calm() {
	h.repairs.mu.Lock()
	defer h.repairs.mu.Unlock()
	h.repairs.pause = 0
}

// eventually waits for what has to become true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for deadline := time.After(time.Minute); !is(); {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestWhatIsLostIsRepairedAndOpensNothingMeanwhile(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"a.example": {internetIP}, "a.example.com": {internetIP}})
	n := w.openHealing()
	s, other := w.acquire(n.Network, allow), w.acquire(n.Network, deny)
	// Two with limits, one in each bank.
	limited, moved := w.acquire(n.Network, only(internetIP, internet6)), w.acquire(n.Network, only(internetIP2))
	if err := n.SetPolicy(context.Background(), moved.ID, only(internetIP, internet6)); err != nil {
		t.Fatal(err)
	}
	shut, reshut := w.acquireOnPort(n.Network, 9) // And two that reach less on the port of the probes.
	// And two with a name.
	named, changed := w.acquire(n.Network, byName("a.example:8081", "a.example:443")), w.acquire(n.Network, byName("a.example", "b.example"))
	if err := n.SetPolicy(context.Background(), changed.ID, byName("a.example")); err != nil {
		t.Fatal(err)
	}
	// And one whose requests get headers.
	rewritten := w.acquire(n.Network, with(only(internetIP), secretOfA))
	// And one whose connections go through a proxy.
	w.proxies(internetIP2)
	tunneled := w.acquire(n.Network, through(only(internetIP), internetIP2))
	guests := map[string]*os.File{
		"with a proxy":  w.guest(tunneled),
		"with headers":  w.guest(rewritten),
		"with internet": w.guest(s), "with limits": w.guest(limited), "with other limits": w.guest(moved),
		"with a port": w.guest(shut), "with another port": w.guest(reshut),
		"with a name": w.guest(named), "with another name": w.guest(changed),
	}
	works := func(name string, guest *os.File) error {
		if strings.HasSuffix(name, "name") {
			lookUp(t, guest, "tcp", resolverIP+":53", "a.example") // Its address expires.
			if !gets(guest, internetIP2, "a.example", true) {
				return errors.New("no TLS by its name")
			}
		}
		if name == "with headers" {
			if got, err := get(guest, internetIP, "a.example.com", true); got != "a.example.com+secret" {
				return fmt.Errorf("a request gets %q, %w", got, err)
			}
		}
		return reach(guest, "tcp", internetIP+":8081")
	}
	for name, guest := range guests {
		if err := works(name, guest); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	p, targets := w.newProbes(n.Network, other)
	p.start(targets, s, other, limited, moved, named, changed, tunneled)
	p.start([]string{internetIP2}, named, changed, shut, reshut)
	p.startNames(internetIP, named, changed)
	var longest time.Duration
	for _, l := range losses(t, w, n.Network, s) {
		before := n.repaired()
		n.calm()
		began := time.Now()
		if err := l.cause(); err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		eventually(t, l.name+": it is noticed", func() bool { return n.repaired() > before })
		noticed := time.Since(began)
		eventually(t, l.name+": it is whole", func() bool {
			n.watcher.mu.Lock()
			defer n.watcher.mu.Unlock()
			lost, err := n.watcher.settle(changes.Depth{Host: true, Router: true}, false)
			return lost == nil && err == nil
		})
		for name, guest := range guests {
			if err := works(name, guest); err != nil {
				t.Errorf("%s: no internet afterwards %s: %v", l.name, name, err)
			}
		}
		took := time.Since(began)
		longest = max(longest, took)
		t.Logf("%-45s noticed and repaired after %v, internet after %v", l.name, noticed.Round(time.Millisecond), took.Round(time.Millisecond))
		p.check(t, l.name)
		z.check(t, l.name)
		if t.Failed() {
			break
		}
	}
	p.end()
	t.Logf("%d probes sent, longest %v, repairs %v", p.sent.Load(), longest, n.Repairs())
	if t.Failed() {
		return
	}
	n.leases.mu.Lock()
	if !slices.ContainsFunc(n.told, func(r Repair) bool { return slices.Equal(r.Lost, []string{LostHostRules}) && r.By != "" }) {
		t.Errorf("the program that flushed the rules is not reported: %+v", n.told)
	}
	n.leases.mu.Unlock()
	// The probes can fail: without filter and routing they arrive.
	w.alone(n.Network)
	w.dropTable(n.router.ns, routerTable)
	w.dropTable(w.host, n.uplink.table())
	w.openRouting(n.Network)
	if err := namespace.In(w.host, func() error { return namespace.WriteSysctl("ipv4/conf/"+n.uplink.name()+"/rp_filter", "0") }); err != nil {
		t.Fatal(err)
	}
	p.start(targets, s)
	eventually(t, "probes arrive where nothing is closed", func() bool {
		return p.arrivals("udp to "+other.GuestIP.String()) > 0 && p.arrivals("udp to "+slash30.Near(n.uplinkSubnet(t)).String()) > 0 && p.unmasked.Load() > 0
	})
	p.end()
	if _, err := n.watcher.settle(changes.Depth{Host: true, Router: true}, true); err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatTheHostGetsIsRefusedByTheRouter(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.openHealing()
	guest := w.guest(w.acquire(n.Network, allow))
	const fresh = "45.45.45.45"
	w.in(w.host, func() error { return up("eth0", fresh+"/32") })
	w.serve(w.host, 80)
	eventually(t, "the router knows the address", func() bool {
		n.watcher.mu.Lock()
		defer n.watcher.mu.Unlock()
		return slices.Contains(n.rules.enforcer.(*nftRules).own, netip.MustParsePrefix(fresh+"/32"))
	})
	w.alone(n.Network)
	// The host's own rules have no part in it: the guest is refused at once.
	w.dropTable(w.host, n.uplink.table())
	if err := reach(guest, "tcp", fresh+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("the host's new address: %v, want an immediate EHOSTUNREACH", err)
	}
	if n.repaired() != 0 {
		t.Errorf("a new address counts as a loss: %v", n.Repairs())
	}
}

func TestOpenConnectionsOutliveARepair(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.openHealing()
	s := w.acquire(n.Network, allow)
	guest := w.guest(s)
	w.serve(guest, 49983)
	out, err := dial(guest, "tcp", internetIP+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := n.DialContext(context.Background(), netip.AddrPortFrom(s.GuestIP, 49983))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []*os.File{w.host, n.router.ns} {
		before := n.repaired()
		n.calm()
		if err := filterOf(ns, func(conn *nftables.Conn) error { conn.FlushRuleset(); return nil }); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is repaired", func() bool { return n.repaired() > before })
		for name, c := range map[string]net.Conn{"to the internet": out, "to the guest": in} {
			c.SetDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 4)
			if _, err := c.Write([]byte("ping")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := c.Read(buf); err != nil || string(buf) != "ping" {
				t.Errorf("%s: %q, %v", name, buf, err)
			}
		}
	}
}

// Neither acquiring nor releasing a slot waits for the watch.
func TestSlotsAreMadeAndFreedWhileTheRulesAreLost(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.openHealing()
	first := w.acquire(n.Network, allow)
	w.alone(n.Network)
	w.dropTable(n.router.ns, routerTable)
	second := w.acquire(n.Network, allow)
	for _, s := range []Slot{first, second} {
		if err := reach(w.guest(s), "tcp", internetIP+":80"); err != nil {
			t.Errorf("%s: %v", s.ID, err)
		}
	}
	w.dropTable(n.router.ns, routerTable)
	if err := n.Release(context.Background(), first.ID); err != nil {
		t.Error(err)
	}
	if got := counts(t, n.Network); got != (Counts{Leased: 1, Namespaces: 1, Links: 1, Rules: 1}) {
		t.Errorf("%+v", got)
	}
	if got := n.Repairs()[LostRouterRules]; got != 2 {
		t.Errorf("%d repairs are counted, want 2", got)
	}
}

func TestALostLinkOfASlotIsReportedAndReplacedInThePool(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Ahead = 1
	n := w.open(cfg)
	leased := w.acquire(n, deny)
	waitReady(t, n, 1)
	n.leases.mu.Lock()
	ready := n.leases.ready[0].id
	n.leases.mu.Unlock()
	for _, id := range []string{leased.ID, ready} {
		if err := links.Delete(n.router.links, id); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are counted", func() bool { return n.Repairs()[LostSlotLink] >= 1 && n.isCut(leased.ID) })
	eventually(t, "another slot is ready", func() bool {
		n.leases.mu.Lock()
		defer n.leases.mu.Unlock()
		return len(n.leases.ready) == 1 && n.leases.ready[0].id != ready
	})
	if n.Broken() != nil {
		t.Errorf("broken for good: %v", n.Broken())
	}
}

func (n *Network) isCut(id string) bool {
	n.leases.mu.Lock()
	defer n.leases.mu.Unlock()
	return n.leases.slots[id].cut
}

func TestRepairsThatAreUndonePauseLonger(t *testing.T) {
	var r repairs
	now := time.Unix(1000, 0)
	lost := []string{LostHostRules}
	repaired, told := 0, 0
	for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(10 * time.Millisecond) {
		mend := r.wait(now) <= 0
		if mend {
			repaired++
		}
		if report, due := r.note(now, lost, mend, nil); due {
			if told++; (report.Next > 0) != (told > 1) {
				t.Errorf("report %d: %+v", told, report)
			}
		}
	}
	if most := int(10 * time.Minute / mostPause); repaired < most || repaired > most+10 {
		t.Errorf("%d repairs in ten minutes of a fight", repaired)
	}
	if told != 2 {
		t.Errorf("%d reports, want one of the loss and one of the fight", told)
	}
	// What happens once in ten seconds is repaired at once, each time.
	for range 30 {
		now = now.Add(2*mostPause + firstPause)
		if r.wait(now) > 0 {
			t.Fatal("a loss that comes late waits")
		}
		r.note(now, lost, true, nil)
	}
	for range 30 {
		now = now.Add(10 * time.Second)
		if r.wait(now) > 0 {
			t.Fatal("a loss every ten seconds waits")
		}
		if _, due := r.note(now, lost, true, nil); !due {
			t.Fatal("it is not reported")
		}
	}
	if r.counts[LostHostRules] != uint64(repaired+60) {
		t.Errorf("counted %v", r.counts)
	}
}
