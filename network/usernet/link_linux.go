package usernet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/usernet/wire"
)

const nearName, farName = "usernet0", "usernet1"

// Link makes the link in the network namespace of the calling thread, or mends the one that is there, and returns the
// socket for Serve. It needs CAP_NET_ADMIN and CAP_NET_RAW in the user namespace of that network namespace. The caller
// closes the file; the link stays until it is deleted or the namespace ends. At most one Serve may use the
// sockets of a link at a time. An error leaves a link that a later call mends.
func Link(cfg Config) (*os.File, error) {
	cfg, err := cfg.withDefaults(0)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread() // All sockets below belong to one namespace.
	defer runtime.UnlockOSThread()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	near, far, err := pair(h, cfg)
	if err != nil {
		return nil, err
	}
	if err := setUp(h, near, far, cfg); err != nil {
		return nil, fmt.Errorf("set up %s: %w", nearName, err)
	}
	if err := awaitUp(h); err != nil {
		return nil, err
	}
	f, err := wire.Socket(far.Attrs().Index)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", farName, err)
	}
	return f, nil
}

// pair returns both ends of the link. Half a link, or one that is something else, is replaced.
func pair(h *netlink.Handle, cfg Config) (near, far netlink.Link, err error) {
	find := func() error {
		near, err = h.LinkByName(nearName)
		if err == nil {
			far, err = h.LinkByName(farName)
		}
		return err
	}
	if find() == nil && near.Type() == "veth" && near.Attrs().ParentIndex == far.Attrs().Index && far.Attrs().ParentIndex == near.Attrs().Index {
		return near, far, nil
	}
	for _, name := range []string{nearName, farName} {
		if old, err := h.LinkByName(name); err == nil {
			if err := h.LinkDel(old); err != nil {
				return nil, nil, fmt.Errorf("delete the old %s: %w", name, err)
			}
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = nearName, cfg.MTU, wire.NearMAC
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerHardwareAddr: wire.PeerMAC}); err != nil {
		return nil, nil, fmt.Errorf("make %s: %w", nearName, err)
	}
	if err := find(); err != nil {
		return nil, nil, fmt.Errorf("find %s: %w", nearName, err)
	}
	return near, far, nil
}

func setUp(h *netlink.Handle, near, far netlink.Link, cfg Config) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	err = h.LinkSetUp(lo)
	for end, mac := range map[netlink.Link]net.HardwareAddr{near: wire.NearMAC, far: wire.PeerMAC} {
		err = errors.Join(err, quiet(end.Attrs().Name), h.LinkSetARPOff(end), h.LinkSetMTU(end, cfg.MTU))
		if !bytes.Equal(end.Attrs().HardwareAddr, mac) {
			err = errors.Join(err, h.LinkSetHardwareAddr(end, mac))
		}
		err = errors.Join(err, h.LinkSetUp(end))
	}
	inside := netip.PrefixFrom(cfg.Inside(), cfg.Prefix.Bits())
	if err := errors.Join(err, onlyAddress(h, near, inside), onlyAddress(h, far, netip.Prefix{})); err != nil {
		return err
	}
	return h.RouteReplace(&netlink.Route{LinkIndex: near.Attrs().Index, Gw: cfg.Gateway().AsSlice()})
}

// upTime is how long the kernel may take to activate the link: it does so in the background, and drops packets until then.
const upTime = 5 * time.Second

func awaitUp(h *netlink.Handle) error {
	for deadline := time.Now().Add(upTime); ; <-time.After(time.Millisecond) {
		near, err := h.LinkByName(nearName)
		if err != nil {
			return err
		}
		far, err := h.LinkByName(farName)
		if err != nil {
			return err
		}
		if near.Attrs().OperState == netlink.OperUp && far.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is %v and %s is %v after %v", nearName, near.Attrs().OperState, farName, far.Attrs().OperState, upTime)
		}
	}
}

// quiet keeps the kernel from speaking on an interface unasked, and from forwarding what arrives there.
func quiet(name string) error {
	var errs []error
	for key, value := range map[string]string{"ipv6/conf/" + name + "/disable_ipv6": "1", "ipv4/conf/" + name + "/arp_ignore": "8"} {
		err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
		if errors.Is(err, os.ErrNotExist) { // A kernel without IPv6.
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// onlyAddress leaves an interface with one address, or with none.
func onlyAddress(h *netlink.Handle, link netlink.Link, want netip.Prefix) error {
	have, err := h.AddrList(link, unix.AF_INET)
	if err != nil {
		return err
	}
	found := !want.IsValid()
	for _, a := range have {
		if a.IPNet.String() == want.String() {
			found = true
			continue
		}
		if err := h.AddrDel(link, &a); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	addr, err := netlink.ParseAddr(want.String())
	if err != nil {
		return err
	}
	return h.AddrAdd(link, addr)
}
