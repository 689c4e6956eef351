package usernet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/rundlet/rundlet/network/usernet/carry"
)

// Connections have no time limit, but both sides must answer when nothing is sent: the client to one probe a minute, so
// that a guest that is frozen for an hour keeps its connections, and one that is gone, which the namespace
// answers for with a reset, loses them within a minute.
const (
	clientIdle, clientEvery, clientTries = time.Minute, time.Minute, 60
	serverIdle, serverEvery, serverTries = 2 * time.Minute, 75 * time.Second, 9
)

// begin takes segments of no connection. What it does not take is answered with a reset.
func (g *gateway) begin(id stack.TransportEndpointID, pkt *stack.PacketBuffer, f *tcp.Forwarder) bool {
	segment := header.TCP(pkt.TransportHeader().Slice())
	if flags := segment.Flags(); !flags.Contains(header.TCPFlagSyn) || flags.Contains(header.TCPFlagAck) {
		return false
	}
	g.synsMu.Lock()
	_, found := g.syns[id]
	ok := !found && g.dials.take()
	if ok {
		g.syns[id] = segment.SequenceNumber()
		g.work.Add(1)
	}
	g.synsMu.Unlock()
	if !ok {
		return true // It is being connected, or the client tries again.
	}
	if !f.HandlePacket(id, pkt) {
		g.begun(id)
		g.work.Done()
		return false
	}
	return true
}

// begun is the end of the making of a connection.
func (g *gateway) begun(id stack.TransportEndpointID) {
	g.synsMu.Lock()
	delete(g.syns, id)
	g.synsMu.Unlock()
	g.dials.give()
}

// accept connects to where a client wants to, and only then accepts the client: so it learns how that failed.
func (g *gateway) accept(r *tcp.ForwarderRequest) {
	defer g.work.Done()
	id := r.ID()
	refuse := func(visibly bool) {
		r.Complete(visibly)
		g.begun(id)
	}
	to := netip.AddrPortFrom(address(id.LocalAddress), id.LocalPort)
	named := to == netip.AddrPortFrom(g.cfg.Nameserver(), 53)
	if !named && g.reach.forbids(to.Addr()) || !g.conns.take() {
		refuse(true)
		return
	}
	defer g.conns.give()
	server, err := g.dial(to, named)
	if err != nil {
		if code, ok := unreachable(err); ok {
			g.sendUnreachable(code, id, header.TCPProtocolNumber)
		}
		refuse(errors.Is(err, unix.ECONNREFUSED))
		return
	}
	var events waiter.Queue
	client, fault := r.CreateEndpoint(&events)
	refuse(false) // It does nothing more for one that was accepted.
	if fault != nil {
		carry.Abort(server)
		return
	}
	size := g.memory.take()
	defer g.memory.give(size)
	settings(client, size)
	c := &carry.Connection{Client: client, Events: &events, Server: server, Size: size}
	c.Carry(g.ctx)
	c.Linger(g.cfg.times.lingering)
}

func (g *gateway) dial(to netip.AddrPort, named bool) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.times.dial)
	defer cancel()
	var conn net.Conn
	var err error
	if named {
		conn, err = g.names.Connect(ctx)
	} else {
		conn, err = g.cfg.Dial(ctx, "tcp", to)
	}
	if err != nil {
		return nil, err
	}
	server, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, errors.New("it is not a TCP connection")
	}
	err = server.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: serverIdle, Interval: serverEvery, Count: serverTries})
	if err != nil {
		server.Close()
		return nil, err
	}
	return server, nil
}

// settings of a connection that was accepted.
func settings(client tcpip.Endpoint, size int) {
	options := client.SocketOptions()
	options.SetSendBufferSize(int64(size), true)
	options.SetReceiveBufferSize(int64(size), true)
	options.SetKeepAlive(true)
	idle, every := tcpip.KeepaliveIdleOption(clientIdle), tcpip.KeepaliveIntervalOption(clientEvery)
	_ = client.SetSockOpt(&idle) // These cannot fail.
	_ = client.SetSockOpt(&every)
	_ = client.SetSockOptInt(tcpip.KeepaliveCountOption, clientTries)
}

// unreachable is how the gateway says that a dial has failed, if it says so: a client that gets no answer tries again,
// and so finds a failure of the gateway itself or a server that was slow.
func unreachable(err error) (header.ICMPv4Code, bool) {
	switch {
	case errors.Is(err, unix.ENETUNREACH):
		return header.ICMPv4NetUnreachable, true
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EHOSTDOWN):
		return header.ICMPv4HostUnreachable, true
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return header.ICMPv4AdminProhibited, true
	}
	return 0, false
}
