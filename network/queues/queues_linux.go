package queues

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

const (
	// Major is the handle of the root of the queues.
	Major = 1 << 16
	root  = Major | 1
	first = Major | 2
	// Classes is how many classes there are.
	Classes = 256
	// Size bounds the waiting packets of one slot, in bytes: 4 ms at 1 Gbit/s. All
	// queues together take 128 MiB of the host at most.
	Size = 512 << 10
	// burst passes without a look at the clock: four packets of the largest
	// size, which segmentation offload makes.
	burst = 256 << 10
	// turn is the amount that a class sends in its turn: one of the largest packets.
	turn = 64 << 10
	// unknownBandwidth, in bytes per second, is more than one queue can serve.
	unknownBandwidth = 4<<30 - 1
)

// There reports whether a link of a namespace has the queues that Make made. It asks for
// them alone: a list has those of all links.
func There(ns *os.File, index int) (there bool, err error) {
	err = namespace.In(ns, func() error {
		req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_ACK)
		req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: Major})
		_, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
		return err
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the queues of a link: %w", err)
	}
	return true, nil
}

// ErrNone: the kernel has no such queues.
var ErrNone = errors.New("the kernel has no HTB")

// Make replaces the queues of a link of a namespace, which links is a handle for. Bandwidths are in bytes per
// second: of one class, and of all together.
func Make(ns *os.File, links *netlink.Handle, index int, one, all uint64) error {
	attrs := netlink.QdiscAttrs{LinkIndex: index, Handle: Major, Parent: netlink.HANDLE_ROOT}
	err := links.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "htb"})
	if errors.Is(err, unix.EOPNOTSUPP) { // No CONFIG_NET_SCHED.
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // Another kind, or none.
		return err
	}
	if err := links.QdiscAdd(netlink.NewHtb(attrs)); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w: %w", ErrNone, err)
		}
		return err
	}
	all = min(all, unknownBandwidth)
	one = min(one, all)
	if err := links.ClassAdd(class(index, Major, root, all, all)); err != nil {
		return err
	}
	for i := range uint32(Classes) {
		if err := links.ClassAdd(class(index, root, first+i, min(one, all/Classes), one)); err != nil {
			return err
		}
	}
	return namespace.In(ns, func() error {
		for i := range uint32(Classes) {
			if err := boundQueue(index, first+i); err != nil {
				return fmt.Errorf("bound a queue: %w", err)
			}
		}
		return nil
	})
}

// class has a guaranteed rate, and up to ceil of the rate that others leave.
func class(index int, parent, handle uint32, rate, ceil uint64) *netlink.HtbClass {
	return netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: index, Parent: parent, Handle: handle},
		netlink.HtbClassAttrs{Rate: 8 * max(rate, 1), Ceil: 8 * max(ceil, 1), Buffer: burst, Cbuffer: burst, Quantum: turn},
	)
}

// boundQueue limits the queue of a class in bytes: in packets, as it is without
// that, it could be 64 MB. It runs in the namespace of the link.
func boundQueue(index int, handle uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: handle})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bfifo")))
	req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, nl.Uint32Attr(Size)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// BySource is the rule that puts a packet into the class of its IPv4 source, and BySource6 into that of the last four bytes of its
// IPv6 source; ByMark puts it into that of its mark. If those have the bytes of the address, the class is the same. seed should be
// secret, and not 0.
func BySource(seed uint32) []expr.Any  { return by(fromHeader(12), seed) }
func BySource6(seed uint32) []expr.Any { return by(fromHeader(20), seed) }
func ByMark(seed uint32) []expr.Any    { return by(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, seed) }

func fromHeader(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
}

func by(load expr.Any, seed uint32) []expr.Any {
	return []expr.Any{
		load,
		&expr.Hash{
			SourceRegister: 1, DestRegister: 1, Length: 4, Modulus: Classes,
			Offset: first, Seed: seed, Type: expr.HashTypeJenkins,
		},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1},
	}
}
