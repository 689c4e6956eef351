package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/links"
	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// router is the namespace with the host ends of all slots.
type router struct {
	ns    *os.File
	links *netlink.Handle
	// prefix6 is what the IPv6 addresses of slots begin with.
	prefix6 netip.Prefix
	// switches are read by settle, which is called by one at a time.
	switches *settle.Watched
}

// openRouter opens the router namespace bound to path, or makes it. found
// reports which.
func openRouter(path string, slotRange, prefix6 netip.Prefix) (r *router, found bool, err error) {
	ns, found, err := namespace.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("open router namespace: %w", err)
	}
	if !found {
		if err := namespace.Remove(path); err != nil {
			return nil, false, fmt.Errorf("clear router namespace: %w", err)
		}
		if err := namespace.Create(path, setUpRouter); err != nil {
			return nil, false, fmt.Errorf("create router namespace: %w", err)
		}
		var ok bool
		if ns, ok, err = namespace.Open(path); err != nil || !ok {
			return nil, false, fmt.Errorf("open new router namespace: %w", errors.Join(err, namespace.Remove(path)))
		}
	}
	links, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, false, fmt.Errorf("open netlink in router namespace: %w", err)
	}
	r = &router{ns: ns, links: links, prefix6: prefix6, switches: settle.Watch(ns)}
	if _, err := r.settle(slotRange, true); err != nil {
		r.close()
		if !found {
			err = errors.Join(err, namespace.Remove(path))
		}
		return nil, false, fmt.Errorf("set up router namespace: %w", err)
	}
	return r, found, nil
}

// setUpRouter runs inside the new router namespace. It does what is done once;
// settle does the rest.
func setUpRouter() error {
	if err := namespace.DisableIPv6(); err != nil {
		return err
	}
	// Errors for refused packets go to the guest that sent them, one for one:
	// the usual limit would turn "refused" into a timeout.
	for key, value := range map[string]string{
		"ipv4/icmp_ratelimit":              "0",
		"ipv4/conf/all/send_redirects":     "0",
		"ipv4/conf/default/send_redirects": "0",
		"ipv4/conf/all/accept_redirects":   "0",
		"ipv4/conf/all/arp_ignore":         "1",
		"ipv4/conf/default/rp_filter":      "1",
	} {
		if err := namespace.WriteSysctl(key, value); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func (r *router) close() {
	r.switches.Close()
	r.links.Close()
	r.ns.Close()
}

// connect makes the veth pair of a slot. It runs inside the slot's namespace;
// the other end appears in the router, already filtered.
func (r *router) connect(id string, subnet netip.Prefix, v6 bool) error {
	if err := namespace.DisableIPv6(); err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	err = h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: id, PeerNamespace: netlink.NsFd(r.ns.Fd())})
	if err != nil {
		return fmt.Errorf("add veth pair: %w", err)
	}
	if v6 {
		if err := ipv6.Connect(h, r.ns, r.links, id, r.prefix6, subnet); err != nil {
			return err
		}
	}
	if err := links.BringUp(r.links, id, slash30.Near(subnet)); err != nil {
		return err
	}
	if err := links.BringUp(h, "eth0", slash30.Far(subnet)); err != nil {
		return err
	}
	if err := links.BringUp(h, "lo", netip.Addr{}); err != nil {
		return err
	}
	if err := namespace.LoopbackIPv6(); err != nil {
		return fmt.Errorf("turn IPv6 on for lo: %w", err)
	}
	if err := links.AddDefaultRoute(h, slash30.Near(subnet)); err != nil {
		return err
	}
	if v6 {
		if err := ipv6.AddDefault(h, r.links, id, r.prefix6, subnet); err != nil {
			return err
		}
	}
	return errors.Join(links.AwaitUp(r.links, id), links.AwaitUp(h, "eth0"))
}
