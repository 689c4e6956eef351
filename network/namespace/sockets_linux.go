package namespace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DialTCP is Dial by TCP, without a mark.
func DialTCP(ctx context.Context, ns *os.File, addr netip.AddrPort) (net.Conn, error) {
	return Dial(ctx, ns, "tcp", addr, 0)
}

// Dial connects to an IPv4 address by a socket of the namespace ns. network is "tcp" or "udp"; packets have the mark,
// unless that is 0. Only the making of the socket needs a thread in there; the wait for the peer is the
// poller's and holds no thread.
func Dial(ctx context.Context, ns *os.File, network string, addr netip.AddrPort, mark uint32) (net.Conn, error) {
	conn, err := dialSocket(ctx, ns, network, addr, mark)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(addr), Err: err}
	}
	return conn, nil
}

func dialSocket(ctx context.Context, ns *os.File, network string, addr netip.AddrPort, mark uint32) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !addr.Addr().Is4() || addr.Port() == 0 {
		return nil, fmt.Errorf("%v is not an IPv4 address with a port", addr)
	}
	fd, f, err := socket(ns, network, addr)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	if err != nil {
		if !errors.Is(err, unix.EINPROGRESS) {
			return nil, os.NewSyscallError("connect", err)
		}
		if err := awaitConnect(ctx, f); err != nil {
			return nil, err
		}
	}
	return net.FileConn(f)
}

// socket makes a socket of the namespace ns for "tcp" or "udp", that the poller waits for. f owns fd, and is named after addr.
func socket(ns *os.File, network string, addr netip.AddrPort) (fd int, f *os.File, err error) {
	kind, proto := unix.SOCK_STREAM, unix.IPPROTO_TCP
	if network == "udp" {
		kind, proto = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	}
	err = In(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return -1, nil, err
	}
	return fd, os.NewFile(uintptr(fd), network+":"+addr.String()), nil
}

// awaitConnect waits for a connect in progress to succeed or fail.
func awaitConnect(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			result = os.NewSyscallError("getsockopt", err)
			return true
		}
		if errno != 0 {
			result = os.NewSyscallError("connect", syscall.Errno(errno))
			return true
		}
		// No error yet is not success: only a peer's name is.
		_, err = unix.Getpeername(int(fd))
		return !errors.Is(err, unix.ENOTCONN)
	})
	return errors.Join(err, result)
}

// ListenTCP listens on a loopback port of the namespace ns, for one connection at a time.
func ListenTCP(ns *os.File) (net.Listener, error) {
	return listen(ns, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), 1)
}

// Listen accepts TCP connections to a port of the namespace ns, at each of its addresses.
func Listen(ns *os.File, port uint16) (net.Listener, error) {
	return listen(ns, netip.AddrPortFrom(netip.IPv4Unspecified(), port), unix.SOMAXCONN)
}

func listen(ns *os.File, addr netip.AddrPort, backlog int) (net.Listener, error) {
	fd, f, err := bound(ns, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	return net.FileListener(f)
}

// receiveBytes is the buffer of a socket that receives packets: of some thousands, since the kernel counts a small one as 768 bytes and
// doubles the value. Its own default is for 277.
const receiveBytes = 1 << 20

// ListenUDP receives packets to a port of the namespace ns, at each of its addresses.
func ListenUDP(ns *os.File, port uint16) (net.PacketConn, error) {
	fd, f, err := bound(ns, "udp", netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBytes)
	if errors.Is(err, unix.EPERM) { // Root of a user namespace has what the host allows anybody.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBytes)
	}
	if err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return net.FilePacketConn(f)
}

// bound makes a socket with an address. An earlier daemon's closed connections do not keep it from that.
func bound(ns *os.File, network string, addr netip.AddrPort) (fd int, f *os.File, err error) {
	fd, f, err = socket(ns, network, addr)
	if err != nil {
		return -1, nil, err
	}
	err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}))
	}
	if err != nil {
		f.Close()
		return -1, nil, err
	}
	return fd, f, nil
}

// OriginalDestination returns where a TCP connection was redirected from.
func OriginalDestination(c net.Conn) (to netip.AddrPort, err error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return to, fmt.Errorf("%T has no original destination", c)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return to, err
	}
	control := raw.Control(func(fd uintptr) {
		// The kernel fills in a struct sockaddr_in: family, port, address.
		var a *unix.IPv6Mreq
		if a, err = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); err == nil {
			b := a.Multiaddr
			to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
		}
	})
	return to, os.NewSyscallError("getsockopt", errors.Join(control, err))
}
