package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/rawfile"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// vnetBytes is the size of struct virtio_net_hdr, which precedes each frame of a packet socket.
	vnetBytes = 10
	// longest is the most that a frame may have.
	longest = vnetBytes + ethernetBytes + 1<<16

	vnetNeedsChecksum, vnetChecked = 1, 2 // VIRTIO_NET_HDR_F_NEEDS_CSUM and _DATA_VALID.
	vnetWhole, vnetTCP4, vnetECN   = 0, 1, 0x80
)

// ErrGone ends a Wire whose interface was deleted.
var ErrGone = errors.New("the link was deleted")

// Wire is a link endpoint of a stack on a packet socket. gVisor's own (fdbased) stops for good at an
// error of one packet, which a guest can cause. It is safe for concurrent use.
type Wire struct {
	file *os.File // A duplicate, which the wire owns.
	raw  interface {
		Write(func(uintptr) bool) error
	}
	mtu      uint32
	from     [4]byte // The only source of packets.
	to       stack.NetworkDispatcher
	attached atomic.Bool
	// Failed receives why reading has ended, once; nil after Stop.
	Failed chan error
	done   sync.WaitGroup
}

var (
	_ stack.LinkEndpoint = (*Wire)(nil)
	_ stack.GSOEndpoint  = (*Wire)(nil)
)

// Open makes a Wire of the packet socket of Socket, whose descriptor it duplicates. The interface has an MTU, in bytes, and
// packets of other addresses than from are dropped. The caller attaches it to a stack, calls Start, before the end of the stack Stop, and at last Free.
func Open(link *os.File, from netip.Addr, mtu int) (*Wire, error) {
	conn, err := link.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	control := conn.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		var on int
		if on, err = unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR); err == nil && on != 1 {
			err = errors.New("it has no PACKET_VNET_HDR")
		}
		if err == nil {
			err = unix.SetNonblock(fd, true)
		}
	})
	if err = errors.Join(control, err); err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("take over the packet socket: %w", err)
	}
	w := &Wire{file: os.NewFile(uintptr(fd), link.Name()), mtu: uint32(mtu), from: from.As4(), Failed: make(chan error, 1)}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

// Attach takes the stack's end, or ends reading.
func (w *Wire) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		w.Stop()
		return
	}
	w.to = d
	w.attached.Store(true)
}

// Start begins to read. A stack that is not set up yet would lose packets. It is called once, after Attach.
func (w *Wire) Start() { w.done.Go(func() { w.Failed <- w.read(w.to) }) }

// Stop ends reading; packets can be written until Free.
func (w *Wire) Stop() {
	w.attached.Store(false)
	_ = w.file.SetReadDeadline(time.Unix(1, 0))
	w.done.Wait()
}

// Free closes the descriptor. Packets that are written later are lost.
func (w *Wire) Free() { w.file.Close() }

// read delivers packets until Stop, or until the link is gone.
func (w *Wire) read(d stack.NetworkDispatcher) error {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	frame := make([]byte, longest)
	for {
		var n int
		var fault error
		err := conn.Read(func(fd uintptr) bool {
			n, fault = unix.Read(int(fd), frame)
			return fault != unix.EAGAIN
		})
		err = errors.Join(err, fault)
		switch {
		case err == nil:
		case fault == unix.ENETDOWN, errors.Is(err, os.ErrDeadlineExceeded):
			// It was set down and may be set up again, or is being deleted, which is not reported separately.
			_ = w.file.SetReadDeadline(time.Now().Add(downTime))
			if !w.attached.Load() {
				return nil
			}
			if !w.exists() {
				return ErrGone
			}
		case fault == unix.EINVAL, fault == unix.ENOMEM, fault == unix.ENOBUFS, fault == unix.EINTR:
			// The kernel has dropped a packet that it could not describe or copy.
		default:
			return err
		}
		if err == nil {
			w.deliver(d, frame[:n])
		}
	}
}

// downTime is how often an interface that was once set down is looked for.
const downTime = 200 * time.Millisecond

