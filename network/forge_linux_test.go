package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// marked is what forged packets carry, and a number after it.
const marked = "forged packet "

// Headers of IPv6 that may come before another one (RFC 8200, 4.1): each is given the number of the next.
type header struct {
	kind  byte
	bytes []byte // The first is the number of the next.
}

func extension(kind byte, bytes ...byte) header { return header{kind, append([]byte{0}, bytes...)} }

func fragment(offset uint16, more bool, id byte) header {
	field := offset &^ 7
	if more {
		field |= 1
	}
	return extension(44, 0, byte(field>>8), byte(field), 0, 0, 0, id)
}

// routing has one segment.
func routing(kind byte, left byte, segment netip.Addr) header {
	return extension(43, append([]byte{2, kind, left, 0, 0, 0, 0}, segment.AsSlice()...)...)
}

// forged is a packet of IPv6 with a payload of a protocol behind other headers.
func forged(from, to netip.Addr, hops byte, proto byte, payload []byte, headers ...header) []byte {
	next := proto
	for i := len(headers) - 1; i >= 0; i-- {
		b := append([]byte{next}, headers[i].bytes[1:]...)
		payload = append(b, payload...)
		next = headers[i].kind
	}
	b := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), next, hops}
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	return append(b, payload...)
}

// sum sets the checksum of a message at an offset of it.
func sum(from, to netip.Addr, proto byte, b []byte, at int) []byte {
	all := append(append(from.AsSlice(), to.AsSlice()...), 0, 0, byte(len(b)>>8), byte(len(b)), 0, 0, 0, proto)
	all = append(append(all, b...), make([]byte, len(b)%2)...)
	var s uint32
	for i := 0; i < len(all); i += 2 {
		s += uint32(binary.BigEndian.Uint16(all[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(b[at:], ^uint16(s))
	return b
}

func udpMessage(from, to netip.Addr, src, dst uint16, data string) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	b = append(binary.BigEndian.AppendUint16(b, uint16(8+len(data))), 0, 0)
	return sum(from, to, unix.IPPROTO_UDP, append(b, data...), 6)
}

func tcpOpening(from, to netip.Addr, src, dst uint16, data string) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0)
	return sum(from, to, unix.IPPROTO_TCP, append(b, data...), 16)
}

func icmpMessage(from, to netip.Addr, kind byte, body string) []byte {
	return sum(from, to, unix.IPPROTO_ICMPV6, append([]byte{kind, 0, 0, 0}, body...), 2)
}

// wire sends and receives the packets of IPv6 of all links of a namespace, or those of one link.
type wire struct{ fd, link int }

func (w *world) wire(ns *os.File, link string) (c wire) {
	w.t.Helper()
	w.in(ns, func() (err error) {
		const proto = unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6&0xff<<8
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20); err != nil {
			return err
		}
		if link == "" {
			return nil
		}
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		c.link = l.Attrs().Index
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: c.link})
	})
	w.t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

func (c wire) send(t *testing.T, peer net.HardwareAddr, packet []byte) {
	t.Helper()
	to := &unix.SockaddrLinklayer{Protocol: unix.ETH_P_IPV6>>8 | unix.ETH_P_IPV6&0xff<<8, Ifindex: c.link, Halen: 6}
	copy(to.Addr[:], peer)
	for begin := time.Now(); ; {
		err := unix.Sendto(c.fd, packet, 0, to)
		if err == nil {
			return
		}
		if time.Since(begin) > silence {
			t.Fatal(err)
		}
	}
}

// all returns the packets that have come in, without those that the namespace sent.
func (c wire) all() (packets [][]byte) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(c.fd, buf, 0)
		if err != nil {
			return packets
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype != unix.PACKET_OUTGOING {
			packets = append(packets, append([]byte(nil), buf[:n]...))
		}
	}
}

// heard is what is delivered to a namespace of a protocol of IPv6.
func (w *world) heard(ns *os.File, proto int) (c wire) {
	w.t.Helper()
	w.in(ns, func() (err error) {
		c.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		return err
	})
	w.t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

func (c wire) messages() (all []string) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		if err != nil {
			return all
		}
		all = append(all, string(buf[:n]))
	}
}
