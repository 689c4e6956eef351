package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/rundlet/rundlet/client"
)

// The world outside, all of it inside the test's own network namespace: the
// host has a link to one other namespace, which plays the internet.
const (
	hostAddr     = "9.9.9.1"
	internetAddr = "9.9.9.9"
	farAddr      = "11.22.33.44" // behind the first hop
	metadataAddr = "169.254.169.254"
	lanAddr      = "192.168.77.7"
)

// makeInternet gives the host a default route to the internet, which answers on
// port 80 of its addresses; the host itself answers on port 8080 of all of its.
// inside is called on a thread that is in the internet.
func makeInternet(t *testing.T, inside ...func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	internet, err := netns.New() // and the thread is in it
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			netns.Set(home)
			t.Fatal(err)
		}
	}
	must(netns.Set(home))
	until(t, "the internet of an earlier test is gone", func() bool { // The kernel takes its namespace away in the background.
		_, err := netlink.LinkByName("wan0")
		return err != nil
	})
	must(netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "wan0"}, PeerName: "wan1", PeerNamespace: netlink.NsFd(internet),
	}))
	must(address("wan0", hostAddr+"/24"))
	must(netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(internetAddr)}))
	listen(t, ":8080", "host")

	must(netns.Set(internet))
	must(address("lo", farAddr+"/32", metadataAddr+"/32", lanAddr+"/32"))
	must(address("wan1", internetAddr+"/24"))
	listen(t, ":80", "internet")
	for _, do := range inside {
		do()
	}
	must(netns.Set(home))
}

func address(link string, addrs ...string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("%s on %s: %w", a, link, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// listen serves pages in the network namespace of the calling thread.
func listen(t *testing.T, addr, text string) {
	t.Helper()
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: pages(text)}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
}

// hold takes connections in the network namespace of the calling thread and says
// nothing; it closes the oldest when there are too many.
func hold(t *testing.T, addr string) {
	t.Helper()
	const most = 4000
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		var held [most]net.Conn
		for i := 0; ; i = (i + 1) % most {
			if held[i] != nil {
				held[i].Close()
			}
			if held[i], err = ln.Accept(); err != nil {
				break
			}
		}
		for _, c := range held {
			if c != nil {
				c.Close()
			}
		}
	}()
}

func TestWhatASandboxReaches(t *testing.T) {
	srv, api, dir := newServer(t)
	makeInternet(t)
	before := takeCensus(t, dir)

	allowed, err := api.Create(t.Context(), "base", 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	denied, err := api.CreateWith(t.Context(), client.CreateOptions{Template: "base", Timeout: 5 * time.Minute, NoInternet: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), api, denied, "nohup python3 -m http.server 8000 >/dev/null 2>&1 & disown"); err != nil {
		t.Fatal(err)
	}
	neighbour := guestAddr(t, api, denied)
	host := []string{hostAddr, gatewayOf(t, guestAddr(t, api, allowed)).String(), uplinkAddr(t)}

	for _, target := range []string{internetAddr + ":80", farAddr + ":80"} {
		if out := fetch(t, api, allowed, target); out != "internet" {
			t.Errorf("with internet access, %s gives %q", target, out)
		}
	}
	forbidden := []string{metadataAddr + ":80", lanAddr + ":80", neighbour.String() + ":8000"}
	for _, h := range host {
		forbidden = append(forbidden, h+":8080")
	}
	for _, target := range forbidden {
		if out := fetch(t, api, allowed, target); !strings.HasPrefix(out, "failed") {
			t.Errorf("with internet access, %s gives %q", target, out)
		}
	}
	for _, target := range append(forbidden, internetAddr+":80", farAddr+":80") {
		if strings.HasPrefix(target, neighbour.String()) {
			continue // that is itself
		}
		if out := fetch(t, api, denied, target); !strings.HasPrefix(out, "failed") {
			t.Errorf("without internet access, %s gives %q", target, out)
		}
	}
	killAll(t, api, []client.Sandbox{allowed, denied})
	// The way to the internet stays until the daemon ends: a link on the host.
	before["links"]++
	before["files in run"] += 2
	before.await(t, dir)
	srv.stop(t)
	if all := links(t); len(all) != 2 { // lo and wan0
		t.Errorf("links left on the host: %v", all)
	}
}

// fetch asks for a page from inside and returns it, or "failed" and why.
func fetch(t *testing.T, api client.API, sb client.Sandbox, target string) string {
	t.Helper()
	out, err := run(t.Context(), api, sb, "curl -sS --connect-timeout 4 -m 6 http://"+target+"/ 2>&1 || echo failed")
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(out, "failed\n") {
		return "failed: " + out
	}
	return out
}

// guestAddr asks a sandbox for its own address.
func guestAddr(t *testing.T, api client.API, sb client.Sandbox) netip.Addr {
	t.Helper()
	out, err := run(t.Context(), api, sb, `python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("`+internetAddr+`", 9))
print(s.getsockname()[0])'`)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// gatewayOf is the router's end of a guest's /30.
func gatewayOf(t *testing.T, guest netip.Addr) netip.Addr {
	t.Helper()
	return guest.Prev()
}

// uplinkAddr is the host's end of the way to the internet.
func uplinkAddr(t *testing.T) string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; name == "lo" || name == "wan0" {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err == nil && len(addrs) == 1 {
			return addrs[0].IP.String()
		}
	}
	t.Fatal("the host has no link to the sandboxes")
	return ""
}