// exists reports whether the interface is there, which the kernel forgets when it is deleted.
func (w *Wire) exists() (ok bool) {
	_ = w.raw.Write(func(fd uintptr) bool {
		name, err := unix.Getsockname(int(fd))
		at, isLink := name.(*unix.SockaddrLinklayer)
		ok = err == nil && isLink && at.Ifindex > 0
		return true
	})
	return ok
}

// deliver passes on what may be a packet of the namespace.
func (w *Wire) deliver(d stack.NetworkDispatcher, frame []byte) {
	const begin = vnetBytes + ethernetBytes
	if len(frame) < begin+header.IPv4MinimumSize {
		return
	}
	flags, gso, ip := frame[0], frame[1]&^vnetECN, header.IPv4(frame[begin:])
	if gso != vnetWhole && (gso != vnetTCP4 || ip.TransportProtocol() != header.TCPProtocolNumber) {
		return // Several datagrams in one frame, which nothing here sends.
	}
	if header.IPVersion(ip) != header.IPv4Version || ip.SourceAddress() != tcpip.AddrFrom4(w.from) {
		return
	}
	view := buffer.NewViewWithData(frame[begin:])
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	defer pkt.DecRef()
	pkt.RXChecksumValidated = flags&(vnetNeedsChecksum|vnetChecked) != 0
	d.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt)
}

// WritePackets sends packets. Those that the kernel does not take are lost, as on any link.
func (w *Wire) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	var result unix.Errno
	sent := 0
	err := w.raw.Write(func(fd uintptr) bool {
		for _, pkt := range pkts.AsSlice() {
			if result = write(int(fd), pkt); result != 0 {
				break
			}
			sent++
		}
		return true
	})
	if err != nil {
		return sent, &tcpip.ErrClosedForSend{}
	}
	if result != 0 {
		return sent, tcpip.TranslateErrno(result)
	}
	return sent, nil
}

func write(fd int, pkt *stack.PacketBuffer) unix.Errno {
	var vnet [vnetBytes]byte // In the byte order of the host, which is little-endian wherever this is built.
	if gso := pkt.GSOOptions; gso.Type != stack.GSONone {
		binary.LittleEndian.PutUint16(vnet[2:], uint16(pkt.HeaderSize()))
		if gso.NeedsCsum {
			vnet[0] = vnetNeedsChecksum
			binary.LittleEndian.PutUint16(vnet[6:], ethernetBytes+gso.L3HdrLen)
			binary.LittleEndian.PutUint16(vnet[8:], gso.CsumOffset)
		}
		if pkt.Data().Size() > int(gso.MSS) {
			vnet[1] = vnetTCP4
			binary.LittleEndian.PutUint16(vnet[4:], gso.MSS)
		}
	}
	var few [8]unix.Iovec
	iovecs := rawfile.AppendIovecFromBytes(few[:0], vnet[:], rawfile.MaxIovs)
	for _, part := range pkt.AsSlices() {
		iovecs = rawfile.AppendIovecFromBytes(iovecs, part, rawfile.MaxIovs)
	}
	return rawfile.NonBlockingWriteIovec(fd, iovecs)
}

// AddHeader adds the header of a frame.
func (w *Wire) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(ethernetBytes)).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(PeerMAC), DstAddr: tcpip.LinkAddress(NearMAC), Type: pkt.NetworkProtocolNumber,
	})
}

// The rest of stack.LinkEndpoint and stack.GSOEndpoint.

func (w *Wire) MTU() uint32                      { return w.mtu }
func (w *Wire) SetMTU(uint32)                    {}
func (w *Wire) MaxHeaderLength() uint16          { return ethernetBytes }
func (w *Wire) LinkAddress() tcpip.LinkAddress   { return "" }
func (w *Wire) SetLinkAddress(tcpip.LinkAddress) {}
func (w *Wire) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}
func (w *Wire) IsAttached() bool                        { return w.attached.Load() }
func (w *Wire) Wait()                                   { w.done.Wait() }
func (w *Wire) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (w *Wire) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (w *Wire) Close()                                  {}
func (w *Wire) SetOnCloseAction(func())                 {}
func (w *Wire) GSOMaxSize() uint32                      { return 1 << 16 }
func (w *Wire) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }
