package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go4.org/netipx"

	"github.com/rundlet/rundlet/network/namespace"
)

// only is a policy of ranges, as "1.1.1.1-1.1.1.9" or one address.
func only(ranges ...string) Policy {
	p := Policy{AllowInternet: true}
	for _, text := range ranges {
		if a, err := netip.ParseAddr(text); err == nil {
			p.Only = append(p.Only, netipx.IPRangeFrom(a, a))
			continue
		}
		p.Only = append(p.Only, netipx.MustParseIPRange(text))
	}
	return p
}

const below, above = "0.0.0.0-198.51.100.6", "198.51.100.8-255.255.255.255"

// Each policy is tried with what it permits beside what it does not.
func TestALimitedPolicyIsWhatItSays(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 53)
	n := w.open(w.config())
	for _, c := range []struct {
		name    string
		policy  Policy
		yes, no []string
		dns     bool // The name server, which has a private address.
	}{
		{"one address", only(internetIP), []string{internetIP}, []string{internetIP2, resolverIP}, false},
		{"two", only(internetIP2, internetIP), []string{internetIP, internetIP2}, []string{resolverIP}, false},
		{"a range", only("198.51.100.0-198.51.100.255"), []string{internetIP}, []string{internetIP2, resolverIP}, false},
		{"all but one", only(below, above), []string{internetIP2}, []string{internetIP}, true},
		{"the name server alone", only(resolverIP), nil, []string{internetIP, internetIP2}, true},
		{"private addresses", only("0.0.0.0-255.255.255.255"), []string{internetIP, internetIP2}, deniedIPs[:2], true}, // The kernel bounds how many errors it sends to one guest.
	} {
		guest := w.guest(w.acquire(n, c.policy))
		for _, network := range []string{"tcp", "udp"} {
			for _, a := range c.yes {
				if err := reach(guest, network, a+":80"); err != nil {
					t.Errorf("%s: %s %s: %v", c.name, network, a, err)
				}
			}
			for _, a := range append([]string{hostIP, hostPrivate}, c.no...) {
				if err := reach(guest, network, a+":80"); !errors.Is(err, refusal(network)) {
					t.Errorf("%s: %s %s: %v, want an immediate %v", c.name, network, a, err, refusal(network))
				}
			}
			if err := reach(guest, network, resolverIP+":53"); (err == nil) != c.dns || err != nil && !errors.Is(err, refusal(network)) {
				t.Errorf("%s: the name server by %s: %v", c.name, network, err)
			}
		}
	}
}

// What the operator denies no policy opens, and what is denied anyway may be named, too.
func TestTheOperatorsDenialsWin(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 53)
	cfg := w.config()
	cfg.Denied = []netip.Prefix{netip.MustParsePrefix(internetIP + "/30"), netip.MustParsePrefix("10.0.0.0/9"), netip.MustParsePrefix("9.9.8.0/24")}
	n := w.open(cfg)
	for name, p := range map[string]Policy{"everything": allow, "a list": only(internetIP2, internetIP)} {
		s := w.acquire(n, p)
		guest := w.guest(s)
		if err := reach(guest, "tcp", internetIP2+":80"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, network := range []string{"tcp", "udp"} {
			if err := reach(guest, network, internetIP+":80"); !errors.Is(err, refusal(network)) {
				t.Errorf("%s: %s: %v", name, network, err)
			}
		}
		// The host refuses it, too, but only the router reports it.
		awaitRefusal(t, n, s, internetIP+":80", func() { reach(guest, "tcp", internetIP+":80") })
	}
	cfg.RunDir = t.TempDir()
	cfg.Denied = []netip.Prefix{netip.MustParsePrefix("::ffff:1.0.0.0/104")}
	if _, err := Open(context.Background(), cfg); !errors.Is(err, ErrInvalid) {
		t.Errorf("a network of mapped addresses: %v", err)
	}
}

func TestBadRangesAreRefused(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	for name, p := range map[string]Policy{
		"zero": {AllowInternet: true, Only: []netipx.IPRange{{}}}, "mapped": only("::ffff:1.1.1.1"), "twice": only(internetIP, internetIP),
		"in another order": only(internetIP, internetIP2), "overlapping": only("1.0.0.0-1.0.0.9", "1.0.0.9-1.0.0.10"),
	} {
		if err := n.SetPolicy(context.Background(), s.ID, p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := n.Acquire(context.Background(), p); !errors.Is(err, ErrInvalid) {
			t.Errorf("acquire %s: %v", name, err)
		}
	}
}

// flow is an open connection; ask sends a byte, and waits for it to come back.
type flow struct{ net.Conn }

func (f flow) ask(wait time.Duration) error {
	f.SetDeadline(time.Now().Add(wait))
	if _, err := f.Write([]byte("x")); err != nil {
		return err
	}
	_, err := f.Read(make([]byte, 1))
	return err
}

// keepAsking asks until stop is closed, with a rest before each question, or until an answer is missing. asked is called once: after the first
// answer, or at the end without one.
func (f flow) keepAsking(rest time.Duration, stop <-chan struct{}, asked func()) error {
	defer f.Close()
	first := sync.OnceFunc(asked)
	defer first()
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(rest):
		}
		if err := f.ask(reachTime); err != nil {
			return err
		}
		first()
	}
}

