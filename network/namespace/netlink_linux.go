package namespace

import (
	"fmt"
	"os"

	mnl "github.com/mdlayher/netlink"
)

// DialNetlink opens a netlink connection of a family in a namespace, and joins the
// multicast groups.
func DialNetlink(ns *os.File, family int, groups ...uint32) (*mnl.Conn, error) {
	c, err := mnl.Dial(family, &mnl.Config{NetNS: int(ns.Fd())})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	for _, g := range groups {
		if err := c.JoinGroup(g); err != nil {
			c.Close()
			return nil, fmt.Errorf("join netlink group %d: %w", g, err)
		}
	}
	return c, nil
}
