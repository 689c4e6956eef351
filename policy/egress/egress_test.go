package egress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/policy/egress/bundle"
	"github.com/rundlet/rundlet/sandbox"
)

func ptr(b bool) *bool { return &b }

func TestCompile(t *testing.T) {
	for _, c := range []struct {
		name        string
		noInternet  bool
		allow, deny []string
		want        string
	}{
		{name: "no rules", want: "{true [] []}"},
		{name: "no internet", noInternet: true, want: "{false [] []}"},
		{name: "an allowed address alone limits nothing", allow: []string{"1.1.1.1"}, want: "{true [] []}"},
		{name: "everything denied", deny: []string{"0.0.0.0/0"}, want: "{false [] []}"},
		{name: "IPv6", allow: []string{"2a00:1::/32"}, deny: []string{"::/0"}, want: "{false [0.0.0.0-255.255.255.255 2a00:1::-2a00:1:ffff:ffff:ffff:ffff:ffff:ffff] []}"},
		{name: "everything denied but an address of IPv6", allow: []string{"2a00:1::7", "1.1.1.1"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.1.1.1-1.1.1.1 2a00:1::7-2a00:1::7] []}"},
		{name: "everything denied and allowed", allow: []string{"0.0.0.0/0"}, deny: []string{"0.0.0.0/0"}, want: "{true [] []}"},
		{name: "everything allowed, without IPv6", allow: []string{"0.0.0.0/0"}, deny: []string{"::/0"}, want: "{false [0.0.0.0-255.255.255.255] []}"},
		{name: "all of IPv6 allowed alone", noInternet: true, allow: []string{"::/0"}, want: "{false [ALL6] []}"},
		{name: "a part of IPv6 denied", deny: []string{"2a00::/16", "8000::/1"}, want: "{false [0.0.0.0-255.255.255.255 ::-29ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2a01::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff] []}"},
		{name: "no internet, and a part of IPv6 denied", noInternet: true, deny: []string{"2a00::/16"}, want: "{false [] []}"},
		{name: "everything denied, and a part of IPv6", deny: []string{"0.0.0.0/0", "2a00::/16"}, want: "{false [] []}"},
		{name: "everything denied by halves, and a part of IPv6", allow: []string{"1.1.1.1"}, deny: []string{"0.0.0.0/1", "128.0.0.0/1", "2a00::/16"}, want: "{false [1.1.1.1-1.1.1.1] []}"},
		{name: "no internet but all of IPv4", noInternet: true, allow: []string{"0.0.0.0/0"}, deny: []string{"2a00::/16"}, want: "{false [0.0.0.0-255.255.255.255] []}"},
		{name: "allowed wins", allow: []string{"1.1.1.1", "8.8.8.0/24"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.1.1.1-1.1.1.1 8.8.8.0-8.8.8.255] []}"},
		{name: "allowed wins without internet", noInternet: true, allow: []string{"1.1.1.1"}, want: "{false [1.1.1.1-1.1.1.1] []}"},
		{name: "and the narrower does not", allow: []string{"8.8.8.0/24"}, deny: []string{"8.8.8.8"}, want: "{true [] []}"},
		{name: "denied", deny: []string{"8.8.8.8", "8.8.8.10/31"}, want: "{false [0.0.0.0-8.8.8.7 8.8.8.9-8.8.8.9 8.8.8.12-255.255.255.255] []}"},
		{name: "a hole", deny: []string{"8.0.0.0/8"}, allow: []string{"8.8.8.8"}, want: "{false [0.0.0.0-7.255.255.255 8.8.8.8-8.8.8.8 9.0.0.0-255.255.255.255] []}"},
		{name: "all but a network, by its complement", deny: []string{"0.0.0.0/8", "2.0.0.0/7", "4.0.0.0/6", "8.0.0.0/5", "16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/2", "128.0.0.0/1"}, want: "{false [1.0.0.0-1.255.255.255] []}"},
		{name: "a part of both denied", deny: []string{"128.0.0.0/1", "8000::/1"}, want: "{false [0.0.0.0-127.255.255.255 ::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff] []}"},
		{name: "neighbours and doubles", allow: []string{"1.1.1.0", "1.1.1.1", "1.1.1.1/32"}, deny: []string{"0.0.0.0/0", "0.0.0.0/0"}, want: "{false [1.1.1.0-1.1.1.1] []}"},
		{name: "bits of the host do not count", allow: []string{"1.1.1.77/24"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.1.1.0-1.1.1.255] []}"},
		{name: "IPv4 written as IPv6", allow: []string{"::ffff:1.1.1.1", "::ffff:2.2.2.0/120"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.1.1.1-1.1.1.1 2.2.2.0-2.2.2.255] []}"},
		{name: "names", allow: []string{"a.example", "*.Example.com.", "1.1.1.1", "A.EXAMPLE"}, deny: []string{"0.0.0.0/0"}, want: "{false [1.1.1.1-1.1.1.1] [*.example.com a.example]}"},
		{name: "names without internet", noInternet: true, allow: []string{"a_b.example"}, want: "{false [] [a_b.example]}"},
		{name: "every name", noInternet: true, allow: []string{"*"}, want: "{false [] [*]}"},
		{name: "a bundle", allow: []string{"bundle:rubygems"}, deny: []string{"0.0.0.0/0"}, want: "{false [] [index.rubygems.org rubygems.org]}"},
		{name: "bundles, a name and an address", allow: []string{"1.1.1.1", "bundle:rubygems", "RubyGems.org", "bundle:alpine", "bundle:alpine", "a.example"}, noInternet: true,
			want: "{false [1.1.1.1-1.1.1.1] [a.example dl-cdn.alpinelinux.org index.rubygems.org rubygems.org]}"},
		{name: "two halves", deny: []string{"0.0.0.0/1", "128.0.0.0/1"}, want: "{false [] []}"},
	} {
		c.want = strings.ReplaceAll(c.want, "ALL6", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
		got, err := Compile(ptr(!c.noInternet), sandbox.Egress{Allow: c.allow, Deny: c.deny})
		if text := fmt.Sprintf("{%v %v %v}", got.All, got.Only, got.Names); err != nil || text != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, text, err, c.want)
		}
		if got.None() != (c.want == "{false [] []}") || !got.Equal(got) || got.Equal(Policy{All: !got.All}) ||
			got.Equal(Policy{All: got.All, Only: got.Only, Names: append([]string{"z.example"}, got.Names...)}) {
			t.Errorf("%s: %v is nothing: %v", c.name, got, got.None())
		}
	}
}

