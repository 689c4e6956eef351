package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/conntrack"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/record"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/shares"
	"github.com/rundlet/rundlet/network/slash30"
)

// uplink is the link from the router to the daemon's namespace, with everything
// that it needs there. Whatever is changed there is recorded first, so that any
// later process can undo it.
type uplink struct {
	cfg    Config
	router *router
	host   *os.File
	links  *netlink.Handle // In the daemon's namespace.
	// switches are those of the link, and forwarding those of all interfaces: guarded by mu.
	switches, forwarding *settle.Watched

	mu  sync.Mutex
	up  bool
	rec record.Uplink // While up.
	// rules is the table in the daemon's namespace.
	rules nft.Guarded
	// own is what the daemon's namespace takes for itself, see findOwn; the router
	// learns it by announce. resolvers are the name servers among it.
	own       []netip.Prefix
	announce  func(own []netip.Prefix) error
	resolvers []netip.Addr
	on6       bool // The daemon's namespace has IPv6 for guests; see ipv6.Look.
	// shaped is the index of the link whose queues this process has made, and
	// unshaped whether the kernel has none; see settleShape.
	shaped   int
	unshaped bool
	// times is shares.Times, or nil on a kernel without; see expectRules.
	times func(*nftables.Table) *nftables.NamedObj
}

// openUplink opens the daemon's namespace. An uplink whose router is gone, or
// that was not finished, is removed.
func openUplink(cfg Config, r *router, routerFound bool, announce func(own []netip.Prefix) error) (_ *uplink, err error) {
	u := &uplink{cfg: cfg, router: r, announce: announce, times: shares.Times}
	defer func() {
		if err != nil {
			u.close()
		}
	}()
	path := cfg.HostNetNS
	if path == "" {
		path = namespace.Own
	}
	if u.host, err = os.Open(path); err != nil {
		return nil, fmt.Errorf("open the daemon's network namespace: %w", err)
	}
	u.switches, u.forwarding = settle.Watch(u.host), settle.Watch(u.host)
	u.links, err = netlink.NewHandleAt(netns.NsHandle(u.host.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in the daemon's network namespace: %w", err)
	}
	u.rules = nft.Guarded{NS: u.host, Table: u.table(), Static: slices.Concat(staticSets, ipv6.Static)}
	rec, ok, err := u.load()
	if err != nil {
		return nil, err
	}
	if _, err := u.look6(); err != nil || !ok {
		return u, err
	}
	if routerFound && cfg.Uplink == UplinkAuto && rec.Subnet.IsValid() && u.whole() {
		// This program may be a newer one, and what was lost meanwhile is repaired.
		u.rec = rec
		if _, err := u.settle(true, true); err != nil {
			return nil, err
		}
		u.up = true
		return u, nil
	}
	return u, u.remove()
}

func (u *uplink) close() {
	u.rules.Close()
	if u.links != nil {
		u.links.Close()
	}
	if u.host != nil {
		u.switches.Close()
		u.forwarding.Close()
		u.host.Close()
	}
}

func (u *uplink) name() string       { return u.cfg.Instance + "up" }
func (u *uplink) table() string      { return "rundlet_" + u.cfg.Instance }
func (u *uplink) recordPath() string { return filepath.Join(u.cfg.RunDir, "uplink.json") }

// whole reports whether both ends are there.
func (u *uplink) whole() bool {
	_, host := u.links.LinkByName(u.name())
	_, router := u.router.links.LinkByName(uplinkRouter)
	return host == nil && router == nil
}

// ensure sets the uplink up if it is not. A failure leaves nothing.
func (u *uplink) ensure() error {
	if u.cfg.Uplink == UplinkNone {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.up {
		return nil
	}
	if err := u.create(); err != nil {
		return errors.Join(err, u.removeLocked())
	}
	u.up = true
	return nil
}

func (u *uplink) create() (err error) {
	u.rec, u.rules.Want = record.Uplink{Forwarding: map[string]string{}}, ""
	if u.rec.Subnet, err = links.FreeSubnet(u.links, u.cfg.LinkRange, u.cfg.Instance); err != nil {
		return err
	}
	if err := u.save(u.rec); err != nil {
		return err
	}
	_, err = u.settle(true, true)
	return err
}

// lookAfter is settle for an uplink that was made.
func (u *uplink) lookAfter(deep, mend bool) (lost []string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.up {
		if deep {
			_, err = u.look6()
		}
		return nil, err // create looks for itself.
	}
	return u.settle(deep, mend)
}

// remove undoes create, whole or in part. It can be repeated.
func (u *uplink) remove() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.removeLocked()
}

func (u *uplink) removeLocked() error {
	rec, ok, err := u.load()
	if err != nil || !ok {
		return err
	}
	u.up = false
	if err := u.removeRoutes(rec.Subnet); err != nil {
		return err
	}
	if err := links.Delete(u.links, u.name()); err != nil {
		return err
	}
	if rec.Subnet.IsValid() {
		err := errors.Join(conntrack.ForgetFrom(u.host, slash30.Far(rec.Subnet)), ipv6.ForgetFrom(u.host, u.address6(rec.Subnet)))
		if err != nil {
			return err
		}
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(u.host.Fd())))
	if err != nil {
		return err
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: u.table()}
	conn.AddTable(t) // So that the deletion cannot fail.
	conn.DelTable(t)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete table %s: %w", u.table(), err)
	}
	if err := u.restoreForwarding(rec); err != nil {
		return err
	}
	return os.Remove(u.recordPath())
}

// restoreForwarding sets the switches back, unless somebody turned forwarding
// on for the whole machine meanwhile: then they are not ours any more.
func (u *uplink) restoreForwarding(rec record.Uplink) error {
	global, err := u.sysctl("ipv4/ip_forward", "")
	if err != nil || global == "1" {
		return err
	}
	for name, old := range rec.Forwarding {
		_, err := u.sysctl("ipv4/conf/"+name+"/forwarding", old)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sysctl reads a key of the daemon's namespace and, given a value, sets it.
func (u *uplink) sysctl(key, value string) (old string, err error) {
	err = namespace.In(u.host, func() error {
		b, err := os.ReadFile(filepath.Join("/proc/sys/net", key))
		if err != nil {
			return err
		}
		if old = strings.TrimSpace(string(b)); value == "" || value == old {
			return nil
		}
		return namespace.WriteSysctl(key, value)
	})
	return old, err
}

func (u *uplink) load() (record.Uplink, bool, error) { return record.Load(u.recordPath()) }

func (u *uplink) save(rec record.Uplink) error { return record.Save(u.recordPath(), rec) }

// routerInHost is the address that all guests have in the daemon's namespace; ok is false if there is
// no link to that namespace.
func (u *uplink) routerInHost() (a netip.Addr, ok bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	rec, ok, err := u.load()
	if err != nil || !ok || !rec.Subnet.IsValid() {
		return netip.Addr{}, false, err
	}
	return slash30.Far(rec.Subnet), true, nil
}
