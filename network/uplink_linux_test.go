package network

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
)

func TestUplinkNone(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	before := w.traces()
	cfg := w.config()
	cfg.Uplink = UplinkNone
	n := w.open(cfg)
	guest := w.guest(w.acquire(n, allow))
	if err := reach(guest, "tcp", internetIP+":80"); err == nil {
		t.Error("internet without an uplink")
	}
	if got := w.traces(); got != before {
		t.Errorf("the daemon's namespace changed:\n%s", got)
	}
}

func TestUplinkAvoidsRoutesOfTheHost(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.LinkRange = netip.MustParsePrefix("198.19.0.0/28") // Four of them.
	w.in(w.host, func() error { return up("lo", "198.19.0.1/29", "198.19.0.9/30") })
	n := w.open(cfg)
	w.acquire(n, allow)
	if got, want := n.uplinkSubnet(t), netip.MustParsePrefix("198.19.0.12/30"); got != want {
		t.Errorf("uplink in %v, want %v", got, want)
	}
	cfg.RunDir = filepath.Join(w.dir, "run", "other")
	b := w.open(cfg)
	if _, err := b.Acquire(context.Background(), allow); !errors.Is(err, ErrUplink) {
		t.Errorf("no free subnet: %v, want ErrUplink", err)
	}
	if got := counts(t, b); got != (Counts{}) {
		t.Errorf("left: %+v", got)
	}
}
