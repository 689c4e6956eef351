package network

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// A guest may send ICMP to the address of a name, also an error about another flow there. That permits nothing to the flow.
func TestAnErrorAboutAFlowDoesNotPermitIt(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	p := only(internetIP)
	p.Names = []string{"a.example"}
	s := w.acquire(n, p)
	guest := w.guest(s)
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	raw, err := rawDial(guest, "tcp", internetIP+":443") // Directly: the address is allowed.
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	f := flow{raw}
	if err := tls.Client(f, &tls.Config{ServerName: "whatever.example", InsecureSkipVerify: true}).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := n.SetPolicy(t.Context(), s.ID, byName("a.example")); err != nil {
		t.Fatal(err)
	}
	answers := func() bool {
		f.SetDeadline(time.Now().Add(silence))
		if _, err := f.Write([]byte("no TLS\r\n")); err != nil {
			t.Fatal(err)
		}
		k, _ := f.Read(make([]byte, 100))
		return k > 0 // An alert.
	}
	if answers() {
		t.Error("a flow that is not allowed any more still passes")
	}
	if kind, err := ping(guest, internetIP); err != nil || kind != ipv4.ICMPTypeEchoReply {
		t.Errorf("ping: %v, %v", kind, err)
	}
	complain(t, guest, netip.MustParseAddrPort(f.RemoteAddr().String()), netip.MustParseAddrPort(f.LocalAddr().String()))
	if answers() {
		t.Error("an error about the flow has permitted it")
	}
}

// complain sends an ICMP error about a packet that came from an address to the guest.
func complain(t *testing.T, guest *os.File, from, to netip.AddrPort) {
	t.Helper()
	packet := make([]byte, 28) // A header of IPv4, and the ports.
	packet[0], packet[9] = 0x45, unix.IPPROTO_TCP
	copy(packet[12:], from.Addr().AsSlice())
	copy(packet[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(packet[20:], from.Port())
	binary.BigEndian.PutUint16(packet[22:], to.Port())
	message, err := (&icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: packet}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = namespace.In(guest, func() error {
		c, err := net.Dial("ip4:icmp", from.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(message)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A program may keep a socket for its questions. After a change of the policy they go where the new one sends them.
func TestQuestionsOfOneSocketFollowThePolicy(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP2}})
	n := w.open(w.config())
	addresses := only(resolverIP)
	both := addresses
	both.Names = []string{"a.example"}
	s := w.acquire(n, addresses)
	conn, err := rawDial(w.guest(s), "udp", resolverIP+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	for _, step := range []struct {
		what   string
		policy Policy
		want   int // Answers for b.example, which has no permission by name.
	}{
		{"addresses", addresses, 1}, {"and a name", both, 0}, {"addresses again", addresses, 1}, {"a name", byName("a.example"), 0}, {"all", allow, 1}, {"a name again", byName("a.example"), 0}, {"addresses at last", addresses, 1},
	} {
		if err := n.SetPolicy(t.Context(), s.ID, step.policy); err != nil {
			t.Fatal(err)
		}
		z.forget()
		c.SetDeadline(time.Now().Add(reachTime))
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("b.example.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		m, err := c.ReadMsg()
		if err != nil || len(m.Answer) != step.want || z.wasAsked("b.example") != (step.want > 0) {
			t.Errorf("%s: %v, %v, asked %q", step.what, m, err, z.asked)
		}
	}
}

// An address has several names, the first of which is taken away before a restart.
func TestAnAddressWithAnotherNameSurvivesARestart(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP}})
	n := w.open(w.config())
	s := w.acquire(n, byName("a.example", "b.example"))
	guest := w.guest(s)
	for _, name := range []string{"a.example", "b.example"} {
		lookUp(t, guest, "udp", resolverIP+":53", name)
	}
	f, p := openFlow(t, guest, internetIP+":8081"), byName("b.example")
	if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
		t.Fatal(err)
	}
	n.abandon()
	n = w.open(w.config())
	if lost, err := n.Adopt(t.Context(), []string{s.ID}); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
		t.Fatal(err)
	}
	if err := f.ask(reachTime); err != nil {
		t.Errorf("an open flow: %v", err)
	}
	if err := reach(guest, "tcp", internetIP+":8081"); err != nil {
		t.Errorf("a new one: %v", err)
	}
}

