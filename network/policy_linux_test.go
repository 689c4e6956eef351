package network

import (
	"errors"
	"testing"
)

var (
	allow = Policy{AllowInternet: true}
	deny  = Policy{}
)

func TestInternetAllowed(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.outer, 53)
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, allow))
	for _, target := range []string{internetIP + ":80", internetIP2 + ":80", resolverIP + ":53"} {
		for _, network := range []string{"tcp", "udp"} {
			if err := reach(guest, network, target); err != nil {
				t.Errorf("%s %s: %v", network, target, err)
			}
		}
	}
}

func TestAlwaysDenied(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.serve(w.host, 80)
	n := w.open(w.config())
	guest := w.guest(w.acquire(n, allow))
	for _, ip := range deniedIPs {
		// The test means something only if the host itself gets there.
		if err := reach(w.host, "tcp", ip+":80"); err != nil {
			t.Fatalf("host to %s: %v", ip, err)
		}
	}
	targets := append([]string{resolverIP, hostIP, hostPrivate}, deniedIPs...)
	for _, ip := range targets {
		for _, network := range []string{"tcp", "udp"} {
			if err := reach(guest, network, ip+":80"); !errors.Is(err, refusal(network)) {
				t.Errorf("%s %s: %v, want an immediate %v", network, ip, err, refusal(network))
			}
		}
	}
}
