package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/changes"
)

func TestUplinkNone(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	before := w.traces()
	cfg := w.config()
	cfg.Uplink = UplinkNone
	n := w.open(cfg)
	guest := w.guest(w.acquire(n, allow))
	if err := reachWithin(silence, guest, "tcp", internetIP+":80"); err == nil {
		t.Error("internet without an uplink")
	}
	if got := w.traces(); got != before {
		t.Errorf("the daemon's namespace changed:\n%s", got)
	}
}

// An interface that leads outside later is forwarded by only when that is on
// record, and when the rules say that it is for our packets alone.
func TestForwardingThatCannotBeRecordedIsNotChanged(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	w.acquire(n, allow)
	w.alone(n)
	w.in(w.host, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth1"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth2"}); err != nil {
			return err
		}
		if err := errors.Join(up("eth1", "9.9.8.2/24"), up("eth2")); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("9.9.8.1"), Priority: 100})
	})
	forwarding := func() string {
		t.Helper()
		value, err := n.uplink.sysctl("ipv4/conf/eth1/forwarding", "")
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	rules := n.uplink.rules.Want
	blocked := n.uplink.recordPath() + ".tmp"
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := n.watcher.settle(changes.Depth{Host: true}, true); !errors.Is(err, unix.EISDIR) {
			t.Fatalf("the record cannot be written: %v", err)
		}
		if got := forwarding(); got != "0" {
			t.Fatalf("forwarding is %s, and not on record", got)
		}
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	if _, err := n.watcher.settle(changes.Depth{Host: true}, true); err != nil {
		t.Fatal(err)
	}
	rec, ok, err := n.uplink.load()
	if err != nil || !ok || rec.Forwarding["eth1"] != "0" {
		t.Errorf("the record: %+v, %v, %v", rec, ok, err)
	}
	if got := forwarding(); got != "1" || n.uplink.rules.Want == rules {
		t.Errorf("forwarding is %s, other rules: %v", got, n.uplink.rules.Want != rules)
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