// The gateway dials a name that leads to the host, since its address is a public one, and is refused at once.
func TestANameDoesNotLeadToTheHost(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"host.example": {hostIP}, "a.example": {internetIP}})
	for _, port := range []int{80, 443, 8081} {
		w.serve(w.host, port)
	}
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, byName("*.example")))
	for name, want := range map[string]bool{"host.example": false, "a.example": true} {
		lookUp(t, guest, "udp", resolverIP+":53", name)
		for _, encrypted := range []bool{false, true} {
			text, err := get(guest, internetIP, name, encrypted)
			if (text == name) != want || !want && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s, TLS %v: %q, %v", name, encrypted, text, err)
			}
		}
	}
	// At once, and not when the dial has waited long enough.
	for _, to := range []string{hostIP, hostPrivate, internetIP} {
		ctx, cancel := context.WithTimeout(t.Context(), reachTime)
		defer cancel()
		c, err := namespace.Dial(ctx, n.router.ns, "tcp", netip.MustParseAddrPort(to+":80"), 0)
		if err == nil {
			c.Close()
		}
		if (err == nil) != (to == internetIP) || err != nil && !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("the router to %s: %v", to, err)
		}
	}
	for _, port := range []string{":80", ":443", ":8081"} {
		if err := reach(guest, "tcp", hostIP+port); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("the host%s: %v", port, err)
		}
	}
}

// Connections of the gateway end before another slot can have the address.
func TestConnectionsOfASlotThatEndedAreNotInherited(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, byName("a.example"))
	ended, end := 0, n.pool.ended
	n.pool.ended = func(guest netip.Addr) {
		if ended++; n.leases.of(guest) == nil {
			t.Errorf("another slot can have %v", guest)
		}
		end(guest)
	}
	if err := n.Release(t.Context(), s.ID); err != nil || ended != 1 {
		t.Errorf("%d slots have ended, %v", ended, err)
	}
}

// While policies change, none of which allows it, nothing forbidden arrives.
func TestNothingPassesWhileNamesChange(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP}, "forbidden.example": {internetIP2}})
	n := w.open(w.config())
	s, other := w.acquire(n, byName("a.example")), w.acquire(n, deny)
	guest := w.guest(s)
	both := only(internetIP)
	both.Names = []string{"b.example"}
	p, targets := w.newProbes(n, other)
	p.start(append(targets, internetIP2), s)
	p.startNames(internetIP2, s)
	policies := []Policy{byName("a.example", "b.example"), only(internetIP), both, byName("b.example"), deny, byName("a.example")}
	for range 10 {
		for _, policy := range policies {
			if err := n.SetPolicy(t.Context(), s.ID, policy); err != nil {
				t.Fatal(err)
			}
			if policy.Named() {
				lookUp(t, guest, "tcp", resolverIP+":53", policy.Names[0])
				if !gets(guest, internetIP, policy.Names[0], true) {
					t.Errorf("%v: %s is not reached", policy, policy.Names[0])
				}
			}
		}
	}
	p.check(t, "while policies change")
	z.check(t, "while policies change")
	p.end()
	t.Logf("%d probes", p.sent.Load())
	// The probes can fail.
	if err := n.SetPolicy(t.Context(), s.ID, allow); err != nil {
		t.Fatal(err)
	}
	p.start([]string{internetIP2}, s)
	p.startNames(internetIP2, s)
	eventually(t, "probes arrive where everything is allowed", func() bool {
		return z.wasAsked("forbidden.example") && p.arrivals("udp to "+internetIP2) > 0
	})
	p.end()
}
