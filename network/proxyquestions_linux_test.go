package network

import (
	"net/netip"
	"slices"
	"testing"
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
