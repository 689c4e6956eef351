package network

import (
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/namespace"
)

func TestCheck(t *testing.T) {
	w := newWorld(t)
	before := w.traces()
	if got := Check(w.config()); got != nil {
		t.Errorf("on a good machine: %+v", got)
	}
	if got := w.traces(); got != before {
		t.Errorf("the check changed\n%s\nto\n%s", before, got)
	}

	// As Docker does.
	conn, err := nftables.New(nftables.WithNetNSFd(int(w.host.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
	conn.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	got := Check(w.config())
	if len(got) != 1 || got[0].Fatal || !strings.Contains(got[0].What, "FORWARD") || !strings.Contains(got[0].Hint, instanceName(w.config().RunDir)+"up") {
		t.Errorf("with a dropping firewall: %+v", got)
	}

	w = newWorld(t)
	w.withIPv6()
	if got := Check(w.config()); got != nil {
		t.Errorf("with IPv6: %+v", got)
	}
	w.in(w.host, func() error { return namespace.WriteSysctl("ipv6/conf/all/forwarding", "0") })
	if got := Check(w.config()); len(got) != 1 || got[0].Fatal || !strings.Contains(got[0].Hint, "net.ipv6.conf.all.forwarding=1") {
		t.Errorf("with IPv6 that is not forwarded: %+v", got)
	}

	cfg := w.config()
	cfg.HostNetNS = w.dir + "/missing"
	if got := Check(cfg); len(got) != 1 || !got[0].Fatal {
		t.Errorf("no such namespace: %+v", got)
	}
	if got := Check(Config{}); len(got) != 1 || !got[0].Fatal {
		t.Errorf("no run directory: %+v", got)
	}
}
