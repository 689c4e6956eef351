package ranges

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"go4.org/netipx"

	"github.com/rundlet/rundlet/network/policies"
)

func TestPoliciesAreReadAsTheyAreWritten(t *testing.T) {
	part := []netipx.IPRange{netipx.MustParseIPRange("9.9.9.9-9.9.9.10"), netipx.MustParseIPRange("2a00::-2a00::1")}
	guest := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 200, 0, byte(2 + i)}) } // Neighbours.
	list := []policies.Policy{
		{AllowInternet: true, Only: part},
		{AllowInternet: true, Only: policies.Everywhere, Ports: []policies.Port{{Port: 25}}},
		{AllowInternet: true, Ports: []policies.Port{{Port: 1, Only: part}, {Port: 443, Only: policies.Everywhere}, {Port: 65535, Only: part[1:]}}},
		{AllowInternet: true, Only: part[:1], Ports: []policies.Port{{Port: 22, Only: part[1:]}, {Port: 23}}},
	}
	sets := map[string][]nftables.SetElement{}
	for i, p := range list {
		for set, elements := range Of(guest(i), p) {
			sets[set] = append(sets[set], elements...)
		}
	}
	for set := range sets {
		if makers[set] == nil {
			t.Errorf("nothing makes %s", set)
		}
	}
	read := func() func(netip.Addr) (policies.Policy, bool) {
		return Read(func(set string) []nftables.SetElement { return slices.Clone(sets[set]) })
	}
	for i, want := range list {
		if got, any := read()(guest(i)); !got.Equal(want) || !any {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if got, any := read()(guest(len(list))); any || len(got.Only)+len(got.Ports) > 0 {
		t.Errorf("of none: %v", got)
	}
	sets[Ports] = nil
	if got, any := read()(guest(1)); !any || !slices.Equal(got.Only, policies.Everywhere) || len(got.Ports) > 0 {
		t.Errorf("of an earlier version: %v", got)
	}
	sets[Ports] = []nftables.SetElement{}
	if got, any := read()(guest(1)); any || len(got.Only)+len(got.Ports) > 0 {
		t.Errorf("without ports: %v", got)
	}
}
