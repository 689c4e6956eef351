package nft

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"go4.org/netipx"
)

func TestPairsAreReadAsTheyAreWritten(t *testing.T) {
	a, b := netip.MustParseAddr("10.200.0.2"), netip.MustParseAddr("10.200.0.6")
	want := map[netip.Addr][]netipx.IPRange{
		a: {netipx.MustParseIPRange("0.0.0.0-9.9.9.9"), netipx.MustParseIPRange("9.9.9.10-9.9.9.10"), netipx.MustParseIPRange("11.0.0.0-255.255.255.255")},
		b: {netipx.MustParseIPRange("0.0.0.0-255.255.255.255")},
	}
	var elements []nftables.SetElement
	for guest, list := range want {
		for _, r := range list {
			elements = append(elements, Pair(guest, r)...)
		}
	}
	slices.Reverse(elements)
	got, err := Pairs(elements)
	if err != nil || len(got) != 2 || !slices.Equal(got[a], want[a]) || !slices.Equal(got[b], want[b]) {
		t.Errorf("%v, %v", got, err)
	}
	keys := map[string]bool{}
	for _, e := range elements {
		keys[Key(e)] = true
	}
	if len(keys) != len(elements) {
		t.Errorf("%d elements have %d keys", len(elements), len(keys))
	}
	for name, bad := range map[string][]nftables.SetElement{
		"half": elements[1:], "short": {{Key: []byte("1")}, {Key: []byte("2"), IntervalEnd: true}},
		"of two": {Pair(a, want[a][0])[0], Pair(b, want[b][0])[1]},
	} {
		if got, err := Pairs(slices.Clone(bad)); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}
