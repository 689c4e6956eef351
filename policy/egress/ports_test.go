package egress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

const (
	all4 = "0.0.0.0-255.255.255.255"
	all6 = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
)

func TestCompilePorts(t *testing.T) {
	for _, c := range []struct {
		name        string
		noInternet  bool
		allow, deny []string
		want        string
	}{
		{name: "a port shut", deny: []string{"0.0.0.0/0:25"}, want: "{false [ALL4 ALL6] [{25 []}] []}"},
		{name: "a port opened", allow: []string{"1.2.3.4:443"}, deny: []string{"0.0.0.0/0"}, want: "{false [] [{443 [1.2.3.4-1.2.3.4]}] []}"},
		{name: "a port opened without internet", noInternet: true, allow: []string{"1.2.3.4:443", "[2a00::1]:443"}, want: "{false [] [{443 [1.2.3.4-1.2.3.4 2a00::1-2a00::1]}] []}"},
		{name: "a port opened of what is open", allow: []string{"1.2.3.4:443"}, want: "{true [] [] []}"},
		{name: "a port opened of what is open on all ports", allow: []string{"1.2.3.4", "1.2.3.4:443"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.2.3.4-1.2.3.4] [] []}"},
		{name: "allowed wins on its port", allow: []string{"1.2.3.4:25"}, deny: []string{"0.0.0.0/0:25"}, want: "{false [ALL4 ALL6] [{25 [1.2.3.4-1.2.3.4]}] []}"},
		{name: "and on all", allow: []string{"1.2.3.4"}, deny: []string{"0.0.0.0/0:25"}, want: "{false [ALL4 ALL6] [{25 [1.2.3.4-1.2.3.4]}] []}"},
		{name: "everything allowed wins", allow: []string{"0.0.0.0/0"}, deny: []string{"0.0.0.0/0:25"}, want: "{true [] [] []}"},
		{name: "everything allowed on a port", allow: []string{"0.0.0.0/0:443"}, deny: []string{"0.0.0.0/0"}, want: "{false [] [{443 [ALL4 ALL6]}] []}"},
		{name: "both add up", allow: []string{"1.2.3.4", "1.2.3.5:22"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.2.3.4-1.2.3.4] [{22 [1.2.3.4-1.2.3.5]}] []}"},
		{name: "in the order of ports", deny: []string{"0.0.0.0/0:443", "0.0.0.0/0:22"}, want: "{false [ALL4 ALL6] [{22 []} {443 []}] []}"},
		{name: "the last port and the first", deny: []string{"0.0.0.0/0:65535", "::/0", "[::]:1", "0.0.0.0/0:1"}, want: "{false [ALL4] [{1 []} {65535 []}] []}"},
		{name: "IPv6 on a port", deny: []string{"[2a00::/16]:22"}, want: "{false [ALL4 ALL6] [{22 [ALL4 ::-29ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2a01::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]}] []}"},
		{name: "a part of IPv4 on a port shuts its IPv6", deny: []string{"128.0.0.0/1:22"}, want: "{false [ALL4 ALL6] [{22 [0.0.0.0-127.255.255.255]}] []}"},
		{name: "but for what is allowed", allow: []string{"[2a00::1]:22", "[2a00::2]:23"}, deny: []string{"128.0.0.0/1:22"}, want: "{false [ALL4 ALL6] [{22 [0.0.0.0-127.255.255.255 2a00::1-2a00::1]}] []}"},
		{name: "IPv6 that another entry names", deny: []string{"128.0.0.0/1:22", "8000::/1"}, want: "{false [ALL4 ::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff] [{22 [0.0.0.0-127.255.255.255 ::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]}] []}"},
		{name: "IPv4 written as IPv6", allow: []string{"[::ffff:1.1.1.1]:22", "[::ffff:2.2.2.0/120]:22"}, noInternet: true, want: "{false [] [{22 [1.1.1.1-1.1.1.1 2.2.2.0-2.2.2.255]}] []}"},
		{name: "not a port", allow: []string{"2a00::1:443"}, noInternet: true, want: "{false [2a00::1:443-2a00::1:443] [] []}"},
		{name: "names", allow: []string{"Example.com.:8443", "*.example.com:443", "a.example", "*:22"}, noInternet: true, want: "{false [] [] [*.example.com:443 *:22 a.example example.com:8443]}"},
		{name: "a name beside a port that is open", allow: []string{"a.example:443", "0.0.0.0/0:22"}, deny: []string{"0.0.0.0/0"}, want: "{false [] [{22 [ALL4 ALL6]}] [a.example:443]}"},
		{name: "a name beside everything", allow: []string{"a.example:443", "0.0.0.0/0"}, deny: []string{"0.0.0.0/0", "[2a00::]:22"}, want: "{false [ALL4 ALL6] [{22 [ALL4]}] []}"},
		{name: "a name beside everything but a port of IPv6", allow: []string{"a.example", "0.0.0.0/0"}, noInternet: true, deny: []string{"[::/0]:22"}, want: "{false [ALL4 ALL6] [{22 [ALL4]}] []}"},
	} {
		c.want = strings.NewReplacer("ALL4", all4, "ALL6", all6).Replace(c.want)
		got, err := Compile(ptr(!c.noInternet), sandbox.Egress{Allow: c.allow, Deny: c.deny})
		if text := fmt.Sprintf("{%v %v %v %v}", got.All, got.Only, got.Ports, got.Names); err != nil || text != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, text, err, c.want)
		}
		if got.None() || !got.Equal(got) || got.Equal(Policy{All: got.All, Only: got.Only, Names: got.Names, Ports: append(slices.Clone(got.Ports), Port{Port: 65535})}) {
			t.Errorf("%s: %v is nothing, or not itself", c.name, got)
		}
	}
}

