package network

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
)

func TestConfig(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, tc := range []struct {
		name string
		cfg  Config
		ok   bool
	}{
		{"defaults", Config{RunDir: "/r"}, true},
		{"no run directory", Config{}, false},
		{"instance", Config{RunDir: "/r", Instance: "node7"}, true},
		{"instance too long for an interface name", Config{RunDir: "/r", Instance: "abcdefghi"}, false},
		{"instance with a slash", Config{RunDir: "/r", Instance: "a/b"}, false},
		{"small range", Config{RunDir: "/r", Range: prefix("10.1.2.0/30")}, true},
		{"range without a /30", Config{RunDir: "/r", Range: prefix("10.1.2.0/31")}, false},
		{"public range", Config{RunDir: "/r", Range: prefix("9.9.0.0/16")}, false},
		{"range larger than the private one", Config{RunDir: "/r", Range: prefix("172.0.0.0/8")}, false},
		{"IPv6 range", Config{RunDir: "/r", Range: prefix("fd00::/64")}, false},
		{"public link range", Config{RunDir: "/r", LinkRange: prefix("9.9.9.0/24")}, false},
		{"overlap", Config{RunDir: "/r", LinkRange: prefix("10.200.1.0/24")}, false},
		{"private name server", Config{RunDir: "/r", Nameservers: []netip.Addr{addr("10.0.0.53")}}, true},
		{"no name server", Config{RunDir: "/r", Nameservers: []netip.Addr{}}, true},
		{"loopback name server", Config{RunDir: "/r", Nameservers: []netip.Addr{addr("127.0.0.53")}}, false},
		{"IPv6 name server", Config{RunDir: "/r", Nameservers: []netip.Addr{addr("2606:4700::1111")}}, false},
		{"no address", Config{RunDir: "/r", Nameservers: []netip.Addr{{}}}, false},
	} {
		_, err := tc.cfg.withDefaults()
		if tc.ok && err != nil || !tc.ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ok %v", tc.name, err, tc.ok)
		}
	}
}

// instanceName is the name of a Network that has none, by its directory.
func instanceName(runDir string) string {
	c, err := Config{RunDir: runDir}.withDefaults()
	if err != nil {
		panic(err)
	}
	return c.Instance
}

func TestInstanceFollowsRunDir(t *testing.T) {
	a, b := instanceName("/run/rundlet"), instanceName(filepath.Join("/run", "other"))
	if a == b || !validInstance(a) || !validInstance(b) || a != instanceName("/run/rundlet") {
		t.Errorf("%q and %q", a, b)
	}
}
