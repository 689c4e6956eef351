package names

import (
	"slices"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat("a.", 126) + "a" // 253 bytes.
	for _, c := range []struct {
		patterns, host string
		want           bool
	}{
		{"example.com", "example.com", true},
		{"example.com", "EXAMPLE.com.", true},
		{"example.com", "www.example.com", false},
		{"example.com", "example.com..", false},
		{"example.com", "xexample.com", false},
		{"example.com", "example.co", false},
		{"*.example.com", "example.com", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "www.example.com", true},
		{"*.example.com", "a.b.C.Example.com.", true},
		{"*.example.com", "wwwexample.com", false},
		{"*.example.com", "www.example.com.evil.net", false},
		{"*.example.com", "_dmarc.example.com", true},
		{"*.example.com", "xn--bcher-kva.example.com", true},
		{"*.example.com", `evil\.example.com`, false}, // Two labels: a dot is in the first.
		{"*.example.com", `evil\046example.com`, false},
		{"*.example.com", "a b.example.com", false},
		{"*.example.com", "a\x00.example.com", false},
		{"*.example.com", "*.example.com", false},
		{"*.example.com", "a..example.com", false},
		{"*.example.com", "bücher.example.com", false},
		{"*.example.com", "www.example.com:443", false},
		{"kelvin.example", "\u212aelvin.example", false}, // The Kelvin sign is a k in lower case.
		{"*", "example.com", true},
		{"*", "localhost", true},
		{"*", "4.3.2.1.in-addr.arpa", true},
		{"*", label + ".com", true},
		{"*", label + "a.com", false},
		{"*", long, true},
		{"*", long + ".", true},
		{"*", long + "a", false},
		{"*", "", false},
		{"*", ".", false},
		{"*", "1.2.3.4", false},
		{"*", "1.2.3.4.", false},
		{"*", "127.1", false},
		{"*", "2130706433", false},
		{"*", "0x7f000001", false},
		{"*", "0X7F.1", false},
		{"*", "1.0x7f", false},
		{"*", "0177.0.0.01", false},
		{"*", "::1", false},
		{"*", "[::1]", false},
		{"*", "fe80::1%eth0", false},
		{"1.2.3.4", "1.2.3.4", false},
		{"*.3.4", "1.2.3.4", false},
		{"", "", false},
		{"", "example.com", false},
		{"a.com *.b.com", "x.b.com", true},
		{"a.com *.b.com", "a.com", true},
		{"a.com *.b.com", "b.com", false},
		{"*b.com", "ab.com", false}, // Not a pattern.
	} {
		if got := Match(strings.Split(c.patterns, " "), c.host, 0); got != c.want {
			t.Errorf("%s matches %q: %v", c.patterns, c.host, got)
		}
	}
	if Match(nil, "example.com", 0) {
		t.Error("no pattern matches")
	}
}

func TestAReverseName(t *testing.T) {
	for name, want := range map[string]bool{"4.3.2.1.in-addr.arpa": true, "1.0.ip6.arpa": true, "in-addr.arpa.example.com": false, "xin-addr.arpa": false} {
		if reverse(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestMatchOnAPort(t *testing.T) {
	patterns := strings.Split("a.example:443 a.example:8443 *.a.example:22 *.b.example b.example:443 bad.example:x bad.example:0 bad.example:65536 c.example: *:99", " ")
	for _, c := range []struct {
		host string
		want []uint16
	}{
		{"A.Example.", []uint16{443, 8443, 99}}, {"x.a.example", []uint16{22, 99}}, {"x.b.example", []uint16{0}}, {"b.example", []uint16{443, 99}}, {"bad.example", []uint16{99}},
		{"c.example", []uint16{99}}, {"a.example:443", nil}, {"127.0.0.1", nil},
	} {
		if got := Ports(patterns, c.host); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.host, got, c.want)
		}
		for _, port := range []uint16{0, 22, 80, 443, 8443} {
			want := len(c.want) > 0 && port == 0 || slices.Contains(c.want, port) || slices.Contains(c.want, 0)
			if Match(patterns, c.host, port) != want {
				t.Errorf("%s on port %d: %v", c.host, port, !want)
			}
		}
	}
}
