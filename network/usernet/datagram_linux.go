package usernet

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rundlet/rundlet/network/usernet/resolvers"
)

// datagram takes datagrams of UDP. For one that it does not take the stack answers that the port is unreachable.
func (g *gateway) datagram(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	ip := header.IPv4(pkt.NetworkHeader().Slice())
	udp := header.UDP(pkt.TransportHeader().Slice())
	data := pkt.Data().AsRange().ToSlice()
	if most := int(udp.Length()) - header.UDPMinimumSize; most < 0 || most > len(data) {
		return true
	} else if data = data[:most]; !pkt.RXChecksumValidated && !udp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(data, 0)) {
		return true
	}
	to := netip.AddrPortFrom(address(id.LocalAddress), id.LocalPort)
	if to == netip.AddrPortFrom(g.cfg.Nameserver(), 53) {
		g.query(id.RemotePort, data)
		return true
	}
	if g.reach.forbids(to.Addr()) || to.Port() == 0 {
		return false
	}
	one, err := g.flows.find(flowKey{header.UDPProtocolNumber, id.RemotePort, to}, func() (socket, error) { return g.udp(to) })
	if err != nil {
		if code, ok := unreachable(err); ok {
			g.sendUnreachable(code, id, header.UDPProtocolNumber)
			return true
		}
		return false
	}
	if one != nil {
		g.send(one, data)
	}
	return true
}

func (g *gateway) udp(to netip.AddrPort) (socket, error) {
	conn, err := g.cfg.Dial(g.ctx, "udp", to)
	if err != nil {
		return nil, err
	}
	s, ok := conn.(socket)
	if !ok {
		conn.Close()
		return nil, syscall.ENOTSUP
	}
	return s, nil
}

// maxQueries are asked at a time: each has a descriptor.
const maxQueries = 256

// query passes a query of a client on, and its reply back. Too many at a time are lost: clients ask again.
func (g *gateway) query(from uint16, message []byte) {
	if len(message) < resolvers.HeadBytes || !g.queries.take() {
		return
	}
	message = slices.Clone(message)
	g.work.Go(func() {
		defer g.queries.give()
		if reply := g.names.Ask(g.ctx, message); reply != nil {
			g.reply(flowKey{header.UDPProtocolNumber, from, netip.AddrPortFrom(g.cfg.Nameserver(), 53)}, reply)
		}
	})
}

// echo takes messages of ICMP. The stack answers echo requests to the gateway itself, and nothing else.
func (g *gateway) echo(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	ip := header.IPv4(pkt.NetworkHeader().Slice())
	message := header.ICMPv4(pkt.TransportHeader().Slice())
	to := address(ip.DestinationAddress())
	if g.cfg.Prefix.Contains(to) && !pkt.NetworkPacketInfo.LocalAddressTemporary || message.Type() != header.ICMPv4Echo {
		return false
	}
	id := stack.TransportEndpointID{LocalAddress: ip.DestinationAddress(), LocalPort: 0, RemotePort: message.Ident()}
	code := header.ICMPv4AdminProhibited
	if !g.reach.forbids(to) {
		one, err := g.flows.find(flowKey{header.ICMPv4ProtocolNumber, message.Ident(), netip.AddrPortFrom(to, 0)}, func() (socket, error) { return pingSocket(to) })
		if err == nil {
			if one != nil {
				g.send(one, append(append([]byte(nil), message...), pkt.Data().AsRange().ToSlice()...))
			}
			return true
		}
		if known, ok := unreachable(err); ok {
			code = known
		}
	}
	g.sendUnreachable(code, id, header.ICMPv4ProtocolNumber)
	return true
}

// pingSocket is one that the kernel gives to users whose group is in net.ipv4.ping_group_range.
func pingSocket(to netip.Addr) (socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "ping:"+to.String())
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		f.Close()
		return nil, os.NewSyscallError("connect", err)
	}
	return f, nil
}

// reply sends to a client what a host has answered.
func (g *gateway) reply(key flowKey, data []byte) {
	from := tcpip.AddrFrom4(key.to.Addr().As4())
	if key.protocol == header.ICMPv4ProtocolNumber {
		message := header.ICMPv4(data)
		if len(data) < header.ICMPv4MinimumSize || message.Type() != header.ICMPv4EchoReply {
			return
		}
		message.SetIdent(key.from) // The socket has another.
		message.SetChecksum(0)
		message.SetChecksum(^checksum.Checksum(data, 0))
		g.output(from, key.protocol, nil, data)
		return
	}
	udp := header.UDP(make([]byte, header.UDPMinimumSize))
	length := uint16(len(data) + len(udp))
	udp.Encode(&header.UDPFields{SrcPort: key.to.Port(), DstPort: key.from, Length: length})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, from, tcpip.AddrFrom4(g.cfg.Inside().As4()), length)
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(data, sum)))
	g.output(from, key.protocol, udp, data)
}

// sendUnreachable answers a packet of a client that was sent to id's local end. Such answers are limited to 1,000 a second.
func (g *gateway) sendUnreachable(code header.ICMPv4Code, id stack.TransportEndpointID, protocol tcpip.TransportProtocolNumber) {
	if !g.stack.AllowICMPMessage() {
		return
	}
	const quoted = 8 // Bytes of the packet after its IP header: what the client knows it by.
	message := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize+header.IPv4MinimumSize+quoted))
	message.SetType(header.ICMPv4DstUnreachable)
	message.SetCode(code)
	ip := header.IPv4(message[header.ICMPv4MinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: header.IPv4MinimumSize + quoted, TTL: 1, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4(g.cfg.Inside().As4()), DstAddr: id.LocalAddress,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	first := ip[header.IPv4MinimumSize:]
	switch protocol {
	case header.ICMPv4ProtocolNumber:
		header.ICMPv4(first).SetType(header.ICMPv4Echo)
		header.ICMPv4(first).SetIdent(id.RemotePort)
	default:
		binary.BigEndian.PutUint16(first[0:], id.RemotePort)
		binary.BigEndian.PutUint16(first[2:], id.LocalPort)
		if protocol == header.TCPProtocolNumber {
			g.synsMu.Lock()
			binary.BigEndian.PutUint32(first[4:], g.syns[id])
			g.synsMu.Unlock()
		}
	}
	message.SetChecksum(^checksum.Checksum(message, 0))
	g.output(tcpip.AddrFrom4(g.cfg.Gateway().As4()), header.ICMPv4ProtocolNumber, nil, message)
}

// output sends a packet to the client, in fragments if it is too long for the link. It copies head and data.
func (g *gateway) output(from tcpip.Address, protocol tcpip.TransportProtocolNumber, head, data []byte) {
	route, err := g.stack.FindRoute(nic, from, tcpip.AddrFrom4(g.cfg.Inside().As4()), ipv4.ProtocolNumber, false)
	if err != nil {
		return // The stack is being closed.
	}
	defer route.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: len(head) + int(route.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(data),
	})
	defer pkt.DecRef()
	copy(pkt.TransportHeader().Push(len(head)), head)
	pkt.TransportProtocolNumber = protocol
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: protocol, TTL: 64}, pkt) // Lost as on any link.
}
