package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// Tuple identifies a tracked flow by the addresses of one of its directions.
// For ICMP, SrcPort is the identifier and DstPort the type and the code.
type Tuple struct {
	Src, Dst         [4]byte
	SrcPort, DstPort uint16
	Proto            byte
}

// icmpAnswers are the types of ICMP messages that Linux pairs into a flow.
var icmpAnswers = map[uint16]uint16{
	0: 8, 8: 0, // Echo.
	13: 14, 14: 13, // Time stamp.
	15: 16, 16: 15, // Information.
	17: 18, 18: 17, // Address mask.
}

// Inverse returns the other direction of a flow that is not translated.
func (t Tuple) Inverse() Tuple {
	t.Src, t.Dst = t.Dst, t.Src
	if t.Proto == unix.IPPROTO_ICMP {
		t.DstPort = icmpAnswers[t.DstPort>>8]<<8 | t.DstPort&0xff
	} else {
		t.SrcPort, t.DstPort = t.DstPort, t.SrcPort
	}
	return t
}

// Table is a netlink socket to the IPv4 flows that the kernel tracks in a
// namespace. Every call leaves a socket with nothing more to read, or is the
// last one before Close. Not safe for concurrent use.
type Table struct {
	fd  int
	seq uint32
	buf []byte
}

// flowTimeout bounds the wait for an answer of the kernel, which has it at once.
const flowTimeout = 10 // In seconds.

// Open opens the flows that the kernel tracks in the namespace ns.
func Open(ns *os.File) (*Table, error) {
	t := &Table{buf: make([]byte, 1<<16)} // The kernel fills 32 KiB at most.
	err := namespace.In(ns, func() (err error) {
		t.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, fmt.Errorf("open tracked flows: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: flowTimeout}),
		// Answers without a copy of the question.
		unix.SetsockoptInt(t.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
	)
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("open tracked flows: %w", err)
	}
	return t, nil
}

// Close closes the socket.
func (t *Table) Close() { unix.Close(t.fd) }

// Count returns how many flows are tracked. It does not read the table.
func (t *Table) Count() (n uint32, err error) {
	t.seq++
	if err := t.send(ctMessage(nil, ctGetStats, unix.NLM_F_ACK, t.seq, nil)); err != nil {
		return 0, fmt.Errorf("count tracked flows: %w", err)
	}
	err = t.receive(func(m syscall.NetlinkMessage) (done bool, err error) {
		if m.Header.Type == unix.NLMSG_ERROR {
			return true, answer(m)
		}
		if len(m.Data) >= 4 {
			eachAttr(m.Data[4:], func(kind uint16, data []byte) {
				if kind == ctaStatsEntries && len(data) == 4 {
					n = binary.BigEndian.Uint32(data)
				}
			})
		}
		return false, nil
	})
	if err != nil {
		return 0, fmt.Errorf("count tracked flows: %w", err)
	}
	return n, nil
}

// Each calls visit with the two directions of every flow whose first packet
// came from one of the addresses. With one address, kernels since 5.8 look for
// it themselves; older ones send the whole table.
func (t *Table) Each(from map[netip.Addr]bool, visit func(orig, reply Tuple)) error {
	return t.Dump(from, func(orig, reply Tuple) {
		if from[netip.AddrFrom4(orig.Src)] {
			visit(orig, reply)
		}
	})
}

// Dump is Each for every flow, or for those that the kernel finds for from.
func (t *Table) Dump(from map[netip.Addr]bool, visit func(orig, reply Tuple)) error {
	var filter []byte
	if len(from) == 1 {
		for a := range from {
			filter = sourceFilter(a)
		}
	}
	t.seq++
	if err := t.send(ctMessage(nil, ctGet, unix.NLM_F_DUMP, t.seq, filter)); err != nil {
		return fmt.Errorf("read tracked flows: %w", err)
	}
	err := t.receive(func(m syscall.NetlinkMessage) (done bool, err error) {
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return true, answer(m)
		}
		if orig, reply, ok := parseFlow(m.Data); ok {
			visit(orig, reply)
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("read tracked flows: %w", err)
	}
	return nil
}

// DeleteBatch is how many deletions are sent at once: their answers, should all
// fail, must fit into the receive buffer of the socket, which counts about 1 KiB
// for each of 208 KiB.
const DeleteBatch = 128

// Delete forgets the flows that have these original directions. Those that are
// gone already are fine.
func (t *Table) Delete(flows []Tuple) error {
	for len(flows) > 0 {
		n := min(len(flows), DeleteBatch)
		var msgs []byte
		for i, f := range flows[:n] {
			flags := 0
			if i == n-1 {
				flags = unix.NLM_F_ACK
			}
			t.seq++
			msgs = ctMessage(msgs, ctDelete, flags, t.seq, f.attr(ctaTupleOrig))
		}
		flows = flows[n:]
		var failed error
		err := t.send(msgs)
		if err == nil {
			err = t.receive(func(m syscall.NetlinkMessage) (done bool, err error) {
				if m.Header.Type == unix.NLMSG_ERROR {
					if err := answer(m); err != nil && !errors.Is(err, unix.ENOENT) {
						failed = err
					}
				}
				return m.Header.Seq == t.seq, nil
			})
		}
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("delete tracked flows: %w", err)
		}
	}
	return nil
}

// ForgetFrom removes the flows from one address in a namespace.
func ForgetFrom(ns *os.File, from netip.Addr) error {
	t, err := Open(ns)
	if err != nil {
		return err
	}
	defer t.Close()
	var flows []Tuple
	err = t.Each(map[netip.Addr]bool{from: true}, func(orig, _ Tuple) { flows = append(flows, orig) })
	return errors.Join(err, t.Delete(flows))
}

func (t *Table) send(b []byte) error {
	return os.NewSyscallError("sendto", unix.Sendto(t.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive reads answers to the last message until one of them is the last.
func (t *Table) receive(next func(syscall.NetlinkMessage) (done bool, err error)) error {
	for {
		n, _, err := unix.Recvfrom(t.fd, t.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(t.buf[:n])
		if err != nil {
			return err
		}
		for _, m := range msgs {
			if done, err := next(m); done || err != nil {
				return err
			}
		}
	}
}

// answer is the error of an answer, or nil.
func answer(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return unix.EBADMSG
	}
	if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
