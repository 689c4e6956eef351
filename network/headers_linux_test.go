package network

import (
	"net/netip"
	"testing"
	"time"
)

func with(p Policy, headers map[string]map[string]string) Policy {
	p.Headers = headers
	return p
}

var secretOfA = map[string]map[string]string{"a.example.com": {"X-Secret": "+secret"}}

// Headers come to requests in slots of every kind, and open nothing.
func TestRequestsGetHeaders(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example.com": {internetIP}, "b.example.com": {internetIP}, "c.example.com": {internetIP2}})
	n := w.open(w.config())
	beside := only(internetIP2)
	beside.Names = []string{"a.example.com"}
	s := w.acquire(n, with(allow, secretOfA))
	guest := w.guest(s)
	for _, c := range []struct {
		name            string
		policy          Policy
		a, b, elsewhere bool // What is reached of the hosts; elsewhere is a.example.com at another address.
	}{
		{"everything", allow, true, true, true}, {"its address", only(internetIP), true, true, false},
		{"its name", byName("a.example.com"), true, false, true}, {"its name beside another address", beside, true, false, true},
		{"another address", only(internetIP2), false, false, false}, {"nothing", Policy{}, false, false, false},
		{"every name", byName("*"), true, true, true},
	} {
		if err := n.SetPolicy(t.Context(), s.ID, with(c.policy, secretOfA)); err != nil {
			t.Fatal(err)
		}
		for _, encrypted := range []bool{true, false} {
			for _, r := range []struct {
				addr, host, want string
				reached          bool
			}{
				{internetIP, "a.example.com", "a.example.com+secret", c.a}, {internetIP, "b.example.com", "b.example.com", c.b},
				{internetIP2, "a.example.com", "a.example.com+secret", c.elsewhere},
			} {
				got, err := get(guest, r.addr, r.host, encrypted)
				if (got == r.want) != r.reached || !r.reached && len(got) >= len("secret") && got[len(got)-len("secret"):] == "secret" {
					t.Errorf("%s: %s at %s, TLS %v: %q, %v", c.name, r.host, r.addr, encrypted, got, err)
				}
			}
		}
	}
	if err := n.SetPolicy(t.Context(), s.ID, with(allow, secretOfA)); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, internetIP+":8081"); err != nil {
			t.Errorf("another port by %s: %v", network, err)
		}
	}
	// A server that is not there refuses a connection to it: the guest sees that it ends.
	if got, err := get(guest, "9.9.9.77", "a.example.com", true); got != "a.example.com+secret" {
		t.Errorf("the gateway does not look for the host itself: %q, %v", got, err)
	}
	if got, err := get(guest, "9.9.9.77", "b.example.com", true); err == nil {
		t.Errorf("no server answers %q", got)
	}
}

// Headers are set by the rules in force, also after a restart, where they are not known for a while.
func TestHeadersOutliveTheDaemon(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example.com": {internetIP}})
	for _, p := range []Policy{allow, only(internetIP), byName("a.example.com")} {
		n := w.open(w.config())
		s := w.acquire(n, with(p, secretOfA))
		guest := w.guest(s)
		n.abandon()
		n = w.open(w.config())
		if n.naming.Known(s.GuestIP) {
			t.Errorf("%v: it is known after a restart", p)
		}
		n.naming.Refused(s.GuestIP, "tcp", "too.early", netip.AddrPort{})
		type answer struct {
			text string
			err  error
		}
		answered := make(chan answer, 1)
		go func() {
			text, err := get(guest, internetIP, "a.example.com", true)
			answered <- answer{text, err}
		}()
		if lost, err := n.Adopt(t.Context(), []string{s.ID}); err != nil || len(lost) > 0 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		if err := n.SetPolicy(t.Context(), s.ID, with(p, secretOfA)); err != nil {
			t.Fatal(err)
		}
		if !n.naming.Known(s.GuestIP) {
			t.Errorf("%v: it is not known", p)
		}
		n.naming.Refused(s.GuestIP, "tcp", "by.policy", netip.AddrPort{})
		if list, err := n.Refused(s.ID, time.Time{}); err != nil || len(list) != 1 || list[0].Name != "by.policy" {
			t.Errorf("%v: refused: %v, %v", p, list, err)
		}
		bank := n.rules.enforcer.(*nftRules).have[s.ID].bank
		if got := <-answered; got.text != "a.example.com+secret" {
			t.Errorf("%v: a request during the restart: %q, %v", p, got.text, got.err)
		}
		other := map[string]map[string]string{"*.example.com": {"X-Secret": "+other"}}
		excepted := map[string]map[string]string{"*.example.com": {"X-Secret": "+other"}, "a.example.com": {}}
		for _, c := range []struct {
			headers map[string]map[string]string
			want    string
		}{{other, "a.example.com+other"}, {excepted, "a.example.com"}, {nil, "a.example.com"}, {secretOfA, "a.example.com+secret"}} {
			if err := n.SetPolicy(t.Context(), s.ID, with(p, c.headers)); err != nil {
				t.Fatal(err)
			}
			if got, err := get(guest, internetIP, "a.example.com", true); got != c.want {
				t.Errorf("%v: %q, %v, want %q", p, got, err, c.want)
			}
		}
		if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
			t.Fatal(err)
		}
		if now := n.rules.enforcer.(*nftRules).have[s.ID].bank; now != bank {
			t.Errorf("%v: its ranges are written again for headers", p)
		}
		if found, err := n.rules.recover(); err != nil || found[s.ID].Headers != nil {
			t.Errorf("%v is in force, %v", found[s.ID], err)
		}
		if err := n.Release(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Nothing sets headers without certificates that guests trust, so there are no such policies.
func TestHeadersNeedACertificate(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	if _, err := n.Acquire(t.Context(), with(allow, secretOfA)); err == nil {
		t.Error("a slot whose headers nothing sets")
	}
	s := w.acquire(n, allow)
	if err := n.SetPolicy(t.Context(), s.ID, with(allow, secretOfA)); err == nil {
		t.Error("a policy whose headers nothing sets")
	}
	if err := n.SetPolicy(t.Context(), s.ID, with(Policy{}, secretOfA)); err != nil {
		t.Errorf("nothing is reached, so nothing is set: %v", err)
	}
}
