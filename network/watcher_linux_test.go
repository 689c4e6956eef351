package network

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/changes"
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
	if err := reachWithin(silence, guest, "tcp", internetIP+":80"); err == nil {
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
	deadline := time.Now().Add(time.Minute)
	for reachWithin(silence, guest, "tcp", internetIP+":80") != nil {
		if time.Now().After(deadline) {
			t.Fatal("the slot never reaches the internet")
		}
	}
	for _, ip := range append(deniedIPs, hostIP) {
		if err := reachWithin(silence, guest, "tcp", ip+":80"); err == nil {
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

// The end of the kernel's reports ends no watch for good.
func TestTheNetworkIsWatchedAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The loop is woken by time, which orders nothing for the race detector.
		var mu sync.Mutex
		var told []error
		tries := 0
		onError := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, err)
		}
		failed := errors.New("no socket")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			retries.Repeat(ctx, nil, func(ctx context.Context) error {
				mu.Lock()
				tries++
				try := tries
				mu.Unlock()
				switch try {
				case 1:
					return failed
				case 2:
					time.Sleep(time.Hour)
					return changes.ErrNotFollowed
				}
				<-ctx.Done()
				return nil
			}, onError)
			close(ended)
		}()
		check := func(wantTries int, want ...error) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if tries != wantTries || len(told) != len(want) || len(want) > 0 && !errors.Is(told[len(told)-1], want[len(want)-1]) {
				t.Errorf("%d tries, told of %v; want %d and %v", tries, told, wantTries, want)
			}
		}
		check(1, failed)
		time.Sleep(2 * retries.First)
		check(2, failed)
		time.Sleep(time.Hour)
		check(2, failed, changes.ErrNotFollowed)
		time.Sleep(3 * retries.First)
		check(3, failed, changes.ErrNotFollowed)
		stop()
		<-ended
		check(3, failed, changes.ErrNotFollowed)
	})
}
