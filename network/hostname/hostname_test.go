package hostname

import (
	"strings"
	"testing"
)

func TestHostNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for host, want := range map[string]string{
		"example.com": "example.com", "EXAMPLE.com.": "example.com", "a-b_c.9x.Example": "a-b_c.9x.example", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"localhost": "localhost", "1.example": "1.example", long + ".com": long + ".com", "1-2.a": "1-2.a",
		"": "", ".": "", "..": "", "a..b": "", ".a": "", "a.b..": "", "192.0.2.1": "", "192.0.2.1.": "", "::1": "", "[::1]": "", "1": "", "0x7f.1": "",
		"127.1": "", "0X7F.1": "", "2130706433": "", "0x7f000001": "", "a.0x": "", "a.0x1g": "a.0x1g", "a.1b": "a.1b", "\u212aelvin.example": "", `a\.b`: "", "a.0x1": "", "a b": "", "a/b": "", "a\x00": "", "bücher.example": "", "*.example": "", "a@b": "", "a%62": "", "a:80": "",
		long + "a.com": "", strings.Repeat("a.", 126) + "ab": "",
	} {
		if got, ok := Canonical(host); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", host, got, ok, want)
		}
	}
}

func TestLongest(t *testing.T) {
	list := map[string]int{"a.example": 1, "*.a.example": 2, "*.b.a.example": 3, "*.example": 4, "*.com": 5}
	for host, want := range map[string]int{
		"a.example": 1, "x.a.example": 2, "y.x.a.example": 2, "b.a.example": 2, "x.b.a.example": 3, "z.example": 4, "example": 0,
		"x.com": 5, "com": 0, "": 0, "*.com": 5, "xa.example": 4, "other.net": 0,
	} {
		if got := Longest(list, host); got != want {
			t.Errorf("%q: %d, want %d", host, got, want)
		}
	}
}
