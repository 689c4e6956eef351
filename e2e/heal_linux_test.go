package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
)

func flushRules(in netns.NsHandle) error {
	conn, err := nftables.New(nftables.WithNetNSFd(int(in)))
	if err != nil {
		return err
	}
	conn.FlushRuleset()
	return conn.Flush()
}

// Somebody flushes the rules of the host or of the router, deletes the link or
// resets forwarding, again and again, while sandboxes send to what they must not
// reach: nothing arrives, and the internet comes back. The long form does it
// once every ten seconds for five minutes.
func TestTheNetworkHealsWhileGuestsProbe(t *testing.T) {
	srv, api, dir := newServer(t)
	t.Cleanup(func() {
		if t.Failed() { // What does not look, or does not end?
			t.Log(srv.goroutines("rundlet/network"))
		}
	})
	got := &arrivals{counts: map[string]int{}, fresh: make(chan struct{}, 1)}
	makeInternet(t, func() { got.sink(t); got.capture(t) })
	got.sink(t)
	before := takeCensus(t, dir)

	var list []client.Sandbox
	for _, o := range []client.CreateOptions{{}, {NoInternet: true}, {NoInternet: true}, {NoInternet: true, Allow: []string{internetAddr}}} {
		o.Template, o.Timeout = "base", 20*time.Minute
		sb, err := api.CreateWith(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, sb)
	}
	allowed, denied, neighbour, limited := list[0], list[1], list[2], list[3]
	instance := layout.Layout{StateDir: filepath.Join(dir, "state")}.Instance()
	router, err := netns.GetFromPath(filepath.Join("/run/rundlet", instance, "net/router"))
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	uplink := uplinkAddr(t)
	start := func(sb client.Sandbox, program string, args ...string) {
		t.Helper()
		if err := upload(t.Context(), api, sb, "/home/user/probe.py", program); err != nil {
			t.Fatal(err)
		}
		command := "nohup python3 ~/probe.py " + strings.Join(args, " ") + " >/dev/null 2>&1 & disown"
		if _, err := run(t.Context(), api, sb, command); err != nil {
			t.Fatal(err)
		}
	}
	targets := []string{hostAddr, uplink, metadataAddr, lanAddr, guestAddr(t, api, neighbour).String()}
	start(neighbour, listener)
	start(allowed, prober, append([]string{"allowed", internetAddr}, targets...)...)
	start(limited, prober, append([]string{"limited", internetAddr, farAddr}, targets...)...)
	start(denied, prober, append([]string{"denied", internetAddr}, targets...)...)
	// The counters count: the host's own packets arrive at the same ports.
	for _, to := range []string{hostAddr, metadataAddr, lanAddr} {
		c, err := net.Dial("udp4", net.JoinHostPort(to, strconv.Itoa(forbiddenPort)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		until(t, "the control to "+to, func() bool {
			c.Write([]byte("control to " + to))
			got.mu.Lock()
			defer got.mu.Unlock()
			return got.counts["control to "+to] > 0
		})
	}
	beat := func() {
		t.Helper()
		select {
		case <-got.fresh:
		default:
		}
		select {
		case <-got.fresh:
		case <-time.After(time.Minute):
			t.Fatalf("no internet; arrived: %v\n%s", got.forbidden(), srv.logTail())
		}
	}
	beat()

	faults := []struct {
		name string
		do   func() error
	}{
		{"host flushed", func() error { return onHost(flushRules) }},
		{"router flushed", func() error { return flushRules(router) }},
		{"link deleted", func() error { return deleteUplink(uplink) }},
		{"forwarding reset", func() error {
			const path = "/proc/sys/net/ipv4/ip_forward"
			return errors.Join(os.WriteFile(path, []byte("1"), 0), os.WriteFile(path, []byte("0"), 0))
		}},
	}
	rounds, every := 2*len(faults), time.Duration(0)
	if *soak {
		rounds, every = 30, 10*time.Second
	}
	gaps := map[string][]float64{}
	for i := range rounds {
		f := faults[i%len(faults)]
		next := time.After(every)
		repairs, err := figures(t.Context(), api, "network_repairs_total")
		if err != nil {
			t.Fatal(err)
		}
		got.take()
		if err := f.do(); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		// A create needs the network at that moment, and a kill gives a part of it back.
		if sb, err := api.Create(t.Context(), "base", time.Minute); err != nil {
			t.Errorf("%s: create: %v", f.name, err)
		} else if err := api.Kill(t.Context(), sb.ID); err != nil {
			t.Errorf("%s: kill: %v", f.name, err)
		}
		until(t, f.name+": it is repaired", func() bool {
			now, err := figures(t.Context(), api, "network_repairs_total")
			return err == nil && now > repairs
		})
		beat()
		got.forget("limited to " + internetAddr)
		until(t, f.name+": the limited one has its internet", func() bool { return got.forget("limited to "+internetAddr) > 0 })
		if bad := got.forbidden(); len(bad) > 0 {
			t.Fatalf("round %d, %s: arrived %v", i, f.name, bad)
		}
		<-next
		gaps[f.name] = append(gaps[f.name], float64(got.take().Milliseconds()))
	}
	// A sandbox that is made now is like one before.
	if sb, err := api.Create(t.Context(), "base", time.Minute); err != nil {
		t.Error(err)
	} else {
		if out := fetch(t, api, sb, internetAddr+":80"); out != "internet" {
			t.Errorf("a new sandbox gets %q", out)
		}
		list = append(list, sb)
	}
	if out, err := run(t.Context(), api, neighbour, "cat /tmp/got 2>/dev/null | sort | uniq -c"); err != nil || out != "" {
		t.Errorf("the neighbour got %q, %v", out, err)
	}
	if bad := got.forbidden(); len(bad) > 0 {
		t.Errorf("arrived %v", bad)
	}
	got.mu.Lock()
	record(t, "network heals", map[string]any{"rounds": rounds, "milliseconds_without_internet": gaps, "beats": got.counts["allowed to "+internetAddr]})
	got.mu.Unlock()
	killAll(t, api, list)
	before["links"]++
	before["files in run"] += 2
	before.await(t, dir)
	srv.stop(t)
	if all := links(t); len(all) != 2 { // lo and wan0
		t.Errorf("links left on the host: %v", all)
	}
}

// onHost calls f with the namespace of the test.
func onHost(f func(netns.NsHandle) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	return f(home)
}

// deleteUplink deletes the link that has an address.
func deleteUplink(addr string) error {
	list, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range list {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err == nil && len(addrs) == 1 && addrs[0].IP.String() == addr {
			return netlink.LinkDel(l)
		}
	}
	return fmt.Errorf("no link has %s", addr)
}

// until waits for what has to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	awaitFor(t, time.Minute, func() (wrong []string, err error) {
		if !is() {
			wrong = append(wrong, "never: "+what)
		}
		return wrong, nil
	})
	if t.Failed() {
		t.FailNow()
	}
}
