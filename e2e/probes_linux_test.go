package e2e

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The ports of the probes: what is sent to the first must arrive nowhere, and
// what a sandbox with internet access sends to the second in the internet.
const forbiddenPort, beatPort = 9, 7

// prober sends to its targets without end, as UDP and as SYNs, and a beat to the
// internet every ten milliseconds. It is started with the name of its sandbox.
const prober = `
import socket, sys, threading, time
name, internet, targets = sys.argv[1], sys.argv[2], sys.argv[3:]
def udp(to, port, every):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        try: s.sendto(("%s to %s" % (name, to)).encode(), (to, port))
        except OSError: pass
        time.sleep(every)
def syn(to):
    while True:
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((to, 9))
        time.sleep(0.05)
        s.close()
for to in targets:
    threading.Thread(target=udp, args=(to, 9, 0.005)).start()
    threading.Thread(target=syn, args=(to,)).start()
udp(internet, 7, 0.01)
`

// listener is a sandbox that writes down whatever comes to it.
const listener = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9))
while True: open("/tmp/got", "ab").write(s.recv(100) + b"\n")
`

// arrivals is what came to the probes' ports of the host and of the internet.
type arrivals struct {
	mu     sync.Mutex
	counts map[string]int
	last   time.Time // of a beat of the sandbox with internet access
	gap    time.Duration
	fresh  chan struct{}
}

func (a *arrivals) add(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[what]++
	if what == "allowed to "+internetAddr {
		now := time.Now()
		if !a.last.IsZero() {
			a.gap = max(a.gap, now.Sub(a.last))
		}
		a.last = now
		select {
		case a.fresh <- struct{}{}:
		default:
		}
	}
}

// take returns the longest time between two beats since the last call.
func (a *arrivals) take() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	gap := a.gap
	a.gap = 0
	return gap
}

// forbidden is what arrived and must not.
func (a *arrivals) forbidden() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]int{}
	for what, n := range a.counts {
		if what != "allowed to "+internetAddr && what != "limited to "+internetAddr && !strings.HasPrefix(what, "control") {
			out[what] = n
		}
	}
	return out
}

// await waits for the next beat.
func (a *arrivals) await(t *testing.T, when string) {
	t.Helper()
	select {
	case <-a.fresh: // An earlier one.
	default:
	}
	select {
	case <-a.fresh:
	case <-time.After(time.Minute):
		t.Fatalf("%s nothing arrives that is allowed", when)
	}
}

// check ends the test if something arrived that must not.
func (a *arrivals) check(t *testing.T, when string) {
	t.Helper()
	if bad := a.forbidden(); len(bad) > 0 {
		t.Fatalf("%s what is not allowed arrives: %v", when, bad)
	}
}

// forget returns how often something arrived since the last call.
func (a *arrivals) forget(what string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.counts[what]
	delete(a.counts, what)
	return n
}

// sink listens in the namespace of the calling thread.
func (a *arrivals) sink(t *testing.T) {
	t.Helper()
	for _, port := range []int{forbiddenPort, beatPort} {
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close(); tcp.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				n, _, err := udp.ReadFromUDP(buf)
				if err != nil {
					return
				}
				a.add(string(buf[:n]))
			}
		}()
		go func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				a.add("connection to " + c.LocalAddr().String())
				c.Close()
			}
		}()
	}
}

// capture counts what comes into the internet under another address than the
// host's. It is called on a thread in the internet.
func (a *arrivals) capture(t *testing.T) {
	t.Helper()
	packets(t, "wan1", func(packet []byte) {
		if len(packet) >= 20 && packet[0]>>4 == 4 {
			if src := net.IP(packet[12:16]).String(); src != hostAddr {
				a.add("a packet from " + src)
			}
		}
	})
}

// packets calls see with all packets, of any protocol, that come in by a link of the calling thread's namespace. They are
// valid during the call.
func packets(t *testing.T, link string, see func(packet []byte)) {
	t.Helper()
	in, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	proto := uint16(unix.ETH_P_ALL << 8) // In network order.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(proto))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: in.Index})
	}
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "packets")
	t.Cleanup(func() { f.Close() })
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 1<<16)
		for {
			var n int
			var from unix.Sockaddr
			var err error
			if raw.Read(func(fd uintptr) bool {
				n, from, err = unix.Recvfrom(int(fd), buf, 0)
				return !errors.Is(err, unix.EAGAIN)
			}) != nil || err != nil {
				return
			}
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING {
				see(buf[:n])
			}
		}
	}()
}