func TestBadPorts(t *testing.T) {
	all := []string{"0.0.0.0/0"}
	var many []string
	for i := range MaxPorts {
		many = append(many, fmt.Sprintf("1.1.1.1:%d", i+1), fmt.Sprintf("a.example:%d", i+1))
	}
	if _, err := Compile(nil, sandbox.Egress{Allow: many, Deny: append(all, "2.2.2.2:1", "2.2.2.2:16")}); err != nil {
		t.Errorf("as many ports as may be: %v", err)
	}
	wide := []string{"0.0.0.0/0:1", "0.0.0.0/0:2", "0.0.0.0/0:3", "0.0.0.0/0:4", "0.0.0.0/0:5", "0.0.0.0/0:6", "0.0.0.0/0:7", "0.0.0.0/0:8"}
	var part []string
	for i := range 256 {
		part = append(part, fmt.Sprintf("20.1.%d.0", i))
	}
	if p, err := Compile(nil, sandbox.Egress{Allow: part, Deny: wide}); err != nil || len(p.Ports) != 8 || len(p.Ports[7].Only) != 256 {
		t.Errorf("as many ranges as may be: %v", err)
	}
	for _, c := range []struct {
		allow, deny []string
		want        string
	}{
		{part, append(wide, "0.0.0.0/0:9"), "2304 ranges of addresses on 9 ports, and at most 2048"},
		{nil, []string{"1.1.1.1:0"}, `denyOut: "1.1.1.1:0" must have a port from 1 to 65535`},
		{[]string{"http://a.example"}, []string{"0.0.0.0/0"}, `allowOut: "http://a.example" is not an address, a CIDR block or a host name`},
		{[]string{"1.1.1.1:65536"}, all, `"1.1.1.1:65536" must have a port`}, {[]string{"1.1.1.1:99999"}, all, "must have a port"}, {[]string{"1.1.1.1:"}, all, "must have a port"},
		{[]string{"1.1.1.1:080"}, all, "must have a port"}, {[]string{"1.1.1.1:+80"}, all, "must have a port"}, {[]string{"1.1.1.1:80-90"}, all, "must have a port"}, {[]string{"1.1.1.1:http"}, all, "must have a port"},
		{[]string{"a.example:0"}, all, "must have a port"}, {[]string{"*.a.example:https"}, all, "must have a port"}, {nil, []string{"[2a00::1]:0"}, "must have a port"},
		{nil, []string{":99999"}, "is not an address"}, {nil, []string{":25"}, "is not an address"}, {nil, []string{"[2a00::1]"}, "is not an address"}, {nil, []string{"[2a00::]/16:22"}, "is not an address"},
		{nil, []string{"[1.1.1.1]:22"}, "is not an address"}, {nil, []string{"[a.example]:22"}, "is not an address"}, {nil, []string{"[]:22"}, "is not an address"}, {nil, []string{"2a00::/16:22"}, "is not an address"},
		{nil, []string{"[fe80::1%eth0]:22"}, "is not an address"}, {nil, []string{"1.1.1.1:22:22"}, "is not an address"}, {nil, []string{"1.1.1.1:22/32"}, "must have a port"}, {[]string{"a..b:22"}, all, "is not an address"},
		{[]string{"bundle:pypi:443"}, all, `"bundle:pypi:443": a bundle takes no port`}, {[]string{"bundle:443"}, all, "is not a bundle"}, {[]string{"Bundle:443"}, all, "is not an address"}, {[]string{"bundle:nothing:443"}, all, "is not a bundle"},
		{nil, []string{"a.example:443"}, "denyOut takes addresses"}, {[]string{"a.example:443"}, nil, "need denyOut with 0.0.0.0/0"}, {[]string{"a.example:443"}, []string{"0.0.0.0/0:443"}, "need denyOut with 0.0.0.0/0"},
		{many, append(all, "2.2.2.2:17"), "17 different ports, and at most 16"}, {append(many, "b.example:17"), all, "17 different ports"},
	} {
		rules := sandbox.Egress{Allow: c.allow, Deny: c.deny}
		_, err := Compile(nil, rules)
		if !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 {
			t.Errorf("%v: %v", rules, err)
		}
		if p := Of(nil, rules); !p.None() {
			t.Errorf("%v: what is reached all the same: %v", rules, p)
		}
	}
}

