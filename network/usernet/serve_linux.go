package usernet

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/rundlet/rundlet/network/usernet/resolvers"
	"github.com/rundlet/rundlet/network/usernet/wire"
)

const nic = 1

// gateway is a Serve.
type gateway struct {
	cfg   Config
	ctx   context.Context // Ends with Serve.
	stack *stack.Stack
	wire  *wire.Wire
	reach *reach
	names *resolvers.Resolvers

	conns, dials, queries *bound
	memory                buffers
	work                  sync.WaitGroup // Goroutines of connections, flows and queries. The reader of the wire begins them.

	synsMu sync.Mutex
	syns   map[stack.TransportEndpointID]uint32 // Sequence numbers of clients whose connection is in the making.

	flows flows
}

// Serve passes packets between the socket that Link returned and sockets of the calling process, until ctx ends or the
// link is deleted. It needs no privileges. The caller keeps the file open meanwhile, and closes it. When Serve
// returns, all connections are broken off, and a later Serve answers their packets with resets. It returns nil if ctx has ended.
func Serve(ctx context.Context, link *os.File, cfg Config) (err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of descriptors: %w", err)
	}
	if cfg, err = cfg.withDefaults(limit.Cur); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := &gateway{cfg: cfg, ctx: ctx, names: &resolvers.Resolvers{Path: cfg.ResolvConf, Dial: cfg.Dial, Try: cfg.times.resolver}, memory: buffers{left: cfg.Buffers}, syns: map[stack.TransportEndpointID]uint32{}}
	g.conns = &bound{name: "connections", most: cfg.Connections, log: cfg.Log}
	g.dials = &bound{name: "dials", most: cfg.Dials, log: cfg.Log}
	g.queries = &bound{name: "queries", most: maxQueries, log: cfg.Log}
	g.flows.init(g)
	if g.reach, err = openReach(cfg.Prefix); err != nil {
		return err
	}
	defer g.reach.close()
	if g.wire, err = wire.Open(link, cfg.Inside(), cfg.MTU); err != nil {
		return err
	}
	defer g.wire.Free()
	if err := g.open(); err != nil {
		return err
	}
	sweeping := make(chan struct{})
	go func() {
		defer close(sweeping)
		g.flows.sweep()
	}()
	select {
	case <-ctx.Done():
	case err = <-g.wire.Failed:
		err = fmt.Errorf("read packets: %w", err)
	}
	cancel()
	g.close()
	<-sweeping
	return err
}

// open makes the stack. It takes packets to any address for its own.
func (g *gateway) open() error {
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4},
	})
	retries, wait := tcpip.TCPSynRetriesOption(3), tcpip.TCPTimeWaitTimeoutOption(2*time.Second)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&tcpip.TCPSendBufferSizeRangeOption{Min: leastBuffer, Default: leastBuffer, Max: mostBuffer},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: leastBuffer, Default: leastBuffer, Max: mostBuffer},
		&retries, &wait,
	} {
		if err := g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set up TCP: %v", err)
		}
	}
	forward := tcp.NewForwarder(g.stack, leastBuffer, g.cfg.Dials, g.accept)
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return g.begin(id, pkt, forward)
	})
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, g.datagram)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, g.echo)
	g.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	if err := g.stack.CreateNIC(nic, g.wire); err != nil {
		g.close()
		return fmt.Errorf("attach the link: %v", err)
	}
	for _, a := range []netip.Addr{g.cfg.Gateway(), g.cfg.Nameserver()} {
		own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFrom4(a.As4()).WithPrefix()}
		if err := g.stack.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
			g.close()
			return fmt.Errorf("add address %v: %v", a, err)
		}
	}
	for _, set := range []func(tcpip.NICID, bool) tcpip.Error{g.stack.SetPromiscuousMode, g.stack.SetSpoofing} {
		if err := set(nic, true); err != nil {
			g.close()
			return fmt.Errorf("take all addresses: %v", err)
		}
	}
	g.wire.Start()
	return nil
}

// close ends everything that packets have begun. g.ctx has ended, or nothing has begun.
func (g *gateway) close() {
	g.wire.Stop() // Nothing begins any more.
	g.flows.close()
	g.stack.Close() // Clients get resets.
	ended := make(chan struct{})
	go func() {
		g.work.Wait()
		close(ended)
	}()
	for {
		select {
		case <-ended:
			g.stack.Wait()
			return
		case <-time.After(50 * time.Millisecond): // A handshake may have begun after its dial.
			for _, e := range g.stack.RegisteredEndpoints() {
				e.Abort()
			}
		}
	}
}

// address is a netip.Addr of IPv4.
func address(a tcpip.Address) netip.Addr { return netip.AddrFrom4(a.As4()) }
