package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
)

// traces are what the daemon's namespace has: links, tables, addresses, routes,
// routing rules and the forwarding switches.
func (w *world) traces() string {
	w.t.Helper()
	var out bytes.Buffer
	w.in(w.host, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			name := l.Attrs().Name
			forwarding, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/forwarding")
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "link %s forwarding %s", name, forwarding)
		}
		routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return err
		}
		rules, err := netlink.RuleList(unix.AF_INET)
		if err != nil {
			return err
		}
		for _, r := range rules {
			fmt.Fprintln(&out, "rule", settle.RuleKey(r))
		}
		for _, r := range routes {
			fmt.Fprintln(&out, "route", r)
		}
		return nil
	})
	conn, err := nftables.New(nftables.WithNetNSFd(int(w.host.Fd())))
	if err != nil {
		w.t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range tables {
		fmt.Fprintln(&out, "table", t.Name)
	}
	return out.String()
}

func (w *world) mounts() int {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(string(b), " "+w.dir+"/run/")
}

func counts(t *testing.T, n *Network) Counts {
	t.Helper()
	c, err := n.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	before := w.traces()
	cfg := w.config()
	n, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// No slot with internet access, no change to the daemon's namespace.
	quiet := w.acquire(n, deny)
	if got := w.traces(); got != before {
		t.Errorf("the daemon's namespace changed without need:\n%s\nwas\n%s", got, before)
	}
	empty := counts(t, n)
	var ids []string
	for range 100 {
		ids = append(ids, w.acquire(n, allow).ID)
	}
	if got := counts(t, n); got != (Counts{Leased: 101, Namespaces: 101, Links: 101, Rules: 101}) {
		t.Errorf("with 101 slots: %+v", got)
	}
	if w.traces() == before {
		t.Error("no uplink was made")
	}
	for _, id := range ids {
		if err := n.Release(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		if err := n.Release(context.Background(), id); err != nil {
			t.Errorf("second release: %v", err)
		}
	}
	if got := counts(t, n); got != empty {
		t.Errorf("after release: %+v, want %+v", got, empty)
	}
	n.Release(context.Background(), quiet.ID)
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.traces(); got != before {
		t.Errorf("left in the daemon's namespace:\n%s\nwas\n%s", got, before)
	}
	if k := w.mounts(); k != 0 {
		t.Errorf("%d mounts left", k)
	}
	files, err := os.ReadDir(cfg.RunDir)
	if err != nil || len(files) != 1 || files[0].Name() != "lock" {
		t.Errorf("left in the run directory: %v, %v", files, err)
	}
	if _, err := n.Acquire(context.Background(), deny); !errors.Is(err, ErrClosed) {
		t.Errorf("acquire after close: %v", err)
	}
}

func TestAdoptAfterCrash(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	cfg := w.config()
	before := w.traces()
	cfg.Ahead = 2
	first, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	kept, denied, orphan := w.acquire(first, allow), w.acquire(first, deny), w.acquire(first, allow)
	w.serve(w.guest(kept), 49983)
	first.abandon() // What the end of the process does.

	// Broken remains of a half-made slot.
	half, linkOnly := newSlotID(), newSlotID()
	if err := os.WriteFile(filepath.Join(cfg.RunDir, "slots", half), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	router, _, err := namespace.Open(filepath.Join(cfg.RunDir, "router"))
	if err != nil {
		t.Fatal(err)
	}
	w.in(router, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = linkOnly
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer"})
	})
	router.Close()

	cfg.Ahead = -1
	second := w.open(cfg)
	check := func(when string) {
		t.Helper()
		if err := reach(w.guest(kept), "tcp", internetIP+":80"); err != nil {
			t.Errorf("%s: allowed slot: %v", when, err)
		}
		if err := reach(w.guest(kept), "tcp", hostIP+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%s: host: %v", when, err)
		}
		if err := reach(w.guest(denied), "tcp", internetIP+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%s: denied slot: %v", when, err)
		}
		c, err := second.DialContext(context.Background(), netip.AddrPortFrom(kept.GuestIP, 49983))
		if err != nil {
			t.Errorf("%s: dial: %v", when, err)
			return
		}
		c.Close()
	}
	check("before adopt")
	lost, err := second.Adopt(context.Background(), []string{kept.ID, denied.ID, "s-gone"})
	if err != nil || !slices.Equal(lost, []string{"s-gone"}) {
		t.Fatalf("adopt: lost %v, %v", lost, err)
	}
	check("after adopt")
	if got := counts(t, second); got != (Counts{Leased: 2, Namespaces: 2, Links: 2, Rules: 2}) {
		t.Errorf("after adopt: %+v", got)
	}
	if _, err := os.Stat(orphan.NetNS); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("orphan is there: %v", err)
	}
	fresh := w.acquire(second, allow)
	if fresh.GuestIP == kept.GuestIP || fresh.GuestIP == denied.GuestIP {
		t.Errorf("address %v given twice", fresh.GuestIP)
	}
	if err := second.SetPolicy(context.Background(), denied.ID, allow); err != nil {
		t.Fatal(err)
	}
	if err := reach(w.guest(denied), "tcp", internetIP+":80"); err != nil {
		t.Errorf("adopted slot with a new policy: %v", err)
	}
	for _, s := range []Slot{kept, denied, fresh} {
		if err := second.Release(context.Background(), s.ID); err != nil {
			t.Error(err)
		}
	}
	if err := second.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.traces(); got != before || w.mounts() != 0 {
		t.Errorf("left, %d mounts and\n%s\nwas\n%s", w.mounts(), got, before)
	}
}