func openFlow(t testing.TB, guest *os.File, addr string) flow {
	t.Helper()
	c, err := dial(guest, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return flow{c}
}

// Flows that both policies allow are asked thirty times a second while policies of all kinds follow each other. A packet
// that is refused in between would come again after 200 ms at least.
func TestAllowedFlowsDoNotNoticeChanges(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	// The share of a slot is 256 flows, or more on a large host.
	const slots, flowsOfEach, changes = 4, 250, 100
	// A thousand flows without a rest take both processors from the changes that they should meet.
	const rest = 30 * time.Millisecond
	stop, ended := make(chan struct{}), make(chan error, slots*flowsOfEach)
	var list []Slot
	var started sync.WaitGroup
	for i := range slots {
		first := only(internetIP)
		if i%2 == 1 { // These began by a name.
			first = byName("a.example")
		}
		s := w.acquire(n, first)
		guest := w.guest(s)
		if i%2 == 1 {
			lookUp(t, guest, "udp", resolverIP+":53", "a.example")
		}
		list = append(list, s)
		for range flowsOfEach {
			f := openFlow(t, guest, internetIP+":8081")
			started.Add(1)
			go func() { ended <- f.keepAsking(rest, stop, started.Done) }()
		}
	}
	started.Wait()
	refused := refusals(t, n)
	before := refused()
	named := func(ranges []string, patterns ...string) Policy {
		p := only(ranges...)
		p.Names = patterns
		return p
	}
	policies := [][]Policy{
		{allow, only("198.51.100.0-198.51.100.255"), only("0.0.0.0-9.9.9.8", "198.51.100.7-255.255.255.255"), only(internetIP), only(internetIP2, internetIP), named([]string{internetIP}, "b.example"), with(allow, secretOfA)},
		{byName("a.example"), byName("*.example"), byName("*"), named([]string{internetIP2}, "a.example", "b.example"), with(byName("a.example"), secretOfA)},
	}
	for i := range changes {
		for k, s := range list {
			if err := n.SetPolicy(context.Background(), s.ID, policies[k%2][i%len(policies[k%2])]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := refused(); got != before {
		t.Errorf("%d packets of allowed flows were refused", got-before)
	}
	close(stop)
	for range slots * flowsOfEach {
		if err := <-ended; err != nil {
			t.Errorf("a flow that stays allowed: %v", err)
		}
	}
}

// refusals counts the packets that the router has sent to where refused ones go: nothing permitted them.
func refusals(t *testing.T, n *Network) func() uint64 {
	t.Helper()
	return func() uint64 {
		t.Helper()
		link, err := n.router.links.LinkByName(refusedLink)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().Statistics.TxPackets + link.Attrs().Statistics.TxDropped - groupReports(t, n)
	}
}

// groupReports is how many packets the kernel of the router itself has sent there, some time after the link came up: it says
// which multicast groups of IPv6 it is in. The link drops them, so they do not count as reports sent.
func groupReports(t *testing.T, n *Network) (count uint64) {
	t.Helper()
	err := namespace.In(n.router.ns, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/dev_snmp6/" + refusedLink)
		for line := range strings.Lines(string(text)) {
			if _, scanned := fmt.Sscanf(line, "Ip6OutMcastPkts %d", &count); scanned == nil {
				break
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // A kernel without IPv6.
		t.Fatal(err)
	}
	return count
}

// A flow that loses its permission ends in both directions, and others stay.
func TestAFlowThatIsNotAllowedAnyMoreIsCut(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	s := w.acquire(n, only(internetIP2, internetIP))
	guest := w.guest(s)
	kept, cut := openFlow(t, guest, internetIP+":80"), openFlow(t, guest, internetIP2+":80")
	server := w.listenUDP(w.outer, internetIP2+":99")
	client := w.listenUDP(guest, s.GuestIP.String()+":0")
	client.WriteTo([]byte("x"), server.LocalAddr())
	server.SetDeadline(time.Now().Add(reachTime))
	buf := make([]byte, 64)
	_, from, err := server.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []flow{kept, cut} {
		if err := f.ask(reachTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.SetPolicy(context.Background(), s.ID, only(internetIP)); err != nil {
		t.Fatal(err)
	}
	if err := cut.ask(200 * time.Millisecond); err == nil {
		t.Error("an open connection still passes")
	}
	server.WriteTo([]byte("late"), from)
	client.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if k, _, err := client.ReadFrom(buf); err == nil {
		t.Errorf("received %q without permission", buf[:k])
	}
	if err := kept.ask(reachTime); err != nil {
		t.Errorf("the flow that stays allowed: %v", err)
	}
	if err := reach(guest, "tcp", internetIP2+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a new connection: %v", err)
	}
}

func TestALimitedPolicySurvivesARestartAndIsFreed(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	policy := only("9.9.9.9-9.9.9.20", internetIP)
	s := w.acquire(n, only(internetIP))
	if err := n.SetPolicy(context.Background(), s.ID, policy); err != nil { // And so it is in the other bank.
		t.Fatal(err)
	}
	guest := w.guest(s)
	f := openFlow(t, guest, internetIP+":80")
	n.abandon()
	n = w.open(w.config())
	if lost, err := n.Adopt(context.Background(), []string{s.ID}); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if slots, err := n.Leased(); err != nil || len(slots) != 1 || !slots[0].Policy.Equal(policy) {
		t.Errorf("after the restart: %v, %v", slots, err)
	}
	if err := errors.Join(f.ask(reachTime), reach(guest, "tcp", internetIP2+":80")); err != nil {
		t.Error(err)
	}
	if err := reach(guest, "tcp", "198.51.100.8:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("what the policy does not allow: %v", err)
	}
	if err := n.Release(context.Background(), s.ID); err != nil {
		t.Fatal(err)
	}
	rules := n.rules.enforcer.(*nftRules)
	for _, set := range memberSets() {
		if left, err := rules.read(set.Name); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", set.Name, left, err)
		}
	}
	if lost, err := rules.settle(false); lost || err != nil {
		t.Errorf("the rules are not what they should be: %v", err)
	}
}
