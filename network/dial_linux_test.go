package network

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestDialIn(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	w.serve(w.guest(s), 49983)
	c, err := n.DialContext(context.Background(), netip.AddrPortFrom(s.GuestIP, 49983))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 5)
	if _, err := c.Read(buf); err != nil || string(buf) != "hello" {
		t.Fatalf("read %q, %v", buf, err)
	}
	_, err = n.DialContext(context.Background(), netip.AddrPortFrom(s.GuestIP, 9))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v, want ECONNREFUSED", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, deny)
	// A guest that does not answer at all.
	w.in(w.guest(s), func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetARPOff(link)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.DialContext(ctx, netip.AddrPortFrom(s.GuestIP, 80)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout: %v", err)
	}
	if _, err := n.DialContext(ctx, netip.AddrPortFrom(s.GuestIP, 80)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended before: %v", err)
	}
	for _, addr := range []netip.AddrPort{
		{}, netip.MustParseAddrPort("9.9.9.9:80"), netip.MustParseAddrPort("[::1]:80"), netip.AddrPortFrom(s.GuestIP, 0),
	} {
		if _, err := n.DialContext(context.Background(), addr); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", addr, err)
		}
	}
}
