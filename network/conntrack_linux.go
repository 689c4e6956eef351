package network

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

// tuple identifies a tracked flow by the addresses of one of its directions.
// For ICMP, srcPort is the identifier and dstPort the type and the code.
type tuple struct {
	src, dst         [4]byte
	srcPort, dstPort uint16
	proto            byte
}

// icmpAnswers are the types of ICMP messages that Linux pairs into a flow.
var icmpAnswers = map[uint16]uint16{
	0: 8, 8: 0, // Echo.
	13: 14, 14: 13, // Time stamp.
	15: 16, 16: 15, // Information.
	17: 18, 18: 17, // Address mask.
}

// inverse returns the other direction of a flow that is not translated.
func (t tuple) inverse() tuple {
	t.src, t.dst = t.dst, t.src
	if t.proto == unix.IPPROTO_ICMP {
		t.dstPort = icmpAnswers[t.dstPort>>8]<<8 | t.dstPort&0xff
	} else {
		t.srcPort, t.dstPort = t.dstPort, t.srcPort
	}
	return t
}

// flowTable is a netlink socket to the IPv4 flows that the kernel tracks in a
// namespace. Every call leaves a socket with nothing more to read, or is the
// last one before close. Not safe for concurrent use.
type flowTable struct {
	fd  int
	seq uint32
	buf []byte
}

// flowTimeout bounds the wait for an answer of the kernel, which has it at once.
const flowTimeout = 10 // In seconds.

func openFlows(ns *os.File) (*flowTable, error) {
	t := &flowTable{buf: make([]byte, 1<<16)} // The kernel fills 32 KiB at most.
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
		t.close()
		return nil, fmt.Errorf("open tracked flows: %w", err)
	}
	return t, nil
}

func (t *flowTable) close() { unix.Close(t.fd) }

// count is how many flows are tracked. It does not read the table.
func (t *flowTable) count() (n uint32, err error) {
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

// each calls visit with the two directions of every flow whose first packet
// came from one of the addresses. With one address, kernels since 5.8 look for
// it themselves; older ones send the whole table.
func (t *flowTable) each(from map[netip.Addr]bool, visit func(orig, reply tuple)) error {
	return t.dump(from, func(orig, reply tuple) {
		if from[netip.AddrFrom4(orig.src)] {
			visit(orig, reply)
		}
	})
}

// dump is each for every flow, or for those that the kernel finds for from.
func (t *flowTable) dump(from map[netip.Addr]bool, visit func(orig, reply tuple)) error {
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

// deleteBatch is how many deletions are sent at once: their answers, should all
// fail, must fit into the receive buffer of the socket, which counts about 1 KiB
// for each of 208 KiB.
const deleteBatch = 128

// delete forgets the flows that have these original directions. Those that are
// gone already are fine.
func (t *flowTable) delete(flows []tuple) error {
	for len(flows) > 0 {
		n := min(len(flows), deleteBatch)
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

func (t *flowTable) send(b []byte) error {
	return os.NewSyscallError("sendto", unix.Sendto(t.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive reads answers to the last message until one of them is the last.
func (t *flowTable) receive(next func(syscall.NetlinkMessage) (done bool, err error)) error {
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
