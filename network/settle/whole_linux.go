package settle

import (
	"errors"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attempts is how often a list is asked for that changes meanwhile.
const attempts = 20

// Whole returns a list of the kernel's. One that changed while the kernel wrote it, as links do while sandboxes
// come and go, may lack entries: it is asked for again.
func Whole[T any](list func() (T, error)) (all T, err error) {
	for range attempts {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// Routes lists the IPv4 routes of all tables, and Routes6 those of IPv6.
func Routes(h *netlink.Handle) ([]netlink.Route, error)  { return routes(h, unix.AF_INET) }
func Routes6(h *netlink.Handle) ([]netlink.Route, error) { return routes(h, unix.AF_INET6) }

func routes(h *netlink.Handle, family int) ([]netlink.Route, error) {
	return Whole(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
}
