package usernet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/usernet/wire"
)

// set changes the inner end of the link.
func (w *world) set(change func(netlink.Link) error) {
	w.t.Helper()
	w.in(w.inside, func() {
		link, err := netlink.LinkByName(nearName)
		must(w.t, err)
		must(w.t, change(link))
	})
}

func TestConnectionsOfAnEarlierServeAreReset(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	told, untold := w.tcp(serverAddr+":7000"), w.tcp(serverAddr+":7000")
	must(t, answers(told))
	must(t, answers(untold))
	must(t, w.end())
	if _, err := told.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("when Serve ends: %v", err)
	}
	w.serve()
	must(t, answers(w.tcp(serverAddr+":7000")))

	// One that was killed says nothing.
	silent := w.tcp(serverAddr + ":7000")
	must(t, answers(silent))
	w.set(netlink.LinkSetDown)
	must(t, w.end())
	w.serve()
	must(t, silent.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("it was notified: %v", err)
	}
	must(t, silent.SetReadDeadline(time.Now().Add(patience)))
	_, err := silent.Write([]byte("x"))
	must(t, err)
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after a new Serve: %v", err)
	}
}

func TestALinkIsTakenOverAndMended(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	var index int
	w.set(func(l netlink.Link) error { index = l.Attrs().Index; return nil })
	works := func(what string, same bool) {
		t.Helper()
		must(t, w.end())
		w.serve()
		must(t, answers(w.tcp(serverAddr+":7000")))
		w.set(func(l netlink.Link) error {
			if (l.Attrs().Index == index) != same {
				t.Errorf("%s: link %d, and %d before", what, l.Attrs().Index, index)
			}
			index = l.Attrs().Index
			return nil
		})
	}
	works("nothing changed", true)
	w.set(func(l netlink.Link) error {
		addr, err := netlink.ParseAddr("198.51.100.7/24")
		must(t, err)
		return errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetMTU(l, 1400), netlink.LinkSetARPOn(l), netlink.LinkSetDown(l))
	})
	works("changed", true)
	w.set(func(l netlink.Link) error {
		addrs, err := netlink.AddrList(l, unix.AF_INET)
		if len(addrs) != 1 || l.Attrs().MTU != 1500 {
			t.Errorf("addresses %v, MTU %d", addrs, l.Attrs().MTU)
		}
		return err
	})
	w.set(func(l netlink.Link) error {
		return errors.Join(netlink.LinkDel(l), netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nearName}, PeerName: "other"}))
	})
	w.gone()
	works("half a link", false)
}

func TestServeEndsWithItsLinkAndNotWhenThatIsDown(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	w.in(w.inside, func() {
		far, err := netlink.LinkByName(farName)
		must(t, err)
		must(t, netlink.LinkSetDown(far))
		must(t, netlink.LinkSetUp(far))
		must(t, netlink.RouteReplace(&netlink.Route{Gw: w.cfg.Gateway().AsSlice()}))
	})
	must(t, answers(w.tcp(serverAddr+":7000")))
	w.set(netlink.LinkDel)
	w.gone()
}

// gone waits until Serve reports that the link was deleted.
func (w *world) gone() {
	w.t.Helper()
	select {
	case err := <-w.ended:
		if !errors.Is(err, wire.ErrGone) {
			w.t.Error(err)
		}
		w.ended <- nil // For the end of the test.
	case <-time.After(patience):
		w.t.Error("Serve goes on without a link")
	}
}

func TestWrongConfigurationsAndFiles(t *testing.T) {
	for name, cfg := range map[string]Config{
		"IPv6":              {Prefix: netip.MustParsePrefix("fd00::/64")},
		"too small":         {Prefix: netip.MustParsePrefix("198.19.0.0/30")},
		"MTU":               {MTU: 100},
		"negative":          {Connections: -1},
		"negative for Dial": {Dials: -1},
	} {
		if err := Serve(context.Background(), nil, cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
		if f, err := Link(cfg); err == nil {
			f.Close()
			t.Errorf("%s: a link", name)
		}
	}
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	if err := Serve(context.Background(), r, Config{}); err == nil {
		t.Error("served a pipe")
	}
}

// frames sends frames as a guest with a packet socket could, at most.
func (w *world) frames(send func(write func([]byte))) {
	w.t.Helper()
	w.in(w.inside, func() {
		link, err := netlink.LinkByName(nearName)
		must(w.t, err)
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		must(w.t, err)
		defer func() { must(w.t, unix.Close(fd)) }()
		to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 8} // ETH_P_IP in network order.
		send(func(b []byte) { _ = unix.Sendto(fd, b, 0, to) })                  // The kernel may refuse them.
	})
}

