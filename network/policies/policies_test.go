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
		"a name":               {policy: one(everything, names), limited: true, named: true},
		"a name and a range":   {policy: one(only("203.0.113.7/32"), names), limited: true, named: true, covers: true},
		"unknown names":        {policy: one(everything, func(p *Policy) { p.Names = UnknownNames }), limited: true, named: true, unknown: true},
		"unknown headers":      {policy: one(everything, func(p *Policy) { p.Headers = UnknownHeaders }), all: true, covers: true, rewritten: true, unknown: true},
		"an unknown proxy":     {policy: one(everything, func(p *Policy) { p.Proxy = UnknownProxy }), all: true, covers: true, tunneled: true, unknown: true},
	} {
		p := c.policy
		if p.All() != c.all || p.Limited() != c.limited || p.Named() != c.named || p.Rewritten() != c.rewritten || p.Tunneled() != c.tunneled ||
			p.Covers(netip.MustParseAddr("203.0.113.7")) != c.covers || p.Unknown() != c.unknown {
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
