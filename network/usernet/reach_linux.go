package usernet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reach decides which addresses are passed on. It is safe for concurrent use.
type reach struct {
	link   netip.Prefix
	routes *netlink.Handle
}

func openReach(link netip.Prefix) (*reach, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &reach{link, h}, nil
}

func (r *reach) close() { r.routes.Close() }

// forbids reports whether guests must not reach an address. It asks the host's routing table each time, because addresses
// of the host change. An address that no route leads to is left to the socket, whose error says so.
func (r *reach) forbids(to netip.Addr) bool {
	if !to.Is4() || r.link.Contains(to) {
		return true
	}
	// Only the host, its neighbours on a link or several hosts at once could be meant.
	if first := to.As4()[0]; first == 0 || first >= 240 || to.IsLoopback() || to.IsLinkLocalUnicast() || to.IsMulticast() {
		return true
	}
	found, err := r.routes.RouteGet(to.AsSlice())
	if err != nil {
		return !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH)
	}
	for _, route := range found {
		if route.Type != unix.RTN_UNICAST {
			return true
		}
	}
	return len(found) == 0
}
