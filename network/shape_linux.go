package network

import (
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/network/queues"
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
		if there, err := queues.There(u.router.ns, index); err != nil || there {
			return false, err
		}
	}
	if !mend {
		return true, nil
	}
	u.shaped = 0 // There takes half of the queues for all of them.
	err = queues.Make(u.router.ns, u.router.links, index, u.cfg.SlotBandwidth, u.cfg.UplinkBandwidth)
	if u.unshaped = errors.Is(err, queues.ErrNone); u.unshaped {
		u.cfg.OnError(fmt.Errorf("network: sandboxes do not share the bandwidth evenly (modprobe sch_htb, or a kernel with CONFIG_NET_SCH_HTB): %w", err))
		err = nil
	}
	if err != nil {
		return true, fmt.Errorf("make the queues of %s: %w", uplinkRouter, err)
	}
	u.shaped = index
	return true, nil
}
