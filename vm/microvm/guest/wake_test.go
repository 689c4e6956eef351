//go:build linux

package guest

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// inNew runs f in a new network namespace, which ends with it.
func inNew(t *testing.T, f func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if err := netns.InNew(f); err != nil {
		t.Fatal(err)
	}
}

// description is what the network card is, in one line.
func description() (string, error) {
	card, err := netlink.LinkByName(networkCard)
	if err != nil {
		return "", err
	}
	text := fmt.Sprint(card.Attrs().HardwareAddr, " ", card.Attrs().MTU, " ", card.Attrs().Flags&net.FlagUp != 0)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := netlink.AddrList(card, family)
		if err != nil {
			return "", err
		}
		for _, addr := range addrs {
			if addr.Flags&unix.IFA_F_TENTATIVE != 0 {
				text += " (tentative)"
			}
			text += " " + addr.IPNet.String()
		}
		routes, err := netlink.RouteList(card, family)
		if err != nil {
			return "", err
		}
		for _, route := range routes {
			if route.Gw != nil {
				text += " by " + route.Gw.String()
			}
		}
	}
	return text, nil
}

func TestTheNetworkCardIsWhatTheHostSays(t *testing.T) {
	inNew(t, func() error {
		if err := configure(link.Network{MAC: "02:00:00:00:00:01"}); err == nil || !strings.Contains(err.Error(), "network card") {
			t.Errorf("without a card: %v", err)
		}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: networkCard}, PeerName: "far"}); err != nil {
			return err
		}
		// Each begins with what the one before left, as a machine that is restored does.
		for _, c := range []struct {
			name    string
			network link.Network
			want    string
		}{
			{"boot", link.Network{MAC: "02:00:00:00:00:01", MTU: 1400, Addresses: []string{"10.0.0.2/30"}, Gateway: "10.0.0.1"}, "02:00:00:00:00:01 1400 true 10.0.0.2/30 by 10.0.0.1"},
			{"the same", link.Network{MAC: "02:00:00:00:00:01", MTU: 1400, Addresses: []string{"10.0.0.2/30"}, Gateway: "10.0.0.1"}, "02:00:00:00:00:01 1400 true 10.0.0.2/30 by 10.0.0.1"},
			{"another slot", link.Network{MAC: "02:00:00:00:00:02", MTU: 1500, Addresses: []string{"10.0.0.6/30"}, Gateway: "10.0.0.5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/30 by 10.0.0.5"},
			{"the MTU stays", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/30"}, Gateway: "10.0.0.5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/30 by 10.0.0.5"},
			{"another gateway", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/29"}, Gateway: "10.0.0.1"}, "02:00:00:00:00:02 1500 true 10.0.0.6/29 by 10.0.0.1"},
			{"another gateway of one address", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/29"}, Gateway: "10.0.0.5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/29 by 10.0.0.5"},
			{"two addresses", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/29", "10.1.0.2/24"}, Gateway: "10.0.0.5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/29 10.1.0.2/24 by 10.0.0.5"},
			{"IPv6", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/30", "fd00::6/126"}, Gateway: "10.0.0.5", Gateway6: "fd00::5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/30 by 10.0.0.5 fd00::6/126 by fd00::5"},
			{"another address of IPv6", link.Network{MAC: "02:00:00:00:00:04", Addresses: []string{"10.0.0.10/30", "fd00::a/126"}, Gateway: "10.0.0.9", Gateway6: "fd00::9"}, "02:00:00:00:00:04 1500 true 10.0.0.10/30 by 10.0.0.9 fd00::a/126 by fd00::9"},
			{"IPv6 no more", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/30"}, Gateway: "10.0.0.5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/30 by 10.0.0.5"},
			{"IPv6 again", link.Network{MAC: "02:00:00:00:00:02", Addresses: []string{"10.0.0.6/30", "fd00::6/126"}, Gateway: "10.0.0.5", Gateway6: "fd00::5"}, "02:00:00:00:00:02 1500 true 10.0.0.6/30 by 10.0.0.5 fd00::6/126 by fd00::5"},
			{"none", link.Network{MAC: "02:00:00:00:00:03"}, "02:00:00:00:00:03 1500 true"},
		} {
			if err := configure(c.network); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if got, err := description(); got != c.want || err != nil {
				t.Errorf("%s: the card is %s, want %s: %v", c.name, got, c.want, err)
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
			t.Error("the loopback is down")
		}
		for name, bad := range map[string]link.Network{
			"MAC":              {MAC: "x"},
			"10.0.0.9":         {MAC: "02:00:00:00:00:03", Addresses: []string{"10.0.0.9"}},
			"MTU":              {MAC: "02:00:00:00:00:03", MTU: 1},
			"route by 8.8.8.8": {MAC: "02:00:00:00:00:03", Addresses: []string{"10.0.0.2/30"}, Gateway: "8.8.8.8"},
			"route by x":       {MAC: "02:00:00:00:00:03", Addresses: []string{"10.0.0.2/30"}, Gateway: "x"},
		} {
			if err := configure(bad); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
		return err
	})
}

func TestReseed(t *testing.T) {
	if err := reseed(nil); err != nil {
		t.Errorf("no seed: %v", err)
	}
	seed := make([]byte, 64)
	_, _ = rand.Read(seed) // It is counted as entropy of this host.
	if err := reseed(seed); (err == nil) != (os.Geteuid() == 0) {
		t.Error(err)
	}
}
