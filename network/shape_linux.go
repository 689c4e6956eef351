package network

import (
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// Packets of slots to the internet wait in queues of the router's end of the
// uplink, an HTB class for each, which the kernel serves in turn: a slot that
// floods fills its own queue and loses its own packets. All classes together
// have the bandwidth of the uplink, and one of them at most that of a slot. The
// classes are fixed and found by a hash of the slot's name, so that slots come
// and go without a change to them; two slots of 256 may share one.
//
// Packets from the internet have waited outside already: they are only bounded, for
// each slot, in the table of shares.
const (
	shapeMajor   = 1 << 16
	shapeRoot    = shapeMajor | 1
	shapeFirst   = shapeMajor | 2
	shapeClasses = 256
	// shapeQueue bounds the waiting packets of one slot, in bytes: 4 ms at 1 Gbit/s. All
	// queues together take 128 MiB of the host at most.
	shapeQueue = 512 << 10
	// shapeBurst passes without a look at the clock: four packets of the largest
	// size, which segmentation offload makes.
	shapeBurst = 256 << 10
	// shapeTurn is the amount that a class sends in its turn: one of the largest packets.
	shapeTurn = 64 << 10
	// unknownBandwidth, in bytes per second, is more than one queue can serve.
	unknownBandwidth = 4<<30 - 1
)

// settleShape makes the queues, unless this process made them and they are there.
// A kernel without HTB has none, and that is reported once.
func (u *uplink) settleShape(mend bool) (lost bool, err error) {
	link, err := u.router.links.LinkByName(uplinkRouter)
	if err != nil {
		return false, err
	}
	index := link.Attrs().Index
	if u.shaped == index {
		if u.unshaped {
			return false, nil
		}
		if there, err := u.router.isShaped(index); err != nil || there {
			return false, err
		}
	}
	if !mend {
		return true, nil
	}
	u.shaped = 0 // isShaped takes half of the queues for all of them.
	err = u.router.shape(index, u.cfg)
	if u.unshaped = errors.Is(err, errNoQueues); u.unshaped {
		u.cfg.OnError(fmt.Errorf("network: sandboxes do not share the bandwidth evenly (modprobe sch_htb, or a kernel with CONFIG_NET_SCH_HTB): %w", err))
		err = nil
	}
	if err != nil {
		return true, fmt.Errorf("make the queues of %s: %w", uplinkRouter, err)
	}
	u.shaped = index
	return true, nil
}

// isShaped reports whether a link has the queues that shape made. It asks for
// them alone: a list has those of all links.
func (r *router) isShaped(index int) (there bool, err error) {
	err = namespace.In(r.ns, func() error {
		req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_ACK)
		req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: shapeMajor})
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

var errNoQueues = errors.New("the kernel has no HTB")

// shape replaces the queues of a link.
func (r *router) shape(index int, cfg Config) error {
	root := netlink.QdiscAttrs{LinkIndex: index, Handle: shapeMajor, Parent: netlink.HANDLE_ROOT}
	err := r.links.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: root, QdiscType: "htb"})
	if errors.Is(err, unix.EOPNOTSUPP) { // No CONFIG_NET_SCHED.
		return fmt.Errorf("%w: %w", errNoQueues, err)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // Another kind, or none.
		return err
	}
	if err := r.links.QdiscAdd(netlink.NewHtb(root)); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w: %w", errNoQueues, err)
		}
		return err
	}
	all := min(cfg.UplinkBandwidth, unknownBandwidth)
	one := min(cfg.SlotBandwidth, all)
	if err := r.links.ClassAdd(shapeClass(index, shapeMajor, shapeRoot, all, all)); err != nil {
		return err
	}
	for i := range uint32(shapeClasses) {
		if err := r.links.ClassAdd(shapeClass(index, shapeRoot, shapeFirst+i, min(one, all/shapeClasses), one)); err != nil {
			return err
		}
	}
	return namespace.In(r.ns, func() error {
		for i := range uint32(shapeClasses) {
			if err := boundQueue(index, shapeFirst+i); err != nil {
				return fmt.Errorf("bound a queue: %w", err)
			}
		}
		return nil
	})
}

// shapeClass has a guaranteed rate, and up to ceil of the rate that others leave.
func shapeClass(index int, parent, handle uint32, rate, ceil uint64) *netlink.HtbClass {
	return netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: index, Parent: parent, Handle: handle},
		netlink.HtbClassAttrs{Rate: 8 * max(rate, 1), Ceil: 8 * max(ceil, 1), Buffer: shapeBurst, Cbuffer: shapeBurst, Quantum: shapeTurn},
	)
}

// boundQueue limits the queue of a class in bytes: in packets, as it is without
// that, it could be 64 MB. It runs in the namespace of the link.
func boundQueue(index int, class uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: class})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bfifo")))
	req.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, nl.Uint32Attr(shapeQueue)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// shapeByName puts a packet of the slot that it came in by into its class.
func shapeByName(seed uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Hash{
			SourceRegister: 1, DestRegister: 1, Length: unix.IFNAMSIZ, Modulus: shapeClasses,
			Offset: shapeFirst, Seed: seed, Type: expr.HashTypeJenkins,
		},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1},
	}
}
