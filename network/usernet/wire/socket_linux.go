package wire

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ethernetBytes is the header of a frame.
const ethernetBytes = 14

// The link needs no ARP: both ends know the addresses. The namespace's own stack takes frames to NearMAC, which is that of
// no interface, for those of another host, and so does not see what the packet socket sees.
var (
	NearMAC = net.HardwareAddr{0x02, 0x72, 0x6c, 0x75, 0x6e, 0x02}
	PeerMAC = net.HardwareAddr{0x02, 0x72, 0x6c, 0x75, 0x6e, 0x03}
)

// Socket makes a socket that receives the IPv4 packets that arrive at an interface, and sends frames there. Each has a header that says
// how far its checksum and segmentation are left to the receiver (struct virtio_net_hdr): packets may have 64 KiB.
func Socket(index int) (_ *os.File, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "packet:"+strconv.Itoa(index))
	for option, value := range map[int]int{unix.PACKET_VNET_HDR: 1, unix.PACKET_IGNORE_OUTGOING: 1} {
		if err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_PACKET, option, value))
		}
	}
	if err == nil {
		// The kernel takes less if its net.core.rmem_max is lower, as usual.
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20))
	}
	if err == nil {
		ip := uint16(unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8) // In network order.
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: index}))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