func TestBadEntries(t *testing.T) {
	many := strings.Split(strings.Repeat("1.1.1.1 ", MaxEntries+1), " ")[:MaxEntries+1]
	all := []string{"0.0.0.0/0"}
	longest := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)
	if p, err := Compile(nil, sandbox.Egress{Allow: append([]string{longest}, many[2:]...), Deny: all}); err != nil || len(p.Names) != 1 {
		t.Errorf("as long as can be: %v, %v", p, err)
	}
	for _, c := range []struct {
		name        string
		allow, deny []string
		want        string
	}{
		{"a name that is denied", nil, []string{"example.com"}, "denyOut takes addresses"},
		{"a name without denyOut", []string{"example.com"}, nil, "need denyOut with 0.0.0.0/0"},
		{"a bundle without denyOut", []string{"bundle:pypi"}, nil, "names and bundles in allowOut need denyOut with 0.0.0.0/0"},
		{"a bundle beside a part", []string{"bundle:pypi"}, []string{"10.0.0.0/8"}, "need denyOut with 0.0.0.0/0"},
		{"a bundle that is denied", nil, []string{"0.0.0.0/0", "bundle:pypi"}, `"bundle:pypi": denyOut takes addresses`},
		{"a bundle in upper case", []string{"Bundle:pypi"}, all, `"Bundle:pypi" is not an address`},
		{"too many", many, nil, "257 entries"},
		{"empty", []string{""}, all, `allowOut: ""`},
		{"two stars", []string{"*.*"}, all, `"*.*"`},
		{"a star in the middle", []string{"a.*.b"}, all, `"a.*.b"`},
		{"a star that is a part", []string{"*a.b"}, all, `"*a.b"`},
		{"a name beside halves", []string{"a.b"}, []string{"0.0.0.0/1", "128.0.0.0/1"}, "need denyOut with 0.0.0.0/0"},
		{"a short address", []string{"1.1.1"}, all, `"1.1.1"`},
		{"a number", nil, []string{"16843009"}, `denyOut: "16843009"`},
		{"a leading zero", nil, []string{"1.1.1.01"}, "1.1.1.01"},
		{"too many bits", nil, []string{"1.1.1.1/33"}, "1.1.1.1/33"},
		{"a zone", nil, []string{"fe80::1%eth0"}, "fe80::1%eth0"},
		{"a URL", []string{"https://example.com/"}, all, "https"},
		{"a space", nil, []string{" 1.1.1.1"}, " 1.1.1.1"},
		{"a label without letters", []string{"a..b"}, all, "a..b"},
		{"a line", []string{"a\nb.c"}, all, `a\nb`},
		{"long", []string{strings.Repeat("a", 300)}, all, "aaa"},
		{"one letter too long", []string{longest + "a"}, all, "aaa"},
		{"a label of one letter too many", []string{strings.Repeat("a", 64) + ".b"}, all, "aaa"},
		{"a hyphen before", []string{"-a.b"}, all, `"-a.b"`},
		{"a hyphen behind", []string{"a-.b"}, all, `"a-.b"`},
	} {
		_, err := Compile(nil, sandbox.Egress{Allow: c.allow, Deny: c.deny})
		if !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
		if p := Of(nil, sandbox.Egress{Allow: c.allow, Deny: c.deny}); !p.None() {
			t.Errorf("%s: what is reached all the same: %v", c.name, p)
		}
	}
}

