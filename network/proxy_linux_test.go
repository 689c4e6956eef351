package network

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/refused"
	"github.com/rundlet/rundlet/network/socks"
)

// refusedByReset reports a connection that was accepted here and goes nowhere.
func refusedByReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// Every connection of TCP goes through the proxy, whatever the policy is, and the policy counts as without it.
func TestConnectionsGoThroughAProxy(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"a.example": {internetIP}, "proxy.example": {internetIP2}})
	proxy, direct := w.proxies(internetIP2), w.witness(":8082")
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	if err := reach(guest, "tcp", internetIP+":8082"); err != nil || direct.direct() != 1 {
		t.Fatalf("without a proxy: %v", err)
	}
	named := byName("a.example")
	for _, by := range []string{internetIP2, "proxy.example"} {
		for _, c := range []struct {
			name         string
			policy       Policy
			addr, byName bool   // What is reached: its address on any port, and TLS to its name.
			elsewhere    bool   // And another address.
			target       string // That the proxy is asked for, for TLS.
		}{
			{"everything", allow, true, true, true, internetIP + ":443"},
			{"its address", only(internetIP), true, true, false, internetIP + ":443"},
			{"its name", named, true, true, false, "a.example:443"},
			{"every name", byName("*"), true, true, false, "a.example:443"},
			{"another address", only("203.0.113.9"), false, false, false, ""},
		} {
			if err := n.SetPolicy(t.Context(), s.ID, through(c.policy, by)); err != nil {
				t.Fatal(err)
			}
			if c.policy.Named() {
				for _, network := range []string{"tcp", "udp"} {
					if got := lookUp(t, guest, network, resolverIP+":53", "a.example"); len(got) != 1 {
						t.Errorf("%s: %v by %s", c.name, got, network)
					}
				}
			}
			if got := proxy.Targets(); len(got) > 0 {
				t.Errorf("%s: the proxy was asked for %q by questions", c.name, got)
			}
			check := func(what string, err error, reached bool, target string) {
				t.Helper()
				got := proxy.Targets()
				if reached && (err != nil || !slices.Equal(got, []string{target})) {
					t.Errorf("%s by %s: %s: %v, the proxy was asked for %q", c.name, by, what, err, got)
				}
				if !reached && (err == nil || len(got) > 0) {
					t.Errorf("%s by %s: %s is not refused: %v, %q", c.name, by, what, err, got)
				}
			}
			check("another port", reach(guest, "tcp", internetIP+":8082"), c.addr, internetIP+":8082")
			check("another address", reach(guest, "tcp", internetIP2+":8082"), c.elsewhere, internetIP2+":8082")
			var err error
			if !gets(guest, internetIP, "a.example", true) {
				err = errors.New("no answer")
			}
			check("TLS", err, c.byName, c.target)
			if err := reach(guest, "udp", internetIP+":8081"); (err == nil) != c.addr {
				t.Errorf("%s: UDP goes as it did: %v", c.name, err)
			}
			if err := reach(guest, "tcp", "10.77.0.1:8082"); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("%s: a private address: %v", c.name, err)
			}
			if k := direct.direct(); k > 0 {
				t.Errorf("%s: %d connections went directly", c.name, k)
			}
		}
	}
	if !z.wasAsked("proxy.example") {
		t.Error("the proxy's name was not looked up")
	}
	list, err := n.Refused(s.ID, time.Time{})
	if err != nil || !slices.ContainsFunc(list, func(a refused.Attempt) bool { return a.To.String() == internetIP+":8082" && a.Proto == "tcp" }) {
		t.Errorf("refused: %v, %v", list, err)
	}
	// Headers come to requests that go through it.
	z.mu.Lock()
	z.hosts["a.example.com"] = []string{internetIP}
	z.mu.Unlock()
	if err := n.SetPolicy(t.Context(), s.ID, through(with(allow, secretOfA), internetIP2)); err != nil {
		t.Fatal(err)
	}
	for _, encrypted := range []bool{true, false} {
		if got, err := get(guest, "203.0.113.77", "a.example.com", encrypted); got != "a.example.com+secret" {
			t.Errorf("headers, TLS %v: %q, %v", encrypted, got, err)
		}
	}
	if got := proxy.Targets(); !slices.Equal(got, []string{"a.example.com:443", "a.example.com:80"}) {
		t.Errorf("requests with headers: the proxy was asked for %q", got)
	}
}

// Without its proxy nothing goes out, nor through one that is in the host or its networks.
func TestAProxyThatIsNotThereClosesTheWay(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"inside.example": {"10.77.0.1"}, "gone.example": {"203.0.113.5"}})
	inside := w.proxies("10.77.0.1")
	direct := w.witness(":8082")
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	for _, at := range []string{internetIP, "10.77.0.1", "127.0.0.1", hostIP, "inside.example", "nowhere.example"} {
		if err := n.SetPolicy(t.Context(), s.ID, through(allow, at)); err != nil {
			t.Fatal(err)
		}
		for _, port := range []string{":8082", ":443", ":22"} {
			if err := reach(guest, "tcp", internetIP+port); !refusedByReset(err) {
				t.Errorf("through %s to %s: %v", at, port, err)
			}
		}
		if err := reach(guest, "udp", internetIP+":8081"); err != nil {
			t.Errorf("UDP: %v", err)
		}
	}
	if k := direct.direct(); k > 0 {
		t.Errorf("%d connections went directly", k)
	}
	if got := inside.Targets(); len(got) > 0 {
		t.Errorf("a proxy in a private network was asked for %q", got)
	}
}

