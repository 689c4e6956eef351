package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
)

// A sandbox with an allow-list sends all the time to what it allows and to what it does not, by UDP and TCP, through
// everything that happens to a sandbox and to its daemon. What is allowed arrives after each step, and what is not
// never does. Its fork sends the same from its first moment on.
func TestAnAllowListHoldsWhateverHappens(t *testing.T) {
	srv, api, dir := newServer(t)
	got := &arrivals{counts: map[string]int{}, fresh: make(chan struct{}, 1)}
	makeInternet(t, func() { got.sink(t) })
	ctx := t.Context()
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 20 * time.Minute,
		Allow: []string{internetAddr}, Deny: []string{"0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	beat := func(when string) {
		t.Helper()
		got.await(t, when)
		got.check(t, when)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if out := fetch(t, api, sb, farAddr+":80"); !strings.HasPrefix(out, "failed") || strings.Contains(out, "imed out") {
		t.Errorf("what is refused is not refused at once: %q", out)
	}
	if out := fetch(t, api, sb, internetAddr+":80"); out != "internet" {
		t.Errorf("what is allowed gives %q", out)
	}
	must(upload(ctx, api, sb, "/home/user/probe.py", prober)) // A flood takes answers from its own sandbox.
	start := "nohup python3 ~/probe.py allowed " + internetAddr + " " + farAddr + " >/dev/null 2>&1 & disown"
	if _, err := run(ctx, api, sb, start); err != nil {
		t.Fatal(err)
	}
	beat("created,")
	until(t, "what is refused is recorded", func() bool {
		refused, err := api.Refused(ctx, sb.ID)
		must(err)
		seen := map[string]bool{}
		for _, r := range refused {
			if r.Address != farAddr {
				t.Fatalf("%+v was refused", r)
			}
			seen[r.Protocol] = true
		}
		return seen["udp"] && seen["tcp"]
	})

	must(api.Pause(ctx, sb.ID, true))
	_, _, err = api.Connect(ctx, sb.ID, 20*time.Minute)
	must(err)
	beat("resumed,")
	children, err := api.Fork(ctx, sb.ID, 2, 20*time.Minute)
	must(err)
	for _, c := range children {
		if c.Error != nil {
			t.Fatal(c.Error)
		}
		if out := fetch(t, api, *c.Sandbox, internetAddr+":80"); out != "internet" {
			t.Errorf("a child gets %q", out)
		}
	}
	beat("forked,")
	srv, api = throughLosses(t, srv, dir, beat, beat)
	n, err := api.Network(ctx, sb.ID)
	if err != nil || strings.Join(n.Allow, " ") != internetAddr || strings.Join(n.Deny, " ") != "0.0.0.0/0" {
		t.Errorf("its rules are %+v, %v", n, err)
	}

	// The positive control: without its rules the far address is reached.
	must(api.SetNetwork(ctx, sb.ID, client.Network{}))
	until(t, "the far address is reached", func() bool { return got.forbidden()["allowed to "+farAddr] > 0 })
	must(api.SetNetwork(ctx, sb.ID, client.Network{Internet: new(false), Allow: []string{internetAddr}}))
	if out := fetch(t, api, sb, farAddr+":80"); !strings.HasPrefix(out, "failed") {
		t.Errorf("limited again, it gets %q", out)
	}
	list, err := api.List(ctx)
	must(err)
	killAll(t, api, list)
	srv.stop(t)
}

// throughLosses flushes the rules of the network with and without a daemon, kills the daemon twice, and calls beat after each
// step, or alone while no daemon runs. It returns the daemon that runs then.
func throughLosses(t *testing.T, srv *server, dir string, beat, alone func(when string)) (*server, client.API) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, api := t.Context(), srv.api()
	router, err := netns.GetFromPath(filepath.Join(user.runDir(srv), layout.Layout{StateDir: filepath.Join(dir, "state")}.Instance(), "net/router"))
	must(err)
	before, err := figures(ctx, api, "network_repairs_total")
	must(err)
	must(flushRules(router))
	until(t, "the rules are there again", func() bool {
		repairs, err := figures(ctx, api, "network_repairs_total")
		return err == nil && repairs > before
	})
	beat("after a flush,")
	must(flushRules(router)) // The next daemon writes them.
	must(srv.cmd.Process.Kill())
	<-srv.exited
	must(router.Close())
	srv = startServer(t, dir, cold...)
	beat("with another daemon")
	must(srv.cmd.Process.Kill())
	<-srv.exited
	alone("without a daemon")
	srv = startServer(t, dir, cold...)
	beat("with a third daemon")
	return srv, srv.api()
}
