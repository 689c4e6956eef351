package nft

import (
	"maps"
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
	got := Pairs(slices.Clone(elements))
	if len(got) != 2 || !slices.Equal(got[a], want[a]) || !slices.Equal(got[b], want[b]) {
		t.Errorf("%v", got)
	}
	keys := map[string]bool{}
	for _, e := range elements {
		keys[Key(e)] = true
	}
	if len(keys) != len(elements) {
		t.Errorf("%d elements have %d keys", len(elements), len(keys))
	}
	one := want[a][0]
	for name, bad := range map[string][]nftables.SetElement{
		"half": Pair(a, one)[1:], "short": {{Key: []byte("1")}, {Key: []byte("2"), IntervalEnd: true}},
		"of two":         {Pair(a, one)[0], Pair(b, one)[1]},
		"concatenations": {{Key: Pair(a, one)[0].Key, KeyEnd: Pair(a, one)[1].Key}, {Key: Pair(b, one)[0].Key, KeyEnd: Pair(b, one)[1].Key}},
	} {
		if got := Pairs(bad); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := Pairs(append(Pair(a, one)[1:], Pair(b, one)...)); len(got) != 1 || len(got[b]) != 1 {
		t.Errorf("beside a half: %v", got)
	}
}

func TestAPairWithoutARange(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("9.9.9.9")
	e := PairOf(a, b, "a.example")
	if x, y, ok := Both(e); !ok || x != a || y != b || e.Comment != "a.example" {
		t.Errorf("%v %v %v %q", x, y, ok, e.Comment)
	}
	for _, key := range [][]byte{nil, {1, 2, 3, 4}, make([]byte, 9)} {
		if _, _, ok := Both(nftables.SetElement{Key: key}); ok {
			t.Errorf("%v is a pair", key)
		}
	}
}

func TestPairsOfIPv6AreReadBack(t *testing.T) {
	a, b := netip.MustParseAddr("10.200.0.2"), netip.MustParseAddr("10.200.0.6")
	want := map[netip.Addr][]netipx.IPRange{
		a: {netipx.MustParseIPRange("::-1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), netipx.MustParseIPRange("2a00::1-2a00::1"), netipx.MustParseIPRange("2a00::3-2a00::ffff:ffff:ffff:ffff")},
		b: {netipx.MustParseIPRange("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
	}
	var elements []nftables.SetElement
	for _, addr := range []netip.Addr{b, a} {
		for _, r := range want[addr] {
			elements = append(elements, Pair6(addr, r)...)
		}
	}
	if got := Pairs6(append(elements, nftables.SetElement{Key: []byte{1}})); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
}