func TestHostileFramesDoNoHarm(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	held := w.tcp(serverAddr + ":7000")
	must(t, answers(held))
	noise := make([]byte, 2000)
	from, to := w.cfg.Inside().As4(), [4]byte{203, 0, 113, 1}
	ip := func(b []byte, protocol byte, fragment uint16) []byte { // An IP header with a checksum.
		binary.BigEndian.PutUint16(b[12:], 0x800)
		h := b[14:34]
		h[0], h[1], h[8], h[9] = 0x45, 0, 64, protocol
		binary.BigEndian.PutUint16(h[2:], uint16(len(b)-14))
		binary.BigEndian.PutUint16(h[6:], fragment)
		h[10], h[11] = 0, 0
		copy(h[12:], from[:])
		copy(h[16:], to[:])
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(h[i:]))
		}
		for sum>>16 > 0 {
			sum = sum&0xffff + sum>>16
		}
		binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
		return b
	}
	w.frames(func(write func([]byte)) {
		for i := range 4000 {
			_, _ = rand.Read(noise)
			size := 14 + int(binary.BigEndian.Uint16(noise))%1500
			write(noise[:size]) // Anything, of any kind.
			binary.BigEndian.PutUint16(noise[12:], 0x806)
			write(noise[:42]) // ARP.
			binary.BigEndian.PutUint16(noise[12:], 0x86dd)
			write(noise[:size]) // IPv6.
			if size < 34 {
				continue
			}
			write(ip(noise[:size], noise[100], 0))                               // Any protocol with anything in it.
			write(ip(noise[:size], []byte{1, 6, 17, 132}[i%4], 0))               // TCP with any flags.
			write(ip(noise[:size], 17, 0x2000|uint16(i)&0x1fff))                 // Fragments that are never whole.
			write(ip(noise[:size], 17, binary.BigEndian.Uint16(noise)&0x3fff|1)) // Others that overlap.
		}
	})
	must(t, answers(held))
	must(t, answers(w.tcp(serverAddr+":7000")))
}

// left are the goroutines and descriptors of this process.
func left(t *testing.T) (goroutines, descriptors int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, f := range files {
		// The pipes are those with which package net copies for the echo server; it keeps them.
		if name, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && !strings.HasPrefix(name, "pipe:") {
			descriptors++
		}
	}
	return runtime.NumGoroutine(), descriptors
}

func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t, nil)
	w.listen(w.internet, serverAddr+":7000", echo)
	w.packets(w.internet, serverAddr+":7000", func(b []byte, _ net.Addr) []byte { return b })
	must(t, w.end())
	var goroutines, descriptors int
	for round := range 3 {
		w.serve()
		conns := []net.Conn{w.tcp(serverAddr + ":7000"), w.tcp(serverAddr + ":7000"), w.udp(serverAddr + ":7000"), w.udp(serverAddr + ":1")}
		for _, c := range conns[:3] {
			must(t, answers(c))
		}
		_, _ = ask(conns[3], []byte("x"))
		must(t, conns[0].Close())
		_, err := w.dial(w.inside, "tcp", silentAddr+":1", 100*time.Millisecond) // Its dial goes on.
		if err == nil {
			t.Fatal("a silent host accepted")
		}
		must(t, w.end())
		for _, c := range conns {
			_ = c.Close()
		}
		if round == 0 { // The first starts what stays, as the poller.
			goroutines, descriptors = left(t)
			continue
		}
		for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
			g, d := left(t)
			if g <= goroutines && d <= descriptors {
				break
			}
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Fatalf("%d goroutines and %d descriptors, before %d and %d:\n%s", g, d, goroutines, descriptors, buf[:runtime.Stack(buf, true)])
			}
		}
	}
}
