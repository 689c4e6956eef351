package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/node"
)

func TestAddresses(t *testing.T) {
	files := TLS{CertFile: "c", KeyFile: "k"}
	for _, c := range []struct {
		cfg            Config
		domain, listen string
		problem        string
	}{
		{Config{}, "", "127.0.0.1:3000", ""},
		{Config{Listen: ":80", Domain: "x"}, "x", ":80", ""},
		{Config{TLS: TLS{Local: true}}, "e2b.localhost:8443", "127.0.0.1:8443", ""},
		{Config{TLS: TLS{Local: true}, Listen: "10.0.0.1:443"}, "e2b.localhost:8443", "10.0.0.1:443", ""},
		{Config{TLS: files, Domain: "Sandboxes.example"}, "Sandboxes.example", "127.0.0.1:443", ""},
		{Config{TLS: files, Domain: "sandboxes.example:7443"}, "sandboxes.example:7443", "127.0.0.1:7443", ""},
		{Config{TLS: files}, "", "", "needs a domain"},
		{Config{TLS: TLS{CertFile: "c"}, Domain: "a.b"}, "", "", "belong together"},
		{Config{TLS: TLS{Local: true, CertFile: "c", KeyFile: "k"}}, "", "", "choose one"},
		{Config{TLS: TLS{Local: true}, Domain: "localhost:8443"}, "", "", "with a dot in it"},
		{Config{TLS: TLS{Local: true}, Domain: "127.0.0.1:8443"}, "", "", "is an address"},
		{Config{TLS: TLS{ACME: true}, NamesListen: ":53"}, "", "", "needs a domain"},
		{Config{TLS: TLS{ACME: true}, Domain: "sb.example"}, "", "", "proof by DNS"},
		{Config{TLS: TLS{ACME: true}, Domain: "sb.example", NamesListen: ":53"}, "sb.example", "127.0.0.1:443", ""},
		{Config{TLS: TLS{ACME: true, ACMEHook: "/bin/hook"}, Domain: "sb.example"}, "sb.example", "127.0.0.1:443", ""},
		{Config{TLS: TLS{ACME: true, Local: true}, Domain: "sb.example", NamesListen: ":53"}, "", "", "choose one"},
		{Config{NamesListen: "127.0.0.1:53"}, "", "", "needs a domain"},
		{Config{NamesListen: "127.0.0.1:53", Domain: "*.x.y"}, "", "", "must be a host name"},
	} {
		err := c.cfg.completeAddress()
		switch {
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.problem)
		case c.problem == "" && (err != nil || c.cfg.Domain != c.domain || c.cfg.Listen != c.listen):
			t.Errorf("%q %q, %v; want %q %q", c.cfg.Domain, c.cfg.Listen, err, c.domain, c.listen)
		}
	}
}

// Names are where the daemon listens; if that is any address, where the questions come.
func TestNamesAreAtTheAddressOfTheDaemon(t *testing.T) {
	for listen, want := range map[string]string{"10.1.2.3": "10.1.2.3", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1", "fd00::1": "fd00::1", "": "198.51.100.7"} {
		c := Config{Node: node.Config{Log: slog.New(slog.DiscardHandler)}, Domain: "e2b.localhost:8443", NamesListen: "127.0.0.1:0", Sockets: &net.ListenConfig{}}
		if listen == "" {
			c.NamesAddress = netip.MustParseAddr(want)
		}
		server, err := c.serveNames(t.Context(), &net.TCPAddr{IP: net.ParseIP(listen), Port: 8443})
		if err != nil {
			t.Fatal(err)
		}
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Addr())
		}}
		if got, err := resolver.LookupHost(t.Context(), "49983-i0.e2b.localhost."); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("listening at %s: %v, %v", listen, got, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
	var none Config
	if server, err := none.serveNames(t.Context(), &net.TCPAddr{}); server != nil || err != nil || server.Close() != nil {
		t.Errorf("%v, %v", server, err)
	}
}
