package links

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
)

// has is what a network namespace has: addresses, and routes by link.
func has(t *testing.T, path string) (list []string) {
	t.Helper()
	err := netns.At(path, func() error {
		addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() { // The kernel gives these when it likes.
				list = append(list, a.String())
			}
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		for _, r := range routes {
			list = append(list, r.String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// TestANetworkThatIsNotTakenStaysWhole tries with too few descriptors, and then with enough of them.
func TestANetworkThatIsNotTakenStaysWhole(t *testing.T) {
	path := fmt.Sprintf("/proc/%d/ns/net", namespace(t, full))
	whole := has(t, path)
	var usual unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for limit := uint64(1); ; limit++ {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: usual.Max}); err != nil {
			t.Fatal(err)
		}
		n, err := takeOf(path)
		if back := unix.Setrlimit(unix.RLIMIT_NOFILE, &usual); back != nil {
			t.Fatal(back)
		}
		if err == nil {
			defer n.Close()
			for _, l := range n.FDBasedLinks {
				if got := fmt.Sprint(l.Addresses, l.Routes); l.Name == "eth0" && (!strings.Contains(got, "10.9.0.2") || !strings.Contains(got, "fd00:9::2") || !strings.Contains(got, "10.9.0.1")) {
					t.Errorf("after %d failures eth0 has %s", failures, got)
				}
			}
			if failures < 5 || len(n.FDBasedLinks) != 4 || len(n.Files) != 4 {
				t.Errorf("after %d failures it is %+v", failures, n)
			}
			if left := strings.Join(has(t, path), " "); strings.Contains(left, "10.9.0.2") || strings.Contains(left, "fd00:9::2") {
				t.Errorf("the host keeps %s", left)
			}
			return
		}
		failures++
		if got := has(t, path); !slices.Equal(got, whole) {
			t.Fatalf("with %d descriptors (%v) it has\n%q\nand had\n%q", limit, err, got, whole)
		}
		if limit > 100 {
			t.Fatal(err)
		}
	}
}