func TestCloseKeepsLeasedSlots(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	cfg := w.config()
	cfg.Ahead = 2
	first, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := w.acquire(first, allow)
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := reach(w.guest(s), "tcp", internetIP+":80"); err != nil {
		t.Errorf("while no daemon runs: %v", err)
	}
	cfg.Ahead = -1
	second := w.open(cfg)
	if lost, err := second.Adopt(context.Background(), []string{s.ID}); err != nil || lost != nil {
		t.Fatalf("lost %v, %v", lost, err)
	}
	if got := counts(t, second); got != (Counts{Leased: 1, Namespaces: 1, Links: 1, Rules: 1}) {
		t.Errorf("pool slots were kept: %+v", got)
	}
}

func TestOpenAfterReboot(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	before := w.traces()
	first, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := w.acquire(first, allow)
	first.abandon()
	// The mounts are gone, the files remain; this host kept its end of the link.
	for _, path := range []string{s.NetNS, filepath.Join(cfg.RunDir, "router")} {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	second := w.open(cfg)
	if got := w.traces(); got != before {
		t.Errorf("left of the uplink before:\n%s\nwas\n%s", got, before)
	}
	lost, err := second.Adopt(context.Background(), []string{s.ID})
	if err != nil || !slices.Equal(lost, []string{s.ID}) {
		t.Errorf("lost %v, %v", lost, err)
	}
	if got := counts(t, second); got != (Counts{}) {
		t.Errorf("%+v", got)
	}
	w.acquire(second, allow)
}

func TestOpenWithDamagedRecord(t *testing.T) {
	for _, content := range []string{"", "{", "{}", `{"subnet":"::/30"}`, `{"subnet":"10.0.0.0/8"}`} {
		w := newWorld(t)
		cfg := w.config()
		if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.RunDir, "uplink.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		w.acquire(w.open(cfg), allow)
	}
}

func TestTwoDaemons(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	cfg := w.config()
	a := w.open(cfg)
	if _, err := Open(context.Background(), cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("same run directory: %v, want ErrInUse", err)
	}
	cfg.RunDir = filepath.Join(w.dir, "run", "other")
	b := w.open(cfg)
	for _, n := range []*Network{a, b} {
		if err := reach(w.guest(w.acquire(n, allow)), "tcp", internetIP+":80"); err != nil {
			t.Error(err)
		}
	}
}
