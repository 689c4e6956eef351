package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/rundlet/rundlet/network/refused"
)

// attempts are those of a slot, by protocol and destination.
func attempts(t *testing.T, n *Network, s Slot) map[string]refused.Attempt {
	t.Helper()
	list, err := n.Refused(s.ID, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]refused.Attempt{}
	for _, a := range list {
		out[a.Proto+" "+a.To.String()] = a
	}
	return out
}

// awaitRefusal refuses a slot something until it is recorded: a packet that comes before the daemon listens is not
// seen, and reports come once a second.
func awaitRefusal(t *testing.T, n *Network, s Slot, addr string, send func()) {
	t.Helper()
	again := time.NewTicker(reportsTake)
	defer again.Stop()
	for range 20 {
		send()
		<-again.C
		for _, a := range attempts(t, n, s) {
			if a.To.String() == addr {
				return
			}
		}
	}
	t.Fatalf("never: %s is recorded", addr)
}

// reportsTake is longer than the kernel collects reports for.
const reportsTake = 1500 * time.Millisecond

func TestWhatASlotIsRefusedIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	limited, other := w.acquire(n, only(internetIP)), w.acquire(n, deny)
	guest := w.guest(limited)
	begin := time.Now()
	awaitRefusal(t, n, limited, internetIP2+":80", func() { reach(guest, "tcp", internetIP2+":80") })
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, internetIP+":80"); err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{internetIP2 + ":99", deniedIPs[3] + ":80"} {
			if err := reach(guest, network, a); !errors.Is(err, refusal(network)) {
				t.Fatalf("%s %s: %v", network, a, err)
			}
		}
	}
	eventually(t, "all are recorded", func() bool { return len(attempts(t, n, limited)) == 5 })
	got := attempts(t, n, limited)
	for _, want := range []string{"tcp " + internetIP2 + ":99", "udp " + internetIP2 + ":99", "tcp " + deniedIPs[3] + ":80", "udp " + deniedIPs[3] + ":80"} {
		a := got[want]
		if a.Count < 1 || a.First.Before(begin) || a.Last.After(time.Now()) || a.Last.Before(a.First) {
			t.Errorf("%s: %+v", want, a)
		}
	}
	if n.Refusals().Load() < 5 {
		t.Errorf("%d packets were counted", n.Refusals().Load())
	}
	if of := attempts(t, n, other); len(of) > 0 {
		t.Errorf("the other slot has %v", of)
	}
	if err := n.Release(context.Background(), limited.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Refused(limited.ID, time.Time{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a slot that is gone: %v", err)
	}
}

// A slot that sends as fast as it can takes the answers to refusals from no other.
func TestAFloodTakesNoAnswersFromOthers(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	flooding, other := w.acquire(n, deny), w.guest(w.acquire(n, deny))
	flood := w.listenUDP(w.guest(flooding), ":0")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(internetIP + ":99"))
	for range 5 {
		for range 2000 {
			flood.WriteTo([]byte("x"), to) // An answer to the last one may be the error.
		}
		if err := reachWithin(silence, other, "udp", internetIP2+":99"); !errors.Is(err, refusal("udp")) {
			t.Fatalf("the other's packet: %v", err)
		}
	}
}

// A slot that sends as fast as it can costs the daemon a bounded number of reports, and hides no other's refusals.
func TestAFloodOfRefusedPacketsIsBounded(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	flooding, other := w.acquire(n, deny), w.acquire(n, deny)
	flood := w.listenUDP(w.guest(flooding), ":0")
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(internetIP + ":99"))
	begin, sent := time.Now(), 0
	quiet := w.listenUDP(w.guest(other), ":0")
	pour := func() {
		for range 1000 {
			if _, err := flood.WriteTo([]byte("x"), to); err == nil {
				sent++
			}
		}
	}
	awaitRefusal(t, n, other, internetIP2+":99", func() {
		pour()
		quiet.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(internetIP2+":99")))
	})
	awaitRefusal(t, n, flooding, to.String(), pour)
	seconds := int(time.Since(begin)/time.Second) + 1
	most := refused.Burst + refused.Rate*(seconds+2)
	if got := attempts(t, n, flooding)["udp "+internetIP+":99"].Count; got < 1 || got > most {
		t.Errorf("%d of %d packets were reported in %d s, at most %d are", got, sent, seconds, most)
	}
}

// A kernel that cannot report what is refused refuses all the same.
func TestAKernelThatReportsNothingRefuses(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	w.alone(n)
	rules := n.rules.enforcer.(*nftRules)
	var told []error
	rules.mu.Lock()
	rules.guard.Want, rules.cannot = "", func(err error) { told = append(told, err) }
	rules.log = []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCtTimeout), Name: "nosuch"}} // As an expression that is not there: ENOENT.
	err := rules.rewrite()
	rules.mu.Unlock()
	if err != nil || len(told) != 1 || rules.log != nil {
		t.Fatalf("%v, told %v", err, told)
	}
	guest := w.guest(w.acquire(n, only(internetIP)))
	if err := reach(guest, "tcp", internetIP+":80"); err != nil {
		t.Error(err)
	}
	if err := reach(guest, "udp", internetIP2+":80"); !errors.Is(err, refusal("udp")) {
		t.Errorf("what is not allowed: %v", err)
	}
	if lost, err := rules.settle(false); lost || err != nil {
		t.Errorf("lost %v, %v", lost, err)
	}
}
