package network

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
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

// Too many changes at once end a subscription, and so does an interface that
// cannot be switched: neither ends the following.
func TestTheWayToTheInternetIsFollowedAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		n := &Network{cfg: Config{OnError: func(err error) { told = append(told, err) }}}
		ctx, stop := context.WithCancel(t.Context())
		failed := errors.New("no socket")
		tries := 0
		var changes chan netlink.RouteUpdate
		subscribe := func(done <-chan struct{}) (<-chan netlink.RouteUpdate, error) {
			if tries++; tries == 1 {
				return nil, failed
			}
			changes = make(chan netlink.RouteUpdate)
			return changes, nil
		}
		u := &uplink{} // which is not up: there is nothing to switch yet
		ended := make(chan struct{})
		go func() {
			n.repeat(ctx, nil, "follow", func(ctx context.Context) error { return u.watch(ctx, subscribe) })
			close(ended)
		}()
		synctest.Wait()
		time.Sleep(retryFirst)
		synctest.Wait()
		if tries != 2 || len(told) != 1 || !errors.Is(told[0], failed) {
			t.Fatalf("%d tries, told of %v", tries, told)
		}
		changes <- netlink.RouteUpdate{}
		close(changes) // by the kernel
		synctest.Wait()
		time.Sleep(2 * retryFirst)
		synctest.Wait()
		if tries != 3 || len(told) != 2 || !errors.Is(told[1], errNotFollowed) {
			t.Errorf("%d tries, told of %v", tries, told)
		}
		stop()
		<-ended
		close(changes)
		if len(told) != 2 {
			t.Errorf("told of its end: %v", told)
		}
	})
}
