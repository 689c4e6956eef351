package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/network/socks/sockstest"
)

const (
	// proxyAddr is a SOCKS5 proxy of an internet with names, closedProxy one that wants proxyUser and proxyPassword, and
	// secureProxy one that speaks TLS, with a certificate for allowedHost.
	proxyAddr, closedProxy, secureProxy = internetAddr + ":1080", internetAddr + ":1081", internetAddr + ":1082"

	proxyUser, proxyPassword = "user", "q7RwXs2-password"
	// throughPort is where only the proxies find something.
	throughPort = "8888"
)

// proxies listen in the namespace of the calling thread. only is the address of what nothing but they find.
func (i *webOfNames) proxies(t *testing.T, only string) {
	t.Helper()
	dial := func(ctx context.Context, target string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(target)
		if err != nil {
			return nil, err
		}
		addr := net.JoinHostPort(internetAddr, port) // As all names have.
		if port == throughPort {
			addr = only
		}
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	for addr, login := range map[string][2]string{proxyAddr: {}, closedProxy: {proxyUser, proxyPassword}, secureProxy: {}} {
		ln, err := net.Listen("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		if addr == secureProxy {
			ln = tls.NewListener(ln, &tls.Config{GetCertificate: i.certificate})
		}
		i.proxy[addr] = sockstest.Serve(t, ln, login[0], login[1], dial)
	}
}

// A sandbox's connections go through its proxy whatever happens to it and to its daemon, and it never sees the password.
func TestASandboxGoesThroughItsProxy(t *testing.T) {
	web := makeNames(t)
	srv, api, dir := newServer(t, "--log-level", "debug", "--nameserver", nameServer)
	ctx := t.Context()
	proxy := &client.Proxy{Address: closedProxy, Username: proxyUser, Password: proxyPassword}
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute, Proxy: proxy})
	if err != nil {
		t.Fatal(err)
	}
	works := func(when string, sb client.Sandbox) {
		t.Helper()
		for url, want := range map[string]string{
			"http://" + internetAddr + ":" + throughPort: "proxy", "http://" + allowedHost + ":" + throughPort: "proxy",
			"https://" + allowedHost: "internet", "http://" + internetAddr: "internet",
		} {
			if got, err := run(ctx, api, sb, "curl -sSk -m 20 "+url+" 2>&1"); err != nil || got != want {
				t.Errorf("%s: %s gives %q, %v, want %q", when, url, got, err, want)
			}
		}
		if got := len(web.proxy[closedProxy].Targets()); got != 4 {
			t.Errorf("%s: %d connections came through the proxy, want 4", when, got)
		}
	}
	until(t, "the proxy is reached", func() bool { return fetch(t, api, sb, internetAddr) == "internet" })
	web.proxy[closedProxy].Targets()
	works("created", sb)
	if err := api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.Connect(ctx, sb.ID, 20*time.Minute); err != nil {
		t.Fatal(err)
	}
	works("resumed", sb)
	children, err := api.Fork(ctx, sb.ID, 1, 20*time.Minute)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	works("forked", *children[0].Sandbox)
	srv = srv.crash(t, dir)
	works("after a crash of the daemon", sb)
	for what, network := range map[string]client.Network{
		"another password": {Proxy: &client.Proxy{Address: closedProxy, Username: proxyUser, Password: "another"}},
		"no proxy there":   {Proxy: &client.Proxy{Address: internetAddr + ":7"}},
	} {
		if err := api.SetNetwork(ctx, sb.ID, network); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{internetAddr, internetAddr + ":" + throughPort, allowedHost + ":443"} {
			if got := fetch(t, api, sb, target); got == "internet" || got == "proxy" {
				t.Errorf("%s: %s gives %q", what, target, got)
			}
		}
	}
	if err := api.SetNetwork(ctx, sb.ID, client.Network{}); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, api, sb, internetAddr); got != "internet" {
		t.Errorf("without a proxy: %q", got)
	}
	if got := fetch(t, api, sb, internetAddr+":"+throughPort); got == "proxy" {
		t.Error("without a proxy its page is found")
	}
	killAll(t, api, []client.Sandbox{sb, *children[0].Sandbox})
	srv.stop(t)
	if found := holding(t, dir, proxyPassword); len(found) > 0 {
		t.Errorf("after the end of the sandboxes the password is in %q", found)
	}
}
