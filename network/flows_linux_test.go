package network

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/shares"
)

// share replaces the shares in force by smaller ones.
func (w *world) share(n *Network, s shares.Shares) {
	w.t.Helper()
	r := n.rules.enforcer.(*nftRules)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shares = func() (shares.Shares, error) { return s, nil }
	if err := r.write(slices.Collect(maps.Values(r.have))); err != nil {
		w.t.Fatal(err)
	}
}

func TestASlotHasAShareOfFlows(t *testing.T) {
	const most = 20
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	of := shares.Shares{Slot: most, Bucket: 1000, PerSecond: 1000, Burst: 1000}
	w.share(n, of)
	s, neighbour := w.acquire(n, allow), w.acquire(n, allow)
	guest := w.guest(s)
	w.serve(guest, 49983)
	var open []net.Conn
	for range most {
		open = append(open, w.openTCP(guest, 80))
	}
	for range 3 {
		for _, network := range []string{"tcp", "udp"} {
			if err := reach(guest, network, internetIP+":80"); !errors.Is(err, refusal(network)) {
				t.Errorf("a new %s flow over the share: %v, want an immediate %v", network, err, refusal(network))
			}
		}
	}
	if k := w.trackedTo(n.router.ns, s.GuestIP, 80); k != most {
		t.Errorf("%d flows are tracked, want %d", k, most)
	}
	for i, c := range open {
		if err := echoes(c); err != nil {
			t.Fatalf("connection %d, which was open: %v", i, err)
		}
	}
	if err := reach(w.guest(neighbour), "tcp", internetIP+":80"); err != nil {
		t.Errorf("a neighbour: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), reachTime)
	defer cancel()
	c, err := n.DialContext(ctx, netip.AddrPortFrom(s.GuestIP, 49983))
	if err != nil {
		t.Fatalf("the daemon: %v", err)
	}
	c.Close()
	// The count outlives the daemon: the next one leaves the table as it is.
	w.share(n, of)
	if err := reach(guest, "tcp", internetIP+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("when the rules are written again: %v, want an immediate EHOSTUNREACH", err)
	}
	// What is closed makes room.
	open[0].Close()
	deadline := time.Now().Add(time.Minute)
	for {
		err := reach(guest, "tcp", internetIP+":80")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a connection was closed: %v", err)
		}
	}
}

func TestAllSlotsTogetherHaveAShareOfFlows(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	w.share(n, shares.Shares{Slot: 10000, Bucket: 1, PerSecond: 10000, Burst: 10000})
	sent := 0
	for range 3 {
		c := w.listenUDP(w.guest(w.acquire(n, allow)), ":0")
		for port := range 2 * shares.Buckets {
			c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(internetIP), Port: 1000 + port})
			sent++
		}
	}
	if k := len(w.tracked(n.router.ns)); k > shares.Buckets || k < shares.Buckets/2 {
		t.Errorf("of %d flows %d are tracked, want at most %d", sent, k, shares.Buckets)
	}
}

func TestASlotHasARateOfNewFlows(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	w.share(n, shares.Shares{Slot: 1000, Bucket: 1000, PerSecond: 1, Burst: 10})
	s := w.acquire(n, allow)
	guest := w.guest(s)
	kept := w.openTCP(guest, 80)
	deadline := time.Now().Add(time.Minute)
	for {
		c, err := dial(guest, "tcp", internetIP+":80")
		if errors.Is(err, syscall.EHOSTUNREACH) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		w.closeBoth(c) // It is not counted any more.
		if time.Now().After(deadline) {
			t.Fatal("connections are opened and closed without end")
		}
	}
	if err := echoes(kept); err != nil {
		t.Errorf("a connection that was open: %v", err)
	}
	if err := reach(w.guest(w.acquire(n, allow)), "tcp", internetIP+":80"); err != nil {
		t.Errorf("a neighbour: %v", err)
	}
}

func TestTheDaemonsConnectionsAreNotTracked(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	w.serve(w.guest(s), 49983)
	ctx, cancel := context.WithTimeout(context.Background(), reachTime)
	defer cancel()
	c, err := n.DialContext(ctx, netip.AddrPortFrom(s.GuestIP, 49983))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(echoes(c), n.CheckSelf(context.Background())); err != nil {
		t.Error(err)
	}
	if got := w.tracked(n.router.ns); len(got) != 0 {
		t.Errorf("tracked: %v", got)
	}
}

func TestSilentFlowsAreForgottenSooner(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	c := w.openTCP(w.guest(w.acquire(n, allow)), 80)
	both := map[string]*os.File{"router": n.router.ns, "host": w.host}
	forgottenAfter := func(name string) time.Duration {
		t.Helper()
		var flows []*netlink.ConntrackFlow
		w.in(both[name], func() (err error) {
			flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			return err
		})
		if len(flows) != 1 {
			t.Fatalf("the %s tracks %d flows, want 1", name, len(flows))
		}
		return time.Duration(flows[0].TimeOut) * time.Second
	}
	for name := range both {
		if got := forgottenAfter(name); got > shares.EstablishedTime || got < shares.EstablishedTime/2 {
			t.Errorf("the %s forgets a silent connection after %v, want %v", name, got, shares.EstablishedTime)
		}
	}
	w.closeBoth(c)
	for name := range both {
		eventually(t, "the "+name+" forgets a closed connection soon", func() bool { return forgottenAfter(name) <= shares.ClosingTime })
	}
}

// closeBoth closes a connection to a server of the world, which then does so too.
func (w *world) closeBoth(c net.Conn) {
	w.t.Helper()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		w.t.Fatal(err)
	}
	c.Close()
}

// What is lost of the table of shares is not taken for what it should be because
// the other table of the router is lost, and written again, at the same time.
func TestALossOfBothTablesOfTheRouterIsRepaired(t *testing.T) {
	w := newWorld(t)
	n, rules := w.quiet()
	if lost, err := rules.settle(true); lost || err != nil {
		t.Fatalf("lost %v, %v", lost, err)
	}
	want := rules.flows.Want
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
		for table, chain := range map[string]string{routerTable: "permit", rules.flows.Table: "new"} {
			conn.FlushChain(&nftables.Chain{Name: chain, Table: &nftables.Table{Family: nftables.TableFamilyINet, Name: table}})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	shares := nft.Guarded{NS: n.router.ns, Table: rules.flows.Table}
	defer shares.Close()
	if err := shares.Take(); err != nil || shares.Want == want {
		t.Fatalf("nothing is lost, %v: the test shows nothing", err)
	}
	broken := shares.Want
	if lost, err := rules.settle(true); !lost || err != nil {
		t.Fatalf("lost %v, %v", lost, err)
	}
	if err := shares.Take(); err != nil || shares.Want == broken {
		t.Errorf("the table of shares is still broken, %v", err)
	}
	if lost, err := rules.settle(true); lost || err != nil {
		t.Errorf("afterwards: lost %v, %v", lost, err)
	}
}

func TestALostShareOfFlowsIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	n := w.openHealing()
	name := n.sharesTable()
	w.dropTable(n.router.ns, name)
	eventually(t, "the table of shares is there again", func() bool {
		table := nft.Guarded{NS: n.router.ns, Table: name}
		defer table.Close()
		if err := table.Take(); err != nil {
			t.Fatal(err)
		}
		r := n.rules.enforcer.(*nftRules)
		r.mu.Lock()
		defer r.mu.Unlock()
		return n.repaired() > 0 && table.Want == r.flows.Want
	})
}