// A bundle that is not there is answered with those that are.
func TestUnknownBundles(t *testing.T) {
	for _, entry := range []string{"bundle:", "bundle:nothing", "bundle:PyPI", "bundle:pypi ", "bundle:pypi.", "bundle:*", "bundle:bundle:pypi", "bundle:" + strings.Repeat("a", 1000)} {
		for _, deny := range [][]string{nil, {"0.0.0.0/0"}} {
			rules := sandbox.Egress{Allow: []string{"a.example", "bundle:npm", entry}, Deny: deny}
			p, err := Compile(nil, rules)
			if want := fmt.Sprintf("%.80q is not a bundle; bundles are alpine, anthropic, ", entry); !p.None() || !errors.Is(err, sandbox.ErrInvalid) ||
				!strings.Contains(err.Error(), want) || !strings.HasSuffix(err.Error(), ", pypi, rubygems, ubuntu") || len(err.Error()) > 400 {
				t.Errorf("%.80s: %v, %v", entry, p, err)
			}
			if p := Of(nil, rules); !p.None() { // As after a downgrade.
				t.Errorf("%.80s: what is reached all the same: %v", entry, p)
			}
		}
	}
}

// A bundle is one entry of a list, however many names it has.
func TestABundleIsOneEntry(t *testing.T) {
	var entries []string
	for _, name := range bundle.Names() {
		entries = append(entries, bundle.Prefix+name)
	}
	for i := len(entries); i < MaxEntries; i++ {
		entries = append(entries, fmt.Sprintf("a%d.example", i))
	}
	p, err := Compile(ptr(false), sandbox.Egress{Allow: entries})
	if err != nil || len(p.Names) <= MaxEntries || len(p.Names) >= 2*MaxEntries {
		t.Errorf("%d names, %v", len(p.Names), err)
	}
	if p, err := Compile(ptr(false), sandbox.Egress{Allow: append(entries, "bundle:pypi")}); !errors.Is(err, sandbox.ErrInvalid) || !p.None() {
		t.Errorf("257 entries: %v, %v", p, err)
	}
	p, err = Compile(ptr(false), sandbox.Egress{Allow: slices.Repeat([]string{"bundle:npm"}, MaxEntries)})
	if err != nil || !slices.Equal(p.Names, bundle.Hosts("npm")) {
		t.Errorf("one bundle in all entries: %v, %v", p, err)
	}
}

// A policy agrees with its rules, address by address, at the borders of all prefixes.
func TestAPolicyIsWhatItsRulesSay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	list := func() (text []string, prefixes []netip.Prefix) {
		for range random.IntN(6) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(random.IntN(4)), byte(random.IntN(2)) * 255, 0, byte(random.IntN(4))}), random.IntN(33))
			text, prefixes = append(text, p.String()), append(prefixes, p.Masked())
		}
		return text, prefixes
	}
	within := func(prefixes []netip.Prefix, a netip.Addr) bool {
		for _, p := range prefixes {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	limited := 0
	for range 2000 {
		allow, allowed := list()
		deny, denied := list()
		internet := random.IntN(4) > 0
		p, err := Compile(&internet, sandbox.Egress{Allow: allow, Deny: deny})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Only) > 0 {
			limited++
		}
		for _, a := range borders(append(allowed, denied...)) {
			want := within(allowed, a) || internet && !within(denied, a)
			got := p.All
			for _, r := range p.Only {
				got = got || r.Contains(a)
			}
			if got != want {
				t.Fatalf("internet %v, allow %q, deny %q: %v reached is %v", internet, allow, deny, a, got)
			}
		}
	}
	if limited < 500 {
		t.Errorf("only %d of the policies are limited", limited)
	}
}

// borders are the first and last addresses of prefixes, and those beside them.
func borders(prefixes []netip.Prefix) (out []netip.Addr) {
	add := func(a netip.Addr) {
		for _, b := range []netip.Addr{a.Prev(), a, a.Next()} {
			if b.Is4() {
				out = append(out, b)
			}
		}
	}
	for _, p := range prefixes {
		last := p.Addr().As4()
		for bit := p.Bits(); bit < 32; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		add(p.Addr())
		add(netip.AddrFrom4(last))
	}
	return out
}
