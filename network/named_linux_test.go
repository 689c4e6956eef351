package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Each thing that a name does not open is tried beside one that it opens.
func TestASlotReachesWhatHasItsNames(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{
		"a.example": {internetIP}, "deep.b.example": {internetIP}, "other.example": {internetIP2}, "private.example": {"10.77.0.1", "169.254.169.254"},
		"mixed.example": {"10.77.0.1", internetIP},
	})
	n := w.open(w.config())
	s := w.acquire(n, byName("*.b.example", "a.example", "mixed.example", "private.example"))
	guest := w.guest(s)

	// Until it is looked up, its address is not known.
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, internetIP+":8081"); !errors.Is(err, refusal(network)) {
			t.Errorf("an address without a name by %s: %v", network, err)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, server := range []string{resolverIP, "8.8.8.8", internetIP} { // Whichever it asks, ours answers.
			for name, want := range map[string]string{
				"a.example": "[" + internetIP + "]", "A.Example": "[" + internetIP + "]", "deep.b.example": "[" + internetIP + "]", "mixed.example": "[" + internetIP + "]",
				"private.example": "[]", "b.example": "[]", "other.example": "[]", "secret.other.example": "[]",
			} {
				if got := lookUp(t, guest, network, server+":53", name); fmt.Sprint(got) != want {
					t.Errorf("%s at %s by %s: %v, want %s", name, server, network, got, want)
				}
			}
		}
	}
	if z.wasAsked("other.example") || z.wasAsked("secret.other.example") || !z.wasAsked("a.example") {
		t.Errorf("the name server was asked for %q", z.asked)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, internetIP+":8081"); err != nil {
			t.Errorf("the address of a name by %s: %v", network, err)
		}
		if err := reach(guest, network, internetIP2+":8081"); !errors.Is(err, refusal(network)) {
			t.Errorf("the address of another name by %s: %v", network, err)
		}
	}
	for _, encrypted := range []bool{false, true} {
		for _, c := range []struct {
			addr, host string
			want       bool
		}{
			{internetIP, "a.example", true}, {internetIP, "deep.b.example", true},
			{internetIP2, "a.example", true}, // The gateway dials the name, wherever the guest believes it is.
			{internetIP, "other.example", false}, {internetIP2, "other.example", false}, {internetIP, internetIP, false}, {internetIP, "b.example", false},
		} {
			if got := gets(guest, c.addr, c.host, encrypted); got != c.want {
				t.Errorf("%s at %s, TLS %v: %v", c.host, c.addr, encrypted, got)
			}
		}
		if _, err := get(guest, "169.254.169.254", "a.example", encrypted); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("a private address, TLS %v: %v", encrypted, err)
		}
	}
	list, err := n.Refused(s.ID, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range list {
		seen[a.Proto+" "+a.Name] = true
	}
	for _, want := range []string{"dns other.example", "tcp other.example", "dns private.example"} {
		if !seen[want] {
			t.Errorf("%q is not among what was refused: %v", want, list)
		}
	}
}

// Names beside addresses: both count, and an allowed address is not asked for its name.
func TestASlotReachesNamesAndAddresses(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	p := only(internetIP2)
	p.Names = []string{"a.example"}
	guest := w.guest(w.acquire(n, p))
	if !gets(guest, internetIP, "a.example", true) || !gets(guest, internetIP2, "whatever.example", true) || gets(guest, internetIP, "whatever.example", true) {
		t.Error("names and addresses do not both count")
	}
	if err := reach(guest, "udp", internetIP2+":8081"); err != nil {
		t.Errorf("the allowed address: %v", err)
	}
	if err := reach(guest, "udp", internetIP+":8081"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the address of a name that was not looked up: %v", err)
	}
}

// A name that is taken away ends what it opened, on every port, and nothing else.
func TestANameThatIsTakenAwayEndsItsFlows(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP2}, "c.example": {internetIP2}})
	n := w.open(w.config())
	s := w.acquire(n, byName("a.example", "b.example", "c.example"))
	guest := w.guest(s)
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		lookUp(t, guest, "udp", resolverIP+":53", name)
	}
	flows := map[string]flow{"a.example": openFlow(t, guest, internetIP+":8081"), "b.example": openFlow(t, guest, internetIP2+":8081")}
	web := map[string]*http.Client{}
	for name := range flows {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return rawDial(guest, "tcp", internetIP+":80")
		}}
		t.Cleanup(transport.CloseIdleConnections)
		web[name] = &http.Client{Transport: transport}
	}
	alive := func(name string) error {
		resp, err := web[name].Get("http://" + name + "/")
		if err != nil {
			return err
		}
		resp.Body.Close()
		return flows[name].ask(2 * time.Second)
	}
	for _, c := range []struct {
		what       string
		policy     Policy
		dead, live []string
	}{
		{"nothing changes", byName("a.example", "b.example"), nil, []string{"a.example", "b.example"}}, // c.example has the address, too.
		{"everything is allowed", allow, nil, []string{"a.example", "b.example"}},
		{"one is taken away", byName("a.example"), []string{"b.example"}, []string{"a.example"}},
		{"all are taken away", only("1.1.1.1"), []string{"a.example"}, nil},
	} {
		if err := n.SetPolicy(t.Context(), s.ID, c.policy); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.live {
			if err := alive(name); err != nil {
				t.Errorf("%s: %s: %v", c.what, name, err)
			}
		}
		for _, name := range c.dead {
			if err := flows[name].ask(200 * time.Millisecond); err == nil {
				t.Errorf("%s: the flow to %s still passes", c.what, name)
			}
			if resp, err := web[name].Get("http://" + name + "/"); err == nil {
				resp.Body.Close()
				t.Errorf("%s: %s still answers", c.what, name)
			}
			if err := reach(guest, "tcp", internetIP2+":8081"); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("%s: a new connection: %v", c.what, err)
			}
		}
	}
}

