package network

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// A name with a port is answered, and reached on that port only, by the gateway and otherwise.
func TestNamesOnPorts(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP2}, "c.example": {internetIP}})
	w.serve(w.outer, 22)
	go serveUDP(w.listenUDP(w.outer, internetIP+":443"))
	n := w.open(w.config())
	for _, c := range []struct {
		names                        []string
		plain, tls, ssh, other, quic bool
	}{
		{[]string{"a.example:443", "b.example"}, false, true, false, false, true},
		{[]string{"a.example:80", "b.example:443"}, true, false, false, false, false},
		{[]string{"*.example:8081"}, false, false, false, true, false},
		{[]string{"a.example:22", "a.example:80"}, true, false, true, false, false},
		{[]string{"a.example", "b.example:22"}, true, true, true, true, true},
	} {
		name := fmt.Sprint(c.names)
		guest := w.guest(w.acquire(n, byName(c.names...)))
		z.forget()
		if got := lookUp(t, guest, "udp", resolverIP+":53", "a.example"); len(got) != 1 || !z.wasAsked("a.example") && name == "[a.example:443 b.example]" {
			t.Errorf("%s: the name is not answered: %v", name, got)
		}
		if got := gets(guest, internetIP, "a.example", false); got != c.plain {
			t.Errorf("%s: on port 80: %v", name, got)
		}
		if got := gets(guest, internetIP, "a.example", true); got != c.tls {
			t.Errorf("%s: on port 443: %v", name, got)
		}
		for port, want := range map[string]bool{"22": c.ssh, "8081": c.other} {
			for _, network := range []string{"tcp", "udp"} {
				if err := reach(guest, network, internetIP+":"+port); (err == nil) != want || err != nil && !errors.Is(err, refusal(network)) {
					t.Errorf("%s: on port %s by %s: %v, want %v", name, port, network, err, want)
				}
			}
		}
		if err := reach(guest, "udp", internetIP+":443"); (err == nil) != c.quic || err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: datagrams to port 443: %v, want %v", name, err, c.quic)
		}
	}
}

// A name that keeps some ports keeps what it opened there, and loses the rest. One that gets all again has them at once.
func TestANameIsNarrowedToPorts(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	w.serve(w.outer, 22)
	n := w.open(w.config())
	s := w.acquire(n, byName("a.example"))
	guest := w.guest(s)
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	kept, cut := openFlow(t, guest, internetIP+":8081"), openFlow(t, guest, internetIP+":22")
	web, err := rawDial(guest, "tcp", internetIP+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	asks := func() error {
		web.SetDeadline(time.Now().Add(reachTime))
		if _, err := web.Write([]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")); err != nil {
			return err
		}
		_, err := web.Read(make([]byte, 1000))
		return err
	}
	if err := errors.Join(kept.ask(reachTime), cut.ask(reachTime), asks()); err != nil {
		t.Fatal(err)
	}
	set := func(p Policy) {
		t.Helper()
		if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	set(byName("a.example:8081", "a.example:80"))
	if err := errors.Join(kept.ask(reachTime), asks(), reach(guest, "udp", internetIP+":8081")); err != nil {
		t.Errorf("what stays allowed: %v", err)
	}
	if err := cut.ask(100 * time.Millisecond); err == nil {
		t.Error("a flow to a port that is not allowed any more still passes")
	}
	if err := reach(guest, "udp", internetIP+":22"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the address on another port: %v", err)
	}
	set(byName("a.example:8081"))
	if asks() == nil {
		t.Error("a connection of the gateway to a port that is not allowed any more goes on")
	}
	set(byName("a.example:22"))
	if err := kept.ask(100 * time.Millisecond); err == nil {
		t.Error("a flow to the other port still passes")
	}
	set(byName("a.example"))
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	for _, port := range []string{"22", "8081"} {
		if err := reach(guest, "tcp", internetIP+":"+port); err != nil {
			t.Errorf("allowed again, port %s: %v", port, err)
		}
	}
}

// Ports count for connections through a proxy, too, by address and by name, and for requests that get headers.
func TestPortsCountAtTheGateway(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example.com": {internetIP}})
	w.serve(w.outer, 22)
	proxy := w.proxies(internetIP2)
	n := w.open(w.config())
	secret := func(p Policy) Policy { return with(p, secretOfA) }
	tunnel := func(p Policy) Policy { return through(p, internetIP2) }
	for _, c := range []struct {
		name            string
		policy          Policy
		ssh, other, tls bool
	}{
		{"a port shut, by a proxy", tunnel(onPort(everywhere, 22)), false, true, true},
		{"a port of an address, by a proxy", tunnel(onPort(Policy{}, 22, internetIP)), true, false, false},
		{"names on ports, by a proxy", tunnel(byName("a.example.com:8081", "a.example.com:443")), false, true, true},
		{"another port of a name, by a proxy", tunnel(byName("a.example.com:22")), true, false, false},
		{"a port shut, with headers", secret(onPort(everywhere, 443)), true, true, false},
		{"a port of an address, with headers", secret(onPort(Policy{}, 443, internetIP)), false, false, true},
		{"a name on a port, with headers", secret(byName("a.example.com:443")), false, false, true},
		{"another port of a name, with headers", secret(byName("a.example.com:22")), true, false, false},
	} {
		guest := w.guest(w.acquire(n, c.policy))
		if c.policy.Named() {
			lookUp(t, guest, "udp", resolverIP+":53", "a.example.com")
		}
		proxy.Targets()
		for port, want := range map[string]bool{"22": c.ssh, "8081": c.other} {
			if err := reach(guest, "tcp", internetIP+":"+port); (err == nil) != want || err != nil && !refusedByReset(err) && !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("%s: port %s: %v, want %v", c.name, port, err, want)
			}
		}
		got, err := get(guest, internetIP, "a.example.com", true)
		want := "a.example.com"
		if c.policy.Rewritten() {
			want += "+secret"
		}
		if (got == want) != c.tls || got != want && err == nil {
			t.Errorf("%s: TLS gives %q, %v, want it %v", c.name, got, err, c.tls)
		}
		if went := len(proxy.Targets()); (went > 0) != c.policy.Tunneled() {
			t.Errorf("%s: %d connections went through the proxy", c.name, went)
		}
	}
}
