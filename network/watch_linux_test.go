package network

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
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

// What the kernel reports is looked at at once, and without a report all the
// same; the end of its reports ends no watch for good.
func TestTheNetworkIsWatchedAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The watch is woken by time, which orders nothing for the race detector.
		var mu sync.Mutex
		locked := func(fn func()) {
			mu.Lock()
			defer mu.Unlock()
			fn()
		}
		var told []error
		onError := func(err error) { locked(func() { told = append(told, err) }) }
		ctx, stop := context.WithCancel(t.Context())
		failed := errors.New("no socket")
		tries := 0
		var looks []depth
		var w *news
		ended := make(chan struct{})
		go func() {
			repeat(ctx, nil, "watch", func(ctx context.Context) error {
				var first bool
				var source *news
				locked(func() {
					tries++
					first = tries == 1
					source = newNews()
					w = source
				})
				if first {
					return failed
				}
				return watch(ctx, source, func(at depth) time.Duration {
					locked(func() { looks = append(looks, at) })
					return lookEvery
				})
			}, onError)
			close(ended)
		}()
		seen := func() (triesSeen int, toldSeen []error, looksSeen []depth) {
			synctest.Wait()
			locked(func() { triesSeen, toldSeen, looksSeen = tries, slices.Clone(told), slices.Clone(looks) })
			return triesSeen, toldSeen, looksSeen
		}
		synctest.Wait()
		time.Sleep(2 * retries.First)
		if tries, told, _ := seen(); tries != 2 || len(told) != 1 || !errors.Is(told[0], failed) {
			t.Fatalf("%d tries, told of %v", tries, told)
		}
		everything := depth{host: true, router: true}
		if _, _, looks := seen(); !slices.Equal(looks, []depth{everything}) {
			t.Fatalf("at first %v", looks)
		}
		time.Sleep(leastRest)
		w.add(func(at *depth) { at.host = true })
		if _, _, looks := seen(); !slices.Equal(looks[1:], []depth{{host: true}}) {
			t.Fatalf("after a report %v", looks)
		}
		time.Sleep(lookEvery)
		if _, _, looks := seen(); !slices.Equal(looks[2:], []depth{{}}) {
			t.Fatalf("without a report %v", looks)
		}
		time.Sleep(deepEvery * lookEvery)
		if _, _, looks := seen(); len(looks) <= deepEvery || looks[deepEvery-1] != (depth{}) || looks[deepEvery] != everything {
			t.Fatalf("after %d looks without a report %v", deepEvery, looks)
		}
		w.fail(errNotFollowed)
		time.Sleep(leastRest + 3*retries.First)
		synctest.Wait()
		if tries, told, looks := seen(); tries != 3 || len(told) != 2 || !errors.Is(told[1], errNotFollowed) || looks[len(looks)-1] != everything {
			t.Errorf("%d tries, told of %v, looked %v", tries, told, looks)
		}
		stop()
		<-ended
		if len(told) != 2 {
			t.Errorf("told of its end: %v", told)
		}
	})
}