// What a name opened outlives the daemon, and what it opened for a slot is gone with the slot.
func TestNamesSurviveARestart(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP2}})
	n := w.open(w.config())
	p := byName("a.example", "b.example")
	s := w.acquire(n, p)
	guest := w.guest(s)
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	lookUp(t, guest, "udp", resolverIP+":53", "b.example")
	f, g := openFlow(t, guest, internetIP+":8081"), openFlow(t, guest, internetIP2+":8081")
	// A third address has expired, and is not found again.
	if err := n.naming.Bind(s.GuestIP, "b.example", []netip.Addr{netip.MustParseAddr("9.9.9.1")}, time.Hour); err != nil {
		t.Fatal(err)
	}
	old := openFlow(t, guest, "9.9.9.1:8081")
	if err := n.rules.set(slotRule{id: s.ID, guest: s.GuestIP, policy: p, bound: inForce(n, s)[1:]}); err != nil {
		t.Fatal(err)
	}
	n.abandon()
	// Without the daemon nothing new is opened, and what is open goes on.
	if err := f.ask(reachTime); err != nil {
		t.Errorf("without a daemon: %v", err)
	}
	if _, err := get(guest, internetIP, "a.example", true); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("TLS without a daemon: %v", err)
	}
	n = w.open(w.config())
	if lost, err := n.Adopt(t.Context(), []string{s.ID}); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if when, set := n.naming.due.Next(); !set || time.Until(when) > foundLife {
		t.Error("what was found never expires")
	}
	answers := make(chan []string)
	asked := make(chan struct{})
	go func() { // A guest that asks before its policy is known waits for it.
		close(asked)
		answers <- lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	}()
	<-asked
	if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
		t.Fatal(err)
	}
	if got := <-answers; len(got) != 1 {
		t.Errorf("a question in between gives %v", got)
	}
	for _, f := range []flow{f, g, old} {
		if err := f.ask(reachTime); err != nil {
			t.Errorf("an open flow: %v", err)
		}
	}
	if err := reach(guest, "tcp", internetIP+":8081"); err != nil { // Without another look-up.
		t.Errorf("a new connection: %v", err)
	}
	if !gets(guest, internetIP, "a.example", true) {
		t.Error("no TLS after the restart")
	}
	if err := n.SetPolicy(t.Context(), s.ID, byName("a.example")); err != nil {
		t.Fatal(err)
	}
	if err := f.ask(reachTime); err != nil {
		t.Errorf("what is still allowed: %v", err)
	}
	for _, f := range []flow{g, old} {
		if err := f.ask(200 * time.Millisecond); err == nil {
			t.Error("a flow of before the restart is not cut")
		}
	}
	if err := n.Release(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	left, err := n.rules.recoverBound()
	if err != nil || len(left) > 0 {
		t.Errorf("bound of a slot that is gone: %v, %v", left, err)
	}
}

// An address is in force until it expires.
func TestAnAddressExpires(t *testing.T) {
	w := newWorld(t)
	w.named(nil)
	n := w.open(w.config())
	s := w.acquire(n, byName("a.example"))
	guest := w.guest(s)
	bind := func(name string, life time.Duration) error {
		return n.naming.Bind(s.GuestIP, name, []netip.Addr{netip.MustParseAddr(internetIP)}, life)
	}
	if err := bind("b.example", time.Hour); err == nil {
		t.Error("a name that is not allowed is bound")
	}
	// Both answers come within its life, which is counted from the second.
	const life = 2 * time.Second
	var f flow
	eventually(t, "a flow begins in time", func() bool {
		if err := bind("a.example", life); err != nil {
			t.Fatal(err)
		}
		c, err := dial(guest, "tcp", internetIP+":8081")
		f = flow{c}
		return err == nil
	})
	t.Cleanup(func() { f.Close() })
	eventually(t, "it expires", func() bool {
		left, err := n.rules.recoverBound()
		return err == nil && len(left) == 0
	})
	if err := reach(guest, "tcp", internetIP+":8081"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("a new connection afterwards: %v", err)
	}
	if err := f.ask(reachTime); err != nil {
		t.Errorf("the open flow: %v", err)
	}
}

// A slot that sends as many queries as it can takes none from another: they share the buffer of a socket.
func TestAFloodOfQueriesTakesNoneFromOthers(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	bad, good := w.guest(w.acquire(n, byName("a.example"))), w.guest(w.acquire(n, byName("a.example")))
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var sent atomic.Int64
	q, err := new(dns.Msg).SetQuestion("forbidden.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		c, err := rawDial(bad, "udp", resolverIP+":53")
		if err != nil {
			t.Fatal(err)
		}
		flood.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Time{})
			for {
				select {
				case <-stop:
					return
				default:
					c.Write(q)
					sent.Add(1)
				}
			}
		})
	}
	eventually(t, "the flood runs", func() bool { return sent.Load() > 10000 })
	for range 50 {
		if got := lookUp(t, good, "udp", resolverIP+":53", "a.example"); len(got) != 1 {
			t.Errorf("the other slot gets %v", got)
		}
	}
	close(stop)
	flood.Wait()
}
