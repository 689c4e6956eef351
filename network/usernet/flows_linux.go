package usernet

import (
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxErrors are dropped at a time; the kernel bounds them by the socket's receive buffer.
const maxErrors = 16

// datagramBytes is the longest datagram.
const datagramBytes = 1 << 16

var datagrams = sync.Pool{New: func() any { return new([datagramBytes]byte) }}

// flowKey is what a client sends to one host from one port, or with one identifier of echo requests.
type flowKey struct {
	protocol tcpip.TransportProtocolNumber
	from     uint16
	to       netip.AddrPort // Of echo requests without a port.
}

// flow has a connected socket.
type flow struct {
	key     flowKey
	socket  socket
	raw     syscall.RawConn
	used    atomic.Int64 // When the last packet was passed on, in nanoseconds since flows began.
	replied atomic.Bool
}

// socket is of UDP, or one that the kernel lets users ping with.
type socket interface {
	io.Closer
	syscall.Conn
}

// flows are those of UDP and echo requests. Their bound is one of descriptors.
type flows struct {
	g     *gateway
	bound *bound
	began time.Time

	mu     sync.Mutex
	all    map[flowKey]*flow
	closed bool
}

func (f *flows) init(g *gateway) {
	*f = flows{g: g, bound: &bound{name: "flows", most: g.cfg.Flows, log: g.cfg.Log}, began: time.Now(), all: map[flowKey]*flow{}}
}

// find returns the flow of a key. If there is none yet, open makes its socket; nil means that it could not, or that there are too many.
func (f *flows) find(key flowKey, open func() (socket, error)) (*flow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if found := f.all[key]; found != nil || f.closed {
		return found, nil
	}
	if !f.bound.take() {
		return nil, errFull
	}
	s, err := open()
	if err != nil {
		f.bound.give()
		return nil, err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		f.bound.give()
		s.Close()
		return nil, err
	}
	control := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVERR, 1) })
	if err = errors.Join(control, err); err != nil {
		f.bound.give()
		s.Close()
		return nil, err
	}
	made := &flow{key: key, socket: s, raw: raw}
	f.touch(made)
	f.all[key] = made
	f.g.work.Go(func() {
		defer f.bound.give()
		f.g.replies(made)
		f.mu.Lock()
		delete(f.all, key)
		f.mu.Unlock()
		s.Close()
	})
	return made, nil
}

var errFull = errors.New("there are as many as may be")

func (f *flows) touch(one *flow) { one.used.Store(int64(time.Since(f.began))) }

// sweep ends flows that are silent, until Serve ends.
func (f *flows) sweep() {
	tick := time.NewTicker(f.g.cfg.times.sweep)
	defer tick.Stop()
	for {
		select {
		case <-f.g.ctx.Done():
			return
		case <-tick.C:
		}
		now := int64(time.Since(f.began))
		f.mu.Lock()
		for _, one := range f.all {
			most := f.g.cfg.times.fresh
			if one.replied.Load() {
				most = f.g.cfg.times.replied
			}
			if now-one.used.Load() > int64(most) {
				one.socket.Close() // Its goroutine does the rest.
			}
		}
		f.mu.Unlock()
	}
}

// close ends all, and lets none begin.
func (f *flows) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, one := range f.all {
		one.socket.Close()
	}
}

// send passes on a datagram. One that the socket cannot take at once is lost, as on any link.
func (g *gateway) send(one *flow, data []byte) {
	g.flows.touch(one)
	for range 2 { // An error of an earlier datagram keeps this one from being sent.
		var fault error
		_ = one.raw.Write(func(fd uintptr) bool {
			_, fault = unix.Write(int(fd), data)
			return true
		})
		if fault == nil || errors.Is(fault, unix.EAGAIN) {
			return
		}
		g.report(one, fault)
	}
}

// report passes on what the host learned about the destination of a flow. The kernel keeps a copy, which is dropped.
func (g *gateway) report(one *flow, fault error) {
	if fault == nil {
		return
	}
	_ = one.raw.Control(func(fd uintptr) {
		for range maxErrors {
			if _, _, _, _, err := unix.Recvmsg(int(fd), nil, nil, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); err != nil {
				return
			}
		}
	})
	code, ok := unreachable(fault)
	if errors.Is(fault, unix.ECONNREFUSED) {
		code, ok = header.ICMPv4PortUnreachable, true
	}
	if ok {
		id := stack.TransportEndpointID{LocalAddress: tcpip.AddrFrom4(one.key.to.Addr().As4()), LocalPort: one.key.to.Port(), RemotePort: one.key.from}
		g.sendUnreachable(code, id, one.key.protocol)
	}
}

// replies passes on what arrives at the socket of a flow until that is closed.
func (g *gateway) replies(one *flow) {
	for {
		var piece *[datagramBytes]byte
		var n int
		var fault error
		err := one.raw.Read(func(fd uintptr) bool {
			piece = datagrams.Get().(*[datagramBytes]byte)
			if n, fault = unix.Read(int(fd), piece[:]); fault != unix.EAGAIN {
				return true
			}
			datagrams.Put(piece)
			piece = nil
			return false
		})
		if err == nil && fault == nil {
			g.flows.touch(one)
			one.replied.Store(true)
			g.reply(one.key, piece[:n])
		}
		if piece != nil {
			datagrams.Put(piece)
		}
		if err != nil {
			return
		}
		g.report(one, fault)
	}
}