// A policy agrees with its rules, address by address and port by port.
func TestAPolicyOfPortsIsWhatItsRulesSay(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	ports := []uint16{0, 1, 22, 65535}
	list := func() (text []string, entries []entry) {
		for range random.IntN(5) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(random.IntN(4)), byte(random.IntN(2)) * 255, 0, byte(random.IntN(4))}), random.IntN(33))
			port, is := ports[random.IntN(len(ports))], p.String()
			if port != 0 {
				is += ":" + strconv.Itoa(int(port))
			}
			text, entries = append(text, is), append(entries, entry{p.Masked(), port})
		}
		return text, entries
	}
	has := func(entries []entry, a netip.Addr, port uint16) bool {
		return slices.ContainsFunc(entries, func(e entry) bool { return e.Contains(a) && (e.port == 0 || e.port == port) })
	}
	with := 0
	for range 1000 {
		allow, allowed := list()
		deny, denied := list()
		internet := random.IntN(4) > 0
		p, err := Compile(&internet, sandbox.Egress{Allow: allow, Deny: deny})
		if err != nil {
			t.Fatal(err)
		}
		with += min(1, len(p.Ports))
		var prefixes []netip.Prefix
		for _, e := range slices.Concat(allowed, denied) {
			prefixes = append(prefixes, e.Prefix)
		}
		for _, port := range []uint16{1, 22, 65535, 80, 0} { // 80 is not named, and 0 is another protocol.
			only := p.Only
			for _, own := range p.Ports {
				if own.Port == port {
					only = own.Only
				}
			}
			for _, a := range borders(prefixes) {
				want := has(allowed, a, port) || internet && !has(denied, a, port)
				got := p.All
				for _, r := range only {
					got = got || r.Contains(a)
				}
				if got != want {
					t.Fatalf("internet %v, allow %q, deny %q: %v port %d reached is %v", internet, allow, deny, a, port, got)
				}
			}
		}
	}
	if with < 300 {
		t.Errorf("only %d of the policies have ports", with)
	}
}

// A proposal does not open more ports of a host than the rules by which it was reached.
func TestAProposalKeepsPorts(t *testing.T) {
	rules := sandbox.Egress{Allow: []string{"a.example:443", "*.example:8443", "b.example", "1.1.1.1:22", "[2a00::1]:22", "bundle:rubygems"}, Deny: []string{"0.0.0.0/0"}}
	got, left, err := Propose(rules, []string{"b.example", "a.example", "c.example", "rubygems.org", "other.test"})
	want := []string{"a.example:443", "a.example:8443", "b.example", "c.example:8443", "other.test", "rubygems.org", "1.1.1.1:22", "[2a00::1]:22"}
	if err != nil || len(left) > 0 || !slices.Equal(got.Allow, want) {
		t.Errorf("%v, %q, %v", got, left, err)
	}
	if got := Learning(rules).Allow; !slices.Equal(got, []string{"*", "1.1.1.1:22", "[2a00::1]:22"}) {
		t.Errorf("%q", got)
	}
	if !Learns(nil, rules) {
		t.Error("names with ports are not seen")
	}
}