// A change of the proxy ends the connections that went another way, and no other flow.
func TestAnotherProxyEndsConnections(t *testing.T) {
	w := newWorld(t)
	w.named(nil)
	w.proxies(internetIP)
	w.proxies(internetIP2)
	direct := w.witness(":8082")
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	datagrams, err := dial(guest, "udp", internetIP+":8081")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	local := datagrams.LocalAddr().String()
	// Also on the port of questions, where other connections than those to name servers go through it.
	odd := w.witness(internetIP + ":53")
	ways := map[string]Policy{"directly": allow, "through one": through(allow, internetIP), "through another": through(allow, internetIP2)}
	open := func(port string) net.Conn {
		t.Helper()
		c, err := dial(guest, "tcp", internetIP+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	echoes := func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(reachTime))
		if _, err := c.Write([]byte("again")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 5))
		return err
	}
	for before, from := range ways {
		for after, to := range ways {
			if err := n.SetPolicy(t.Context(), s.ID, from); err != nil {
				t.Fatal(err)
			}
			c, d := open(":8082"), open(":53")
			direct.direct()
			odd.direct()
			if err := n.SetPolicy(t.Context(), s.ID, to); err != nil {
				t.Fatal(err)
			}
			for _, c := range []net.Conn{c, d} {
				if err := echoes(c); (err == nil) != (before == after) || err != nil && !refusedByReset(err) {
					t.Errorf("a connection to %v %s, then %s: %v", c.RemoteAddr(), before, after, err)
				}
			}
			for port, l := range map[string]*witness{":8082": direct, ":53": odd} {
				if err := echoes(open(port)); err != nil || (l.direct() > 0) != (after == "directly") {
					t.Errorf("a new connection to %s %s: %v", port, after, err)
				}
			}
			if err := echoes(datagrams); err != nil || datagrams.LocalAddr().String() != local {
				t.Errorf("datagrams, first %s, then %s: %v", before, after, err)
			}
		}
	}
}

// After a restart, where the proxy is not known for a while, nothing goes past it.
func TestAProxyOutlivesTheDaemon(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	proxy, direct := w.proxies(internetIP2), w.witness(":8082")
	for _, p := range []Policy{allow, only(internetIP), byName("a.example")} {
		p = through(p, internetIP2)
		n := w.open(w.config())
		s := w.acquire(n, p)
		guest := w.guest(s)
		if p.Named() {
			lookUp(t, guest, "udp", resolverIP+":53", "a.example")
		}
		if err := reach(guest, "tcp", internetIP+":8082"); err != nil {
			t.Fatal(err)
		}
		n.abandon()
		if err := reach(guest, "tcp", internetIP+":8082"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("without a daemon: %v", err)
		}
		n = w.open(w.config())
		if n.naming.Known(s.GuestIP) {
			t.Errorf("%v: it is known after a restart", p)
		}
		reached := make(chan error, 1)
		go func() { reached <- reach(guest, "tcp", internetIP+":8082") }()
		if lost, err := n.Adopt(t.Context(), []string{s.ID}); err != nil || len(lost) > 0 {
			t.Fatalf("lost %q, %v", lost, err)
		}
		proxy.Targets()
		if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
			t.Fatal(err)
		}
		if err := <-reached; err != nil {
			t.Errorf("%v: a connection during the restart: %v", p, err)
		}
		if got := proxy.Targets(); !slices.Equal(got, []string{internetIP + ":8082"}) || direct.direct() > 0 {
			t.Errorf("%v: the proxy was asked for %q", p, got)
		}
		if found, err := n.rules.recover(); err != nil || found[s.ID].Proxy != policies.UnknownProxy {
			t.Errorf("%v is in force, %v", found[s.ID], err)
		}
		if err := n.SetPolicy(t.Context(), s.ID, Policy{}); err != nil {
			t.Fatal(err)
		}
		if err := reach(guest, "tcp", internetIP+":8082"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("without internet: %v", err)
		}
		if err := errors.Join(n.Release(t.Context(), s.ID), n.Close(t.Context())); err != nil {
			t.Error(err)
		}
	}
}

// A proxy that no slot reaches is refused when it is given, as far as that is known then.
func TestCheckProxy(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"proxy.example": {internetIP2}, "inside.example": {"10.77.0.1"}, "both.example": {"10.77.0.1", internetIP2}})
	cfg := w.config()
	cfg.Denied = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	n := w.open(cfg)
	for host, want := range map[string]string{
		internetIP: "", "proxy.example": "", "both.example": "", // The first one also when there was no way to the internet yet.
		"10.77.0.1": "do not reach 10.77.0.1", "127.0.0.1": "do not reach", "169.254.169.254": "do not reach", "192.0.2.1": "do not reach",
		"inside.example": "private or reserved", "nowhere.example": "no such name",
	} {
		err := n.CheckProxy(t.Context(), socks.Proxy{Host: host, Port: 1080})
		if (want == "") != (err == nil) || err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", host, err)
		}
	}
	// That a name cannot be looked up now says nothing about it.
	z.mu.Lock()
	z.fails = true
	z.mu.Unlock()
	if err := n.CheckProxy(t.Context(), socks.Proxy{Host: "new.example", Port: 1080}); err == nil || errors.Is(err, ErrInvalid) {
		t.Errorf("without an answer: %v", err)
	}
}
