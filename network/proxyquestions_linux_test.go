package network

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/network/socks"
)

// Questions to name servers by TCP go directly, and what else goes to their port goes through the proxy.
func TestQuestionsDoNotGoThroughAProxy(t *testing.T) {
	w := newWorld(t)
	w.named(nil)
	proxy := w.proxies(internetIP2)
	server, other := w.witness(internetIP+":53"), w.witness(internetIP2+":53")
	cfg := w.config()
	cfg.Nameservers = append(cfg.Nameservers, netip.MustParseAddr(internetIP)) // One that is reached by others, too.
	n := w.open(cfg)
	s := w.acquire(n, allow)
	guest := w.guest(s)
	for _, p := range []Policy{allow, only(internetIP2, internetIP)} {
		if err := n.SetPolicy(t.Context(), s.ID, through(p, internetIP2)); err != nil {
			t.Fatal(err)
		}
		if err := reach(guest, "tcp", internetIP+":53"); err != nil || server.direct() != 1 || len(proxy.Targets()) > 0 {
			t.Errorf("%v: a question: %v", p.Only, err)
		}
		if err := reach(guest, "tcp", internetIP2+":53"); err != nil || other.direct() != 0 || len(proxy.Targets()) != 1 {
			t.Errorf("%v: another server: %v", p.Only, err)
		}
	}
}

// A host that gets headers and is allowed by its address only is looked up here, and the proxy gets that address.
func TestAHostThatIsAllowedByItsAddressIsNotLookedUpByTheProxy(t *testing.T) {
	w := newWorld(t)
	z := w.named(map[string][]string{"a.example.com": {internetIP2, internetIP}})
	proxy := w.proxies(internetIP2)
	n := w.open(w.config())
	s := w.acquire(n, through(with(only(internetIP), secretOfA), internetIP2))
	guest := w.guest(s)
	if got, err := get(guest, internetIP, "a.example.com", true); got != "a.example.com+secret" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := proxy.Targets(); !slices.Equal(got, []string{internetIP + ":443"}) {
		t.Errorf("the proxy was asked for %q", got)
	}
	z.mu.Lock()
	z.hosts["b.example.com"] = []string{internetIP2}
	z.mu.Unlock()
	elsewhere := map[string]map[string]string{"b.example.com": secretOfA["a.example.com"]}
	if err := n.SetPolicy(t.Context(), s.ID, through(with(only(internetIP), elsewhere), internetIP2)); err != nil {
		t.Fatal(err)
	}
	if got, err := get(guest, internetIP, "b.example.com", true); err == nil && got == "b.example.com+secret" {
		t.Error("a host whose address is not allowed is reached")
	}
	if got := proxy.Targets(); len(got) > 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// A guest that gets an answer about a host which is not reached does not see the proxy in it.
func TestAnAnswerDoesNotNameTheProxy(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"proxy.example": {internetIP2}})
	n := w.open(w.config())
	s := w.acquire(n, allow)
	for _, p := range []socks.Proxy{{Host: internetIP2, Port: 1080}, {Host: "proxy.example", Port: 1080}, {Host: "gone-proxy.example", Port: 1080}} {
		policy := with(allow, secretOfA)
		policy.Proxy = p
		if err := n.SetPolicy(t.Context(), s.ID, policy); err != nil {
			t.Fatal(err)
		}
		got, err := get(w.guest(s), internetIP, "a.example.com", true)
		if !strings.Contains(got, "could not be passed on to a.example.com") || strings.Contains(got, "proxy") || strings.Contains(got, internetIP2) {
			t.Errorf("through %s: %q, %v", p.Host, got, err)
		}
	}
}
