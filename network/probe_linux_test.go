package network

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/miekg/dns"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/slash30"
)

// probes are guests that send to forbidden targets without end, and counters of
// what arrives at the targets, and of packets of guests that leave the host
// under an address that is not the host's.
type probes struct {
	w              *world
	sent, unmasked atomic.Int64
	ctx            context.Context // Nil before the first start.
	stop           context.CancelFunc
	senders        sync.WaitGroup
	mu             sync.Mutex
	where          map[string]int64 // What arrived, by target.
}

const probePort = "9"

// newProbes watches the targets: the host by its addresses, another slot, and
// what is denied beyond the host. The router is not among them: nothing listens
// there, so that without its rules it refuses connections itself.
func (w *world) newProbes(n *Network, other Slot) (*probes, []string) {
	p := &probes{w: w, where: map[string]int64{}}
	link := n.uplinkSubnet(w.t)
	targets := []string{hostIP, hostPrivate, slash30.Near(link).String(), other.GuestIP.String()}
	for _, ns := range []*os.File{w.host, w.guest(other), w.outer} {
		p.sink(ns)
	}
	p.capture()
	targets = append(targets, deniedIPs...)
	return p, targets
}

// sink counts what comes to the probes' port of a namespace, by any address.
func (p *probes) sink(ns *os.File) {
	udp := p.w.listenUDP(ns, "0.0.0.0:"+probePort)
	var tcp net.Listener
	p.w.in(ns, func() (err error) {
		tcp, err = net.Listen("tcp4", "0.0.0.0:"+probePort)
		return err
	})
	p.w.t.Cleanup(func() { tcp.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			k, _, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			p.count(string(buf[:k]))
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			p.count("tcp to " + c.LocalAddr().String())
			c.Close()
		}
	}()
}

func (p *probes) count(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.where[what]++
}

func (p *probes) arrivals(what string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.where[what]
}

// capture counts IPv4 packets that leave the host and are not from it.
func (p *probes) capture() {
	own := map[netip.Addr]bool{netip.MustParseAddr(hostIP): true, netip.MustParseAddr(hostPrivate): true}
	var f *os.File
	p.w.in(p.w.outer, func() error {
		proto := unix.ETH_P_IP >> 8 // In network order.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "capture")
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: link.Index})
	})
	p.w.t.Cleanup(func() { f.Close() })
	raw, err := f.SyscallConn()
	if err != nil {
		p.w.t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 128)
		for {
			var k int
			var from unix.Sockaddr
			err := raw.Read(func(fd uintptr) bool {
				k, from, err = unix.Recvfrom(int(fd), buf, 0)
				return !errors.Is(err, unix.EAGAIN)
			})
			if err != nil {
				return
			}
			ll, ok := from.(*unix.SockaddrLinklayer)
			if !ok || k < 20 || ll.Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if src := netip.AddrFrom4([4]byte(buf[12:16])); !own[src] {
				p.unmasked.Add(1)
			}
		}
	}()
}

// start has guests send to the targets, and to the internet, until end.
func (p *probes) start(targets []string, guests ...Slot) {
	ctx := p.begin()
	for _, s := range guests {
		ns := p.w.guest(s)
		for _, target := range append(targets, internetIP) {
			if target == s.GuestIP.String() {
				continue
			}
			var udp net.Conn
			p.w.in(ns, func() (err error) {
				udp, err = net.Dial("udp4", net.JoinHostPort(target, probePort))
				return err
			})
			to := unix.SockaddrInet4{Port: 9, Addr: netip.MustParseAddr(target).As4()}
			p.senders.Go(func() {
				defer udp.Close()
				again := time.NewTicker(2 * time.Millisecond)
				defer again.Stop()
				for i := 0; ctx.Err() == nil; i++ {
					if target != internetIP || i%8 == 0 {
						udp.Write([]byte("udp to " + target))
					}
					if i%16 == 0 && target != internetIP {
						p.knock(ns, &to)
					}
					p.sent.Add(1)
					<-again.C
				}
			})
		}
	}
}

// begin returns a context that ends with the probes.
func (p *probes) begin() context.Context {
	if p.ctx == nil {
		p.ctx, p.stop = context.WithCancel(context.Background())
		p.w.t.Cleanup(p.end)
	}
	return p.ctx
}

// startNames has guests ask for a name that is forbidden, by DNS and by TLS at an address, until end.
func (p *probes) startNames(addr string, guests ...Slot) {
	ctx := p.begin()
	for _, s := range guests {
		ns := p.w.guest(s)
		p.senders.Go(func() {
			q, err := new(dns.Msg).SetQuestion("forbidden.example.", dns.TypeA).Pack()
			if err != nil {
				p.w.t.Error(err)
				return
			}
			for ctx.Err() == nil {
				if udp, err := rawDial(ns, "udp", resolverIP+":53"); err == nil {
					udp.Write(q)
					udp.Close()
				}
				if tcp, err := rawDial(ns, "tcp", addr+":443"); err == nil {
					tcp.SetDeadline(time.Now().Add(time.Second))
					tls.Client(tcp, &tls.Config{ServerName: "forbidden.example", InsecureSkipVerify: true}).Handshake()
					tcp.Close()
				}
				p.sent.Add(2)
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond): // A slot has a share of new flows.
				}
			}
		})
	}
}

// knock sends a SYN and does not wait for an answer.
func (p *probes) knock(ns *os.File, to unix.Sockaddr) {
	namespace.In(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err == nil {
			unix.Connect(fd, to)
			unix.Close(fd)
		}
		return err
	})
}

func (p *probes) end() {
	p.stop()
	p.senders.Wait()
	p.ctx = nil
}

// check reports what arrived where it must not. Datagrams to the internet arrive
// at the outer namespace's sink, and may.
func (p *probes) check(t testing.TB, when string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for what, k := range p.where {
		if what != "udp to "+internetIP {
			t.Errorf("%s: %d arrived: %s", when, k, what)
		}
	}
	if k := p.unmasked.Load(); k != 0 {
		t.Errorf("%s: %d packets left the host under another address", when, k)
	}
}
