package carry

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const patience = 20 * time.Second

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fault(t *testing.T, err tcpip.Error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// joined are a client in a stack and a server of the host with a Connection between, which is carried until done is closed.
type joined struct {
	client *gonet.TCPConn
	server *net.TCPConn
	c      *Connection
	done   chan struct{}
	cancel context.CancelFunc
}

func join(t *testing.T) *joined {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC},
	})
	t.Cleanup(s.Destroy)
	wait := tcpip.TCPTimeWaitTimeoutOption(100 * time.Millisecond)
	fault(t, s.SetTransportProtocolOption(tcp.ProtocolNumber, &wait))
	fault(t, s.CreateNIC(1, loopback.New()))
	at := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4([4]byte{198, 51, 100, 1}), Port: 80}
	fault(t, s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: at.Addr.WithPrefix()}, stack.AddressProperties{}))
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	var events waiter.Queue
	listener, terr := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &events)
	fault(t, terr)
	t.Cleanup(listener.Close)
	fault(t, listener.Bind(at))
	fault(t, listener.Listen(1))
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	events.EventRegister(&entry)
	client, err := gonet.DialTCP(s, at, ipv4.ProtocolNumber)
	check(t, err)
	<-ready
	ep, queue, terr := listener.Accept(nil)
	fault(t, terr)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	check(t, err)
	far, err := ln.Accept()
	check(t, err)
	t.Cleanup(func() { far.Close() })
	j := &joined{client, far.(*net.TCPConn), &Connection{Client: ep, Events: queue, Server: near.(*net.TCPConn), Size: 256 << 10}, make(chan struct{}), nil}
	_, _ = client.SetDeadline(time.Now().Add(patience)), far.SetDeadline(time.Now().Add(patience))
	ctx, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	go func() {
		defer close(j.done)
		j.c.Carry(ctx)
		j.c.Linger(patience)
	}()
	t.Cleanup(func() { cancel(); client.Close(); <-j.done })
	return j
}

func send(t *testing.T, to io.Writer, text string) {
	t.Helper()
	_, err := to.Write([]byte(text))
	check(t, err)
}

func expect(t *testing.T, from io.Reader, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(from, b); err != nil || string(b) != text {
		t.Fatalf("%q, %v", b, err)
	}
}

func expectEnd(t *testing.T, from io.Reader) {
	t.Helper()
	if n, err := from.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestEachDirectionEndsSeparately(t *testing.T) {
	for _, first := range []string{"client", "server"} {
		t.Run(first, func(t *testing.T) {
			j := join(t)
			type end interface {
				net.Conn
				CloseWrite() error
			}
			var a, b end = j.client, j.server
			if first == "server" {
				a, b = b, a
			}
			send(t, a, "question")
			check(t, a.CloseWrite())
			expect(t, b, "question")
			expectEnd(t, b)
			send(t, b, "answer")
			expect(t, a, "answer")
			check(t, b.CloseWrite())
			expectEnd(t, a)
			<-j.done
		})
	}
}

func TestAResetIsPassedOn(t *testing.T) {
	j := join(t)
	send(t, j.client, "x")
	expect(t, j.server, "x")
	_ = j.server.SetLinger(0)
	j.server.Close()
	if n, err := j.client.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d, %v", n, err)
	}
	<-j.done

	j = join(t)
	send(t, j.client, "x")
	expect(t, j.server, "x")
	send(t, j.server, "unread")
	// What was not read makes the end a reset.
	if _, err := j.client.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	j.client.Close()
	if _, err := j.server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server reads %v", err)
	}
	<-j.done
}

func TestAClientThatIsResetAfterItsEnd(t *testing.T) {
	j := join(t)
	send(t, j.client, "x")
	check(t, j.client.CloseWrite())
	expect(t, j.server, "x")
	expectEnd(t, j.server)
	j.c.Client.Abort() // As a reset from the client would.
	select {           // The server sends nothing.
	case <-j.done:
	case <-time.After(patience):
		t.Error("the connection of the server goes on")
	}
}

func TestTheEndOfItsContextBreaksBothOff(t *testing.T) {
	j := join(t)
	send(t, j.client, "x")
	expect(t, j.server, "x")
	j.cancel()
	if _, err := j.server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server reads %v", err)
	}
	if _, err := j.client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
	<-j.done
}

// A client that reads nothing holds the server up, and no more than its buffers.
func TestASlowClientHoldsTheServerUp(t *testing.T) {
	j := join(t)
	_ = j.server.SetWriteDeadline(time.Now().Add(time.Second))
	sent := 0
	for {
		n, err := j.server.Write(make([]byte, 1<<20))
		sent += n
		if err != nil {
			break
		}
	}
	if sent > 64<<20 {
		t.Errorf("%d bytes for a client that reads nothing", sent)
	}
	j.cancel()
	<-j.done
}

func TestSilentConnectionsHaveNoBuffers(t *testing.T) {
	before := heap()
	const count = 64
	for range count {
		j := join(t)
		send(t, j.client, "x")
		expect(t, j.server, "x")
		send(t, j.server, "y")
		expect(t, j.client, "y")
	}
	if each := (heap() - before) / count; each >= 2*largePiece { // One for each direction is the least that they could hold.
		t.Errorf("%d bytes for each, with its stack", each)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // A second one empties the pools.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
