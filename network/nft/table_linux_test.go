package nft

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
)

func TestSetsOfPrefixes(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for name, c := range map[string]struct {
		got  []nftables.SetElement
		want string
	}{
		"one":                      {intervals(prefixes("10.0.0.0/8")), "[10.0.0.0 11.0.0.0)"},
		"not masked":               {intervals(prefixes("10.1.2.3/8")), "[10.0.0.0 11.0.0.0)"},
		"two":                      {intervals(prefixes("10.0.0.0/8", "9.9.9.9/32")), "[10.0.0.0 11.0.0.0)[9.9.9.9 9.9.9.10)"},
		"up to the last address":   {intervals(prefixes("240.0.0.0/4")), "[240.0.0.0 "},
		"all but the ends":         {Except(prefixes("0.0.0.0/8", "240.0.0.0/4")), "[1.0.0.0 240.0.0.0)"},
		"all but one in between":   {Except(prefixes("240.0.0.0/4", "0.0.0.0/8"), prefixes("9.9.9.9/32")), "[1.0.0.0 9.9.9.9)[9.9.9.10 240.0.0.0)"},
		"all but those that touch": {Except(prefixes("0.0.0.0/8", "1.0.0.0/8", "128.0.0.0/1")), "[2.0.0.0 128.0.0.0)"},
		"all but one in another":   {Except(prefixes("0.0.0.0/8", "9.0.0.0/8", "9.9.0.0/16", "128.0.0.0/1")), "[1.0.0.0 9.0.0.0)[10.0.0.0 128.0.0.0)"},
	} {
		text := ""
		for _, e := range c.got {
			addr, _ := netip.AddrFromSlice(e.Key)
			if e.IntervalEnd {
				text += addr.String() + ")"
			} else {
				text += "[" + addr.String() + " "
			}
		}
		if text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}
