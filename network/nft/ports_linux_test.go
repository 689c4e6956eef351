package nft

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"go4.org/netipx"
)

func TestPortsAreReadAsTheyAreWritten(t *testing.T) {
	a, b := netip.MustParseAddr("10.200.0.2"), netip.MustParseAddr("10.200.0.3") // The end of the one is the beginning of the other.
	for _, ports := range [][]uint16{nil, {1}, {65535}, {1, 65535}, {22, 23, 25, 443, 8443}, {65534, 65535}} {
		elements := append(PortsBut(b, nil), PortsBut(a, ports)...)
		if got := Missing(slices.Clone(elements), len(ports)); len(got) != 2 || !slices.Equal(got[a], ports) || len(got[b]) != 0 {
			t.Errorf("%v: %v", ports, got)
		}
		if got := Missing(slices.Clone(elements), len(ports)-1); len(ports) > 0 && len(got) != 1 {
			t.Errorf("%v, more than may be: %v", ports, got)
		}
		for i := 0; i < len(elements); i += 2 {
			if got := Missing(slices.Delete(slices.Clone(elements), i, i+2), len(ports)); len(got) > 1 && len(ports) != 1 && i != 0 {
				t.Errorf("%v without the range %d: %v", ports, i/2, got)
			}
		}
	}
	if got := Missing(Pair(a, netipx.MustParseIPRange("0.0.0.1-255.255.255.255")), 9); len(got) != 0 {
		t.Errorf("half a port: %v", got)
	}
}

func TestRangesOfPortsAreReadAsTheyAreWritten(t *testing.T) {
	a, b, next := netip.MustParseAddrPort("10.200.0.2:22"), netip.MustParseAddrPort("10.200.0.6:65535"), netip.MustParseAddrPort("10.200.0.2:23")
	for name, c := range map[string]struct {
		want map[netip.AddrPort][]netipx.IPRange
		read func([]nftables.SetElement) map[netip.AddrPort][]netipx.IPRange
	}{
		"IPv4": {map[netip.AddrPort][]netipx.IPRange{
			a: {netipx.MustParseIPRange("0.0.0.0-9.9.9.9"), netipx.MustParseIPRange("9.9.9.10-9.9.9.10"), netipx.MustParseIPRange("11.0.0.0-255.255.255.255")},
			b: {netipx.MustParseIPRange("0.0.0.0-255.255.255.255")}, next: {netipx.MustParseIPRange("0.0.0.0-0.0.0.0")},
		}, PortPairs},
		"IPv6": {map[netip.AddrPort][]netipx.IPRange{
			a: {netipx.MustParseIPRange("::-1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), netipx.MustParseIPRange("2a00::1-2a00::1"), netipx.MustParseIPRange("3000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
			b: {netipx.MustParseIPRange("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}, next: {netipx.MustParseIPRange("::-::")},
		}, PortPairs6},
	} {
		var elements []nftables.SetElement
		keys := map[string]bool{}
		for at, list := range c.want {
			for _, r := range list {
				elements = append(elements, PortPair(at, r)...)
			}
		}
		for _, e := range elements {
			keys[Key(e)] = true
		}
		if len(keys) != len(elements) {
			t.Errorf("%s: %d elements have %d keys", name, len(elements), len(keys))
		}
		if got := c.read(append(slices.Clone(elements), nftables.SetElement{Key: []byte{1}})); !maps.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	bad := PortPair(a, netipx.MustParseIPRange("1.1.1.1-1.1.1.2"))
	bad[0].Key[7], bad[1].Key[7] = 1, 1
	if got := PortPairs(bad); len(got) > 0 {
		t.Errorf("without the zeros: %v", got)
	}
}

func TestAnAddressWithAPort(t *testing.T) {
	a, to := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddrPort("9.9.9.9:443")
	e := PortPairOf(a, to, "a.example")
	if x, y, ok := WithPort(e); !ok || x != a || y != to || e.Comment != "a.example" {
		t.Errorf("%v %v %v %q", x, y, ok, e.Comment)
	}
	for _, key := range [][]byte{nil, {1, 2, 3, 4}, make([]byte, 13), {1, 2, 3, 4, 0, 1, 1, 0, 9, 9, 9, 9}} {
		if _, _, ok := WithPort(nftables.SetElement{Key: key}); ok {
			t.Errorf("%v is one", key)
		}
	}
}

// Whatever is in a set, each range that is read is one that is written alike, and belongs to a slot that has its elements.
func FuzzSetsOfPorts(f *testing.F) {
	at := netip.MustParseAddrPort("10.200.0.2:22")
	seed := func(elements []nftables.SetElement) (b []byte) {
		for _, e := range elements {
			end := byte(0)
			if e.IntervalEnd {
				end = 1
			}
			b = append(append(b, end), e.Key...)
		}
		return b
	}
	f.Add(uint8(12), seed(PortPair(at, netipx.MustParseIPRange("9.9.9.9-255.255.255.255"))))
	f.Add(uint8(24), seed(PortPair(at, netipx.MustParseIPRange("2a00::1-2a00::2"))))
	f.Add(uint8(8), seed(PortsBut(at.Addr(), []uint16{1, 22, 65535})))
	f.Fuzz(func(t *testing.T, size uint8, data []byte) {
		n := int(size%32) + 1
		var elements []nftables.SetElement
		for ; len(data) > n; data = data[n+1:] {
			elements = append(elements, nftables.SetElement{IntervalEnd: data[0]&1 == 1, Key: data[1 : n+1]})
		}
		has := map[string]bool{}
		for _, e := range elements {
			has[Key(e)] = true
		}
		for _, read := range []func([]nftables.SetElement) map[netip.AddrPort][]netipx.IPRange{PortPairs, PortPairs6} {
			for at, list := range read(slices.Clone(elements)) {
				for i, r := range list {
					if !r.IsValid() || i > 0 && !list[i-1].To().Less(r.From()) {
						t.Fatalf("%v: %v", at, list)
					}
					for _, e := range PortPair(at, r) {
						if !has[Key(e)] {
							t.Fatalf("%v, %v: %x was not there", at, r, e.Key)
						}
					}
				}
			}
		}
		for a, ports := range Missing(slices.Clone(elements), 16) {
			if len(ports) > 16 || !slices.IsSorted(ports) {
				t.Fatalf("%v: %v", a, ports)
			}
		}
	})
}
