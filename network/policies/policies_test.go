package policies

import (
	"net/netip"
	"testing"

	"go4.org/netipx"

	"github.com/rundlet/rundlet/network/socks"
)

func only(list ...string) Policy {
	p := Policy{AllowInternet: true}
	for _, s := range list {
		p.Only = append(p.Only, netipx.RangeOfPrefix(netip.MustParsePrefix(s)))
	}
	return p
}

// one changes a policy.
func one(p Policy, change func(*Policy)) Policy {
	change(&p)
	return p
}

func TestKindsOfPolicies(t *testing.T) {
	everything := Policy{AllowInternet: true}
	headers := func(p *Policy) { p.Headers = map[string]map[string]string{"a.example": {"A": "b"}} }
	proxy := func(p *Policy) { p.Proxy = socks.Proxy{Host: "a.example", Port: 1} }
	names := func(p *Policy) { p.Names = []string{"a.example"} }
	for name, c := range map[string]struct {
		policy                                                    Policy
		all, limited, named, rewritten, tunneled, covers, unknown bool
	}{
		"nothing":              {},
		"nothing with a proxy": {policy: one(one(one(Policy{}, headers), proxy), names)},
		"nothing with a range": {policy: one(only("203.0.113.0/24"), func(p *Policy) { p.AllowInternet = false })},
		"everything":           {policy: everything, all: true, covers: true},
		"with headers":         {policy: one(everything, headers), all: true, covers: true, rewritten: true},
		"with a proxy":         {policy: one(everything, proxy), all: true, covers: true, tunneled: true},
		"a range":              {policy: only("203.0.113.0/24"), limited: true, covers: true},
		"another range":        {policy: only("198.51.100.0/24"), limited: true},
		"a port":               {policy: one(everything, func(p *Policy) { p.Ports = []Port{{22, only("203.0.113.0/24").Only}} }), limited: true, covers: true},
		"another port":         {policy: one(everything, func(p *Policy) { p.Ports = []Port{{23, only("203.0.113.0/24").Only}} }), limited: true},
		"a range, and a port":  {policy: one(only("203.0.113.0/24"), func(p *Policy) { p.Ports = []Port{{22, nil}} }), limited: true},
		"a name":               {policy: one(everything, names), limited: true, named: true},
		"a name and a range":   {policy: one(only("203.0.113.7/32"), names), limited: true, named: true, covers: true},
		"unknown names":        {policy: one(everything, func(p *Policy) { p.Names = UnknownNames }), limited: true, named: true, unknown: true},
		"unknown headers":      {policy: one(everything, func(p *Policy) { p.Headers = UnknownHeaders }), all: true, covers: true, rewritten: true, unknown: true},
		"an unknown proxy":     {policy: one(everything, func(p *Policy) { p.Proxy = UnknownProxy }), all: true, covers: true, tunneled: true, unknown: true},
	} {
		p := c.policy
		if p.All() != c.all || p.Limited() != c.limited || p.Named() != c.named || p.Rewritten() != c.rewritten || p.Tunneled() != c.tunneled ||
			p.Covers(netip.MustParseAddrPort("203.0.113.7:22")) != c.covers || p.Unknown() != c.unknown {
			t.Errorf("%s: %+v", name, p)
		}
		if !p.Equal(p) || p.Equal(only("192.0.2.0/24")) {
			t.Errorf("%s: it is not equal to itself, or to another", name)
		}
	}
	for name, change := range map[string]func(*Policy){"headers": headers, "a proxy": proxy} {
		if p := one(everything, change); p.Equal(everything) || !p.ReachesAs(everything) {
			t.Errorf("%s change what is reached, or nothing", name)
		}
	}
}

func TestPoliciesThatCannotBeEnforced(t *testing.T) {
	for name, p := range map[string]Policy{
		"mapped":     {AllowInternet: true, Only: []netipx.IPRange{netipx.IPRangeFrom(netip.MustParseAddr("::ffff:1.1.1.1"), netip.MustParseAddr("::ffff:1.1.1.2"))}},
		"IPv6 first": only("2a00::/16", "198.51.100.0/24"), "the wrong order": only("203.0.113.0/24", "198.51.100.0/24"), "an overlap": only("198.51.100.0/24", "198.51.100.7/32"),
		"port 0": {AllowInternet: true, Ports: []Port{{Port: 0}}}, "ports in the wrong order": {AllowInternet: true, Ports: []Port{{Port: 2}, {Port: 1}}}, "a port twice": {AllowInternet: true, Ports: []Port{{Port: 2}, {Port: 2}}},
		"too many ports": {AllowInternet: true, Ports: ports(MostPorts + 1)}, "an overlap of a port": {AllowInternet: true, Ports: []Port{{Port: 1, Only: only("198.51.100.0/24", "198.51.100.7/32").Only}}},
		"headers": one(Policy{AllowInternet: true}, func(p *Policy) { p.Headers = map[string]map[string]string{"a.example": nil} }),
	} {
		if err := p.Check(false); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := p.Check(true); (err == nil) != (name == "headers") {
			t.Errorf("%s, with certificates: %v", name, err)
		}
	}
	if err := only("198.51.100.0/24", "203.0.113.0/24", "2a00::/16", "2a02::/16").Check(false); err != nil {
		t.Error(err)
	}
	if err := (Policy{AllowInternet: true, Ports: ports(MostPorts)}).Check(false); err != nil {
		t.Error(err)
	}
}

func ports(n int) (out []Port) {
	for i := range n {
		out = append(out, Port{Port: uint16(i + 1), Only: Everywhere})
	}
	return out
}

func TestPortsOfAPolicy(t *testing.T) {
	part := only("198.51.100.0/24", "2a00::/16").Only
	p := Policy{AllowInternet: true, Only: Everywhere, Ports: []Port{{25, nil}, {443, part}}}
	for at, want := range map[string]bool{
		"198.51.100.7:80": true, "198.51.100.7:25": false, "198.51.100.7:443": true, "203.0.113.7:443": false, "[2a00::1]:443": true, "[2a00::1]:25": false, "[2a01::1]:443": false, "203.0.113.7:0": true,
	} {
		if p.Covers(netip.MustParseAddrPort(at)) != want {
			t.Errorf("%s: reached is %v", at, !want)
		}
	}
	if !p.AllOn(80) || !p.AllOn(0) || p.AllOn(25) || p.AllOn(443) || (Policy{Only: Everywhere}).AllOn(80) {
		t.Error("what is all of a port is not")
	}
	for name, o := range map[string]Policy{
		"without a port": {AllowInternet: true, Only: Everywhere, Ports: p.Ports[:1]}, "another port": {AllowInternet: true, Only: Everywhere, Ports: []Port{{26, nil}, {443, part}}},
		"other ranges": {AllowInternet: true, Only: Everywhere, Ports: []Port{{25, nil}, {443, part[:1]}}},
	} {
		if p.ReachesAs(o) || o.ReachesAs(p) || p.Equal(o) {
			t.Errorf("%s: the same", name)
		}
	}
}

func TestWhatIsAlwaysDenied(t *testing.T) {
	for prefix, want := range map[string]bool{
		"10.0.0.0/8": true, "10.1.2.0/30": true, "8.0.0.0/7": false, "172.16.0.0/12": true, "172.0.0.0/8": false, "169.254.169.254/32": true,
		"198.19.224.0/19": true, "9.9.9.9/32": false, "0.0.0.0/0": false,
	} {
		if Denied(netip.MustParsePrefix(prefix)) != want {
			t.Errorf("%s: not %v", prefix, want)
		}
	}
}
