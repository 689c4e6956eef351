package daemon

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/limits"
)

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:3000": "127.0.0.1:3000",
		"0.0.0.0:3000":   "127.0.0.1:3000",
		"[::]:3000":      "127.0.0.1:3000",
		"[::1]:3000":     "[::1]:3000",
		"10.1.2.3:80":    "10.1.2.3:80",
	} {
		addr, err := net.ResolveTCPAddr("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := reachable(addr); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}

func TestListenAtWaitsForAPortThatIsAboutToBeFree(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	if _, err := listenAt(t.Context(), &net.ListenConfig{}, address, time.Millisecond); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use: %v", err)
	}
	free := time.AfterFunc(50*time.Millisecond, func() { taken.Close() })
	defer free.Stop()
	ln, err := listenAt(t.Context(), &net.ListenConfig{}, address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

// What an operator asked for reaches the server that decides on requests.
func TestTheServerHasWhatTheConfigurationSays(t *testing.T) {
	c := Config{Domain: "sb.test", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if cfg := c.server(limits.Split{Clients: 3, Streams: 4}, nil); cfg.RequireSecure || cfg.Domain != "sb.test" ||
		cfg.MaxConnections != 3 || cfg.MaxStreams != 4 || len(cfg.TrustedProxies) != 1 {
		t.Errorf("%+v", cfg)
	}
	c.RequireSecure = true
	if cfg := c.server(limits.Split{}, nil); !cfg.RequireSecure {
		t.Errorf("%+v", cfg)
	}
}
