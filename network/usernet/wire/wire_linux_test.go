package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

var inside = netip.MustParseAddr("198.19.223.250")

// frame is one of a packet socket with a packet of IPv4.
func frame(flags, gso byte, from string, protocol tcpip.TransportProtocolNumber, payload int) []byte {
	b := make([]byte, vnetBytes+ethernetBytes+header.IPv4MinimumSize+payload)
	b[0], b[1] = flags, gso
	ip := header.IPv4(b[vnetBytes+ethernetBytes:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4(netip.MustParseAddr(from).As4()), DstAddr: tcpip.AddrFrom4([4]byte{203, 0, 113, 1}),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return b
}

// taken is what a Wire delivers.
type taken struct {
	stack.NetworkDispatcher
	sizes   []int
	checked []bool
}

func (d *taken) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	d.sizes = append(d.sizes, pkt.Size())
	d.checked = append(d.checked, pkt.RXChecksumValidated)
}

func TestOnlyPacketsOfTheNamespaceAreDelivered(t *testing.T) {
	good := frame(0, 0, inside.String(), header.UDPProtocolNumber, 100)
	version6 := bytes.Clone(good)
	version6[vnetBytes+ethernetBytes] = 0x65
	for name, c := range map[string]struct {
		frame            []byte
		deliver, checked bool
	}{
		"whole":             {good, true, false},
		"checked":           {frame(vnetChecked, 0, inside.String(), header.UDPProtocolNumber, 100), true, true},
		"partial checksum":  {frame(vnetNeedsChecksum, 0, inside.String(), header.TCPProtocolNumber, 100), true, true},
		"large TCP":         {frame(vnetNeedsChecksum, vnetTCP4|vnetECN, inside.String(), header.TCPProtocolNumber, 60000), true, true},
		"large UDP":         {frame(vnetNeedsChecksum, 5, inside.String(), header.UDPProtocolNumber, 60000), false, false},
		"UDP as large TCP":  {frame(vnetNeedsChecksum, vnetTCP4, inside.String(), header.UDPProtocolNumber, 60000), false, false},
		"another source":    {frame(0, 0, "198.19.223.251", header.UDPProtocolNumber, 100), false, false},
		"IPv6":              {version6, false, false},
		"header cut off":    {good[:vnetBytes+ethernetBytes+header.IPv4MinimumSize-1], false, false},
		"only vnet header":  {good[:vnetBytes], false, false},
		"empty":             {nil, false, false},
		"only an IP header": {frame(0, 0, inside.String(), header.TCPProtocolNumber, 0), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &taken{}
			(&Wire{from: inside.As4()}).deliver(d, c.frame)
			if (len(d.sizes) == 1) != c.deliver {
				t.Fatalf("delivered %d", len(d.sizes))
			}
			if c.deliver && (d.checked[0] != c.checked || d.sizes[0] != len(c.frame)-vnetBytes-ethernetBytes) {
				t.Errorf("%d bytes, checked %v", d.sizes[0], d.checked[0])
			}
		})
	}
}

// sink is a stack that takes packets to any address and whose own are lost.
func sink(t testing.TB) (*stack.Stack, *dispatcher) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	t.Cleanup(s.Destroy)
	d := &dispatcher{Wire: &Wire{mtu: 1500, from: inside.As4()}}
	if err := s.CreateNIC(1, d); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPromiscuousMode(1, true); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	return s, d
}

// dispatcher is a Wire without a socket.
type dispatcher struct {
	*Wire
	to stack.NetworkDispatcher
}

func (d *dispatcher) Attach(to stack.NetworkDispatcher) { d.to = to }
func (d *dispatcher) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	return pkts.Len(), nil
}

func FuzzFrames(f *testing.F) {
	for _, protocol := range []tcpip.TransportProtocolNumber{header.TCPProtocolNumber, header.UDPProtocolNumber, header.ICMPv4ProtocolNumber, 132} {
		f.Add(frame(0, 0, inside.String(), protocol, 40))
		f.Add(frame(vnetNeedsChecksum, vnetTCP4, inside.String(), protocol, 3000))
	}
	_, d := sink(f)
	f.Fuzz(func(_ *testing.T, b []byte) {
		d.deliver(d.to, b)
		if len(b) >= vnetBytes+ethernetBytes+header.IPv4MinimumSize { // Past what is checked here.
			ip := header.IPv4(b[vnetBytes+ethernetBytes:])
			ip[0] = 4<<4 | ip[0]&0xf
			ip.SetSourceAddress(tcpip.AddrFrom4(inside.As4()))
			if length := int(ip.HeaderLength()); length >= header.IPv4MinimumSize && length <= len(ip) {
				ip.SetChecksum(0)
				ip.SetChecksum(^ip.CalculateChecksum())
			}
			d.deliver(d.to, b)
		}
	})
}
