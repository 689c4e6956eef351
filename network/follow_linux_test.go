package network

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestTheInternetThatComesLater(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	gateway := &netlink.Route{Gw: net.ParseIP("9.9.9.1")}
	w.in(w.host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link) // and its routes are gone
	})
	before := w.traces()
	cfg := w.config()
	n := w.open(cfg)
	slot := w.acquire(n, allow)
	guest := w.guest(slot)
	if err := reach(guest, "tcp", internetIP+":80"); err == nil {
		t.Fatal("internet without a way to it")
	}
	w.in(w.host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		return netlink.RouteAdd(gateway)
	})
	deadline := time.Now().Add(10 * time.Second)
	for reach(guest, "tcp", internetIP+":80") != nil {
		if time.Now().After(deadline) {
			t.Fatal("the slot never reaches the internet")
		}
	}
	for _, ip := range append(deniedIPs, hostIP) {
		if err := reach(guest, "tcp", ip+":80"); err == nil {
			t.Errorf("%s is reached", ip)
		}
	}
	if err := n.Release(context.Background(), slot.ID); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.in(w.host, func() error { return netlink.RouteDel(gateway) })
	w.in(w.host, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	})
	if got := w.traces(); got != before {
		t.Errorf("left in the daemon's namespace:\n%s\nwas\n%s", got, before)
	}
}
