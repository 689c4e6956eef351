package network

import (
	"errors"
	"syscall"
	"testing"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/nft"
)

// What redirects connections to the gateway does not permit anything: without it, or without the slot's place in it, no
// connection goes past the proxy.
func TestWithoutItsRedirectionNoConnectionGoesPastAProxy(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}})
	proxy := w.proxies(internetIP2)
	direct := map[string]*witness{":8082": w.witness(":8082"), ":53": w.witness(internetIP + ":53")}
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	for port, seen := range direct { // As a control.
		if err := reach(guest, "tcp", internetIP+port); err != nil || seen.direct() != 1 {
			t.Fatalf("%s without a proxy: %v", port, err)
		}
	}
	w.alone(n)
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable}
	for lost, lose := range map[string]func(conn *nftables.Conn) error{
		"its rules": func(conn *nftables.Conn) error {
			conn.FlushChain(&nftables.Chain{Name: "names", Table: table})
			return nil
		},
		"its element": func(conn *nftables.Conn) error {
			set := memberSet(setTunneled)
			return conn.SetDeleteElements(&set, []nftables.SetElement{{Key: nft.IfName(s.ID)}})
		},
	} {
		for name, p := range map[string]Policy{"everything": allow, "an address": only(internetIP), "a name": byName("a.example")} {
			if _, err := n.rules.settle(true); err != nil {
				t.Fatal(err)
			}
			if err := n.SetPolicy(t.Context(), s.ID, through(p, internetIP2)); err != nil {
				t.Fatal(err)
			}
			if p.Named() {
				lookUp(t, guest, "udp", resolverIP+":53", "a.example")
			}
			if err := reach(guest, "tcp", internetIP+":8082"); err != nil || len(proxy.Targets()) != 1 {
				t.Fatalf("%s: through the proxy: %v", name, err)
			}
			if err := filterOf(n.router.ns, lose); err != nil {
				t.Fatal(err)
			}
			for port, seen := range direct {
				if p.Named() && port == ":53" {
					continue // The resolver answers.
				}
				if err := reach(guest, "tcp", internetIP+port); !errors.Is(err, syscall.EHOSTUNREACH) && !refusedByReset(err) {
					t.Errorf("%s without %s: %s: %v", name, lost, port, err)
				}
				if k := seen.direct(); k > 0 {
					t.Errorf("%s without %s: %d connections to %s went past the proxy", name, lost, k, port)
				}
			}
			if err := reach(guest, "udp", internetIP+":8081"); err != nil {
				t.Errorf("%s without %s: UDP: %v", name, lost, err)
			}
		}
	}
}
