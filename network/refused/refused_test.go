package refused

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func to(addr string) Packet { return Packet{Proto: "tcp", To: netip.MustParseAddrPort(addr)} }

func TestAttemptsAreCountedByDestination(t *testing.T) {
	var l List
	if got := l.All(); len(got) != 0 {
		t.Errorf("an empty list has %v", got)
	}
	for i, addr := range []string{"1.1.1.1:443", "2.2.2.2:80", "1.1.1.1:443", "1.1.1.1:80"} {
		l.Add(to(addr), start.Add(time.Duration(i)*time.Second))
	}
	l.Add(Packet{Proto: "udp", To: netip.MustParseAddrPort("1.1.1.1:443")}, start)
	want := "1.1.1.1:80/tcp 1 3s-3s, 1.1.1.1:443/tcp 2 0s-2s, 2.2.2.2:80/tcp 1 1s-1s, 1.1.1.1:443/udp 1 0s-0s, "
	got := ""
	for _, a := range l.All() {
		got += fmt.Sprintf("%v/%s %d %v-%v, ", a.To, a.Proto, a.Count, a.First.Sub(start), a.Last.Sub(start))
	}
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if n, none := len(l.Since(start.Add(2*time.Second))), l.Since(start.Add(3*time.Second)); n != 4 || none != nil {
		t.Errorf("%d since the one before the latest, and %v since the latest", n, none)
	}
}

func TestAListIsBoundedAndKeepsTheLatest(t *testing.T) {
	var l List
	for i := range 3 * Most {
		l.Add(to(fmt.Sprintf("1.1.%d.1:443", i)), start.Add(time.Duration(i)*time.Second))
		l.Add(to("9.9.9.9:443"), start.Add(time.Duration(i)*time.Second)) // One that comes again and again.
	}
	all := l.All()
	if len(all) != Most {
		t.Fatalf("%d attempts", len(all))
	}
	often := 0
	for _, a := range all {
		if a.To.Addr() == netip.MustParseAddr("9.9.9.9") {
			often = a.Count
		} else if a.Last.Before(start.Add(2 * Most * time.Second)) {
			t.Errorf("an old one: %v", a)
		}
	}
	if often != 3*Most {
		t.Errorf("the one that came again and again was counted %d times", often)
	}
}

func TestParse(t *testing.T) {
	const from, dest = "0ac80002", "01010101"
	header := func(first string, fragment, proto string) string {
		return first + "00002800000000"[:10] + fragment + "40" + proto + "0000" + from + dest
	}
	header6 := func(next string) string {
		return "600000000014" + next + "40" + "fd00000000000000000000000ac80002" + "2a000000000000000000000000000001"
	}
	for name, c := range map[string]struct {
		packet string
		want   string
	}{
		"TCP":                        {header("45", "0000", "06") + "303901bb", "10.200.0.2 tcp 1.1.1.1:443"},
		"UDP":                        {header("45", "4000", "11") + "30390035", "10.200.0.2 udp 1.1.1.1:53"},
		"ICMP":                       {header("45", "0000", "01") + "08000000", "10.200.0.2 icmp 1.1.1.1:0"},
		"another protocol":           {header("45", "0000", "84") + "303901bb", "10.200.0.2 132 1.1.1.1:0"},
		"a later fragment":           {header("45", "0010", "06") + "303901bb", "10.200.0.2 tcp 1.1.1.1:0"},
		"options":                    {header("46", "0000", "06") + "01010101" + "303901bb", "10.200.0.2 tcp 1.1.1.1:443"},
		"the header alone":           {header("45", "0000", "06"), "10.200.0.2 tcp 1.1.1.1:0"},
		"a header that is too long":  {header("4f", "0000", "06") + "303901bb", "10.200.0.2 tcp 1.1.1.1:0"},
		"a header that is too short": {header("44", "0000", "06") + "303901bb", ""},
		"IPv6":                       {header6("06") + "303901bb", "fd00::ac8:2 tcp [2a00::1]:443"},
		"IPv6 over ICMP":             {header6("3a") + "80000000", "fd00::ac8:2 icmpv6 [2a00::1]:0"},
		"IPv6 without ports":         {header6("11"), "fd00::ac8:2 udp [2a00::1]:0"},
		"IPv6 with another header":   {header6("2c") + "0600000100000000", "fd00::ac8:2 44 [2a00::1]:0"},
		"half a header of IPv6":      {header6("06")[:70], ""},
		"half a header":              {header("45", "0000", "06")[:30], ""},
		"nothing":                    {"", ""},
	} {
		b, err := hex.DecodeString(c.packet)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := ""
		if p, ok := parse(b); ok {
			got = fmt.Sprint(p.From, " ", p.Proto, " ", p.To)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parse(b); ok && (!p.From.IsValid() || p.From.BitLen() != p.To.Addr().BitLen() || p.Proto == "") {
			t.Errorf("%x: %v", b, p)
		}
	})
}
