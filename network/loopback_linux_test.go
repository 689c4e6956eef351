package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// TestASlotHasTheIPv6LoopbackOnly uses ::1 in a slot, tries to get out by IPv6,
// and looks for packets at the router's end of the slot's link.
func TestASlotHasTheIPv6LoopbackOnly(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	seen := w.captureIPv6(n.router.ns, s.ID)
	want := map[string]string{"lo": "[127.0.0.1/8 ::1/128]", "eth0": fmt.Sprintf("[%v/30]", s.GuestIP)}
	for name, addrs := range want {
		w.in(guest, func() error {
			link, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			got, err := link.Addrs()
			if fmt.Sprint(got) != addrs {
				t.Errorf("%s has %v, want %s", name, got, addrs)
			}
			return err
		})
	}
	w.serve(guest, 80)
	for _, network := range []string{"tcp", "udp"} {
		if err := reach(guest, network, "[::1]:80"); err != nil {
			t.Errorf("%s to itself: %v", network, err)
		}
		for _, addr := range []string{"[2001:db8::1]:80", "[ff02::1%eth0]:80", "[fe80::1%eth0]:80"} {
			if err := reach(guest, network, addr); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s to %s: %v, want an immediate error", network, addr, err)
			}
		}
	}
	if err := seen(0); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("an IPv6 packet left the slot: %v", err)
	}
	w.in(guest, func() error { return namespace.WriteSysctl("ipv6/conf/eth0/disable_ipv6", "0") })
	if err := seen(10 * time.Second); err != nil {
		t.Errorf("with IPv6 on eth0 no packet was seen: %v", err)
	}
}

// captureIPv6 returns what waits until an IPv6 packet has come to a link.
func (w *world) captureIPv6(ns *os.File, name string) func(wait time.Duration) error {
	w.t.Helper()
	proto := unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6&0xff<<8 // In network order.
	var fd int
	w.in(ns, func() (err error) {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: link.Index})
	})
	w.t.Cleanup(func() { unix.Close(fd) })
	return func(wait time.Duration) error {
		tv := unix.NsecToTimeval(int64(max(wait, time.Microsecond)))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		_, _, err := unix.Recvfrom(fd, make([]byte, 128), 0)
		return err
	}
}
