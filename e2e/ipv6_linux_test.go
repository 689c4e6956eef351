package e2e

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/client"
)

// The internet of IPv6, behind its first hop, and what no sandbox reaches there.
const (
	internet6    = "2a00:1::7"
	otherHost6   = "2a00:1::8"
	metadata6    = "fd00:ec2::254"
	translated6  = "64:ff9b::a9fe:a9fe"
	nextHop6     = "2600:1::2"
	hostAddress6 = "2600:1::1"
)

// makeInternet6 is makeInternet with IPv6. on gives the host its way there, and off takes it.
func makeInternet6(t *testing.T) (on, off func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	makeInternet(t, func() {
		must(address("lo", internet6+"/128", otherHost6+"/128", metadata6+"/128", translated6+"/128"))
		must(address6("wan1", nextHop6+"/64"))
		ln, err := net.Listen("tcp6", "[::]:80")
		must(err)
		srv := &http.Server{Handler: pages("internet6")}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	})
	must(address6("wan0", hostAddress6+"/64"))
	way := &netlink.Route{Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Gw: net.ParseIP(nextHop6)}
	forward := func(value string) { must(os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte(value), 0)) }
	on = func() { forward("1"); must(netlink.RouteAdd(way)) }
	off = func() { forward("0"); must(netlink.RouteDel(way)) }
	return on, off
}

// address6 gives a link an address that can be used at once.
func address6(link, addr string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	const noDetection = 2 // IFA_F_NODAD
	a.Flags = noDetection
	return netlink.AddrAdd(l, a)
}

// A sandbox reaches the internet of IPv6 where the host does, by its policy, through pauses and forks; snapshots from
// before the host had it, and from then, go on working with what the host has now.
func TestASandboxHasIPv6WhereTheHostHasIt(t *testing.T) {
	_, api, _ := newServer(t)
	on, off := makeInternet6(t)
	ctx := t.Context()
	create := func(o client.CreateOptions) client.Sandbox {
		t.Helper()
		o.Template, o.Timeout = "base", 20*time.Minute
		sb, err := api.CreateWith(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		return sb
	}
	gets := func(sb client.Sandbox, addr, want string) {
		t.Helper()
		if out := fetch(t, api, sb, addr); out != want {
			t.Errorf("%s gives %q, want %q", addr, out, want)
		}
	}
	refused := func(sb client.Sandbox, addr string) {
		t.Helper()
		if out := fetch(t, api, sb, addr); !strings.HasPrefix(out, "failed") || strings.Contains(out, "imed out") {
			t.Errorf("%s is not refused at once: %q", addr, out)
		}
	}
	in6 := func(addr string) string { return net.JoinHostPort(addr, "80") }

	early := create(client.CreateOptions{})
	gets(early, internetAddr+":80", "internet")
	refused(early, in6(internet6))
	on()
	var sb client.Sandbox
	until(t, "new sandboxes have IPv6", func() bool {
		sb = create(client.CreateOptions{})
		return fetch(t, api, sb, in6(internet6)) == "internet6"
	})
	gets(sb, internetAddr+":80", "internet")
	for _, addr := range []string{metadata6, translated6, hostAddress6, nextHop6, "fe80::1", "::ffff:169.254.169.254"} {
		refused(sb, in6(addr))
	}
	gets(early, internetAddr+":80", "internet")
	if out, err := run(ctx, api, sb, "curl -sS -m 20 -g 'http://["+internet6+"]/'"); err != nil || !strings.Contains(out, "internet6") {
		t.Errorf("curl: %q, %v", out, err)
	}

	closed := create(client.CreateOptions{NoInternet: true})
	refused(closed, in6(internet6))
	part := create(client.CreateOptions{Allow: []string{internet6}, Deny: []string{"0.0.0.0/0"}})
	gets(part, in6(internet6), "internet6")
	refused(part, in6(otherHost6))
	until(t, "what is refused is recorded", func() bool {
		list, err := api.Refused(ctx, part.ID)
		if err != nil {
			t.Fatal(err)
		}
		return len(list) > 0 && list[0].Address == otherHost6 && list[0].Protocol == "tcp"
	})

	pause := func(sb client.Sandbox) {
		t.Helper()
		if err := api.Pause(ctx, sb.ID, true); err != nil {
			t.Fatal(err)
		}
	}
	resume := func(sb client.Sandbox) {
		t.Helper()
		if _, _, err := api.Connect(ctx, sb.ID, 20*time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	pause(part)
	resume(part)
	gets(part, in6(internet6), "internet6")
	refused(part, in6(otherHost6))
	children, err := api.Fork(ctx, part.ID, 1, 20*time.Minute)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	gets(*children[0].Sandbox, in6(internet6), "internet6")
	refused(*children[0].Sandbox, in6(otherHost6))
	pause(early)
	resume(early) // It was saved without IPv6.
	gets(early, in6(internet6), "internet6")
	pause(sb)
	off()
	until(t, "running sandboxes are refused at once", func() bool { return fetch(t, api, early, in6(internet6)) != "internet6" })
	resume(sb) // It was saved with it.
	gets(sb, internetAddr+":80", "internet")
	until(t, "a resumed sandbox is refused at once", func() bool {
		return !strings.Contains(fetch(t, api, sb, in6(internet6)), "imed out")
	})
	refused(sb, in6(internet6))
}
