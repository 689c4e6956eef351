package usernet

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// packets serves UDP in a namespace, or in that of this process for nil: answer returns what is sent back, and nil is nothing.
func (w *world) packets(ns *os.File, at string, answer func(b []byte, from net.Addr) []byte) {
	w.t.Helper()
	var pc net.PacketConn
	var err error
	listen := func() { pc, err = net.ListenPacket("udp4", at) }
	if ns == nil {
		listen()
	} else {
		w.in(ns, listen)
	}
	must(w.t, err)
	w.t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := answer(b[:n], from); reply != nil {
				_, _ = pc.WriteTo(reply, from)
			}
		}
	}()
}

// ask sends a datagram and returns the next that arrives.
func ask(c net.Conn, b []byte) ([]byte, error) {
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	reply := make([]byte, 1<<16)
	n, err := c.Read(reply)
	return reply[:n], err
}

func (w *world) udp(to string) net.Conn {
	w.t.Helper()
	c, err := w.dial(w.inside, "udp", to, patience)
	must(w.t, err)
	return c
}

func TestDatagramsOfAllSizes(t *testing.T) {
	w := newWorld(t, nil)
	w.packets(w.internet, serverAddr+":7000", func(b []byte, _ net.Addr) []byte { return b })
	a, b := w.udp(serverAddr+":7000"), w.udp(serverAddr+":7000")
	for _, size := range []int{0, 1, 1472, 1473, 8000, 65507} {
		for _, c := range []net.Conn{a, b} {
			want := bytes.Repeat([]byte{byte(size)}, size)
			if got, err := ask(c, want); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: %d, %v", size, len(got), err)
			}
		}
	}
}

func TestAClosedPortOfUDPIsReported(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := ask(w.udp(serverAddr+":1"), []byte("x")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	var f *os.File
	w.in(w.inside, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_SCTP)
		must(t, err)
		f = os.NewFile(uintptr(fd), "sctp")
		must(t, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1))
		must(t, unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{203, 0, 113, 1}}))
	})
	defer f.Close()
	must(t, f.SetDeadline(time.Now().Add(patience)))
	_, err := f.Write(make([]byte, 20))
	must(t, err)
	if _, err := f.Read(make([]byte, 100)); !errors.Is(err, unix.ENOPROTOOPT) {
		t.Error(err)
	}
}

// from is a server that answers with the port of its client.
func (w *world) from(at string) {
	w.packets(w.internet, at, func(_ []byte, from net.Addr) []byte { return []byte(from.String()) })
}

func TestFlowsEndWhenTheyAreSilent(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Flows = 2
		c.times.fresh, c.times.replied, c.times.sweep = 200*time.Millisecond, 400*time.Millisecond, 50*time.Millisecond
	})
	w.from(serverAddr + ":7000")
	first, second := w.udp(serverAddr+":7000"), w.udp(serverAddr+":7000")
	a, err := ask(first, []byte("x"))
	must(t, err)
	_, err = second.Write([]byte("x"))
	must(t, err)
	_, err = ask(second, []byte("x"))
	must(t, err)
	if again, err := ask(first, []byte("x")); err != nil || !bytes.Equal(a, again) {
		t.Errorf("a second datagram comes from %s, %v, the first from %s", again, err, a)
	}
	third := w.udp(serverAddr + ":7000")
	if _, err := ask(third, []byte("x")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("more flows than may be: %v", err)
	}
	for deadline := time.Now().Add(patience); ; { // The others end.
		must(t, third.SetDeadline(time.Now().Add(100*time.Millisecond))) // Refusals have a limit, too.
		_, err := ask(third, []byte("x"))
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// ping is a ping socket of guests.
func (w *world) ping(to string) *os.File {
	w.t.Helper()
	var f *os.File
	w.in(w.inside, func() {
		must(w.t, namespace.WriteSysctl("ipv4/ping_group_range", "0 0"))
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
		must(w.t, err)
		f = os.NewFile(uintptr(fd), "ping")
		must(w.t, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1)) // All errors are reported.
		must(w.t, unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte(net.ParseIP(to).To4())}))
	})
	w.t.Cleanup(func() { f.Close() })
	must(w.t, f.SetDeadline(time.Now().Add(patience)))
	return f
}

// pinged sends an echo request and returns the reply's data.
func pinged(f *os.File, seq byte, size int) ([]byte, error) {
	request := append([]byte{8, 0, 0, 0, 0, 0, 0, seq}, bytes.Repeat([]byte{seq}, size)...)
	if _, err := f.Write(request); err != nil {
		return nil, err
	}
	reply := make([]byte, 1<<16)
	n, err := f.Read(reply)
	if err != nil || n < 8 || reply[0] != 0 || reply[7] != seq {
		return nil, errors.Join(err, errors.New("no reply"))
	}
	return reply[8:n], nil
}

func TestEchoRequests(t *testing.T) {
	w := newWorld(t, nil)
	// A new namespace gives no ping sockets to anyone, as some hosts. A false reply would be worse than none.
	if _, err := pinged(w.ping(serverAddr), 1, 56); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("without ping sockets: %v", err)
	}
	must(t, namespace.WriteSysctl("ipv4/ping_group_range", "0 0"))
	for _, to := range []string{serverAddr, "192.0.2.2", w.cfg.Gateway().String()} {
		f := w.ping(to)
		for seq, size := range []int{0, 56, 1400, 4000} {
			if got, err := pinged(f, byte(seq), size); err != nil || len(got) != size {
				t.Errorf("%s: %d bytes of %d, %v", to, len(got), size, err)
			}
		}
	}
	for _, to := range []string{hostAddr, absentAddr} {
		if _, err := pinged(w.ping(to), 1, 56); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("%s: %v", to, err)
		}
	}
}
