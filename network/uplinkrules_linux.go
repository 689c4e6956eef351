package network

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/shares"
	"github.com/rundlet/rundlet/network/slash30"
)

// settleRules replaces the table in the daemon's namespace as a whole if it is not as
// it should be. Open connections are not affected.
func (u *uplink) settleRules(mend bool) (lost bool, err error) {
	whole, err := u.rules.Whole(nil)
	if err != nil || whole || !mend {
		return !whole && err == nil, err
	}
	u.rules.Unseen = false
	return true, u.writeRules()
}

// writeRules replaces the table by one for the record and the own addresses.
func (u *uplink) writeRules() error {
	if u.rules.Want == "" {
		if err := u.expectRules(); err != nil {
			return err
		}
	}
	conn, err := nft.Once(u.host)
	if err != nil {
		return err
	}
	b := nft.Replace(conn, u.table())
	u.build(b)
	if err := errors.Join(b.Err, conn.Flush()); err != nil {
		return fmt.Errorf("write table %s: %w", u.table(), err)
	}
	return nil
}

// expectRules records the intended table. A kernel that has no times for
// single flows has a table without them, and that is reported once: it keeps the
// host's flows for longer, but not those that the router does not know any more.
func (u *uplink) expectRules() error {
	without, err := u.rules.ExpectWith(u.build, func() func() {
		times := u.times
		if u.times = nil; times == nil {
			return nil
		}
		return func() { u.times = times }
	})
	if without != nil {
		u.cfg.OnError(fmt.Errorf("network: %s: %w", noTimes, without))
	}
	return err
}

const noTimes = "the host tracks silent flows of sandboxes as long as its own (a kernel with CONFIG_NF_CONNTRACK_TIMEOUT would forget them sooner)"

// build writes the rules of the daemon's namespace. The router has filtered
// already; here the host protects itself, by facts that only it knows.
func (u *uplink) build(b *nft.Table) {
	rec, up := u.rec, u.name()
	denied4, _ := ipv6.Split(u.cfg.Denied)
	denied := b.PrefixSet(setDenied, denied4)
	nameservers := b.AddrSet(setNameservers, u.cfg.Nameservers)
	b.Refusals(0)
	v6 := ipv6.Host{
		Link: up, Router: u.address6(rec.Subnet), Permit: permit(), Revoke: revoke(),
		Reachable: nft.Intervals6(ipv6.Reachable(slices.Concat(u.cfg.Denied, u.own))),
	}.Chains(b)
	u.permits(b, rec, nameservers, v6)
	var times []expr.Any // A rule without them does nothing.
	if u.times != nil {
		b.Object(u.times(b.Ref))
		times = shares.SetTimes()
	}
	dns := func(proto byte) []expr.Any {
		return nft.Rule(nft.IIF(up), nft.DestIn(nameservers), nft.IsPort(proto, 53), nft.Accept())
	}
	// The host by any of its addresses; as a name server only if configured.
	b.Hook("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept, append(v6.Input,
		nft.Rule(nft.IIF(up), times),
		dns(unix.IPPROTO_UDP),
		dns(unix.IPPROTO_TCP),
		nft.Rule(nft.IIF(up), nft.Refuse()),
	)...)
	forward := append([][]expr.Any{nft.Rule(nft.IIF(up), times)}, v6.Forward...) // The times are for both families.
	forward = append(forward,
		dns(unix.IPPROTO_UDP),
		dns(unix.IPPROTO_TCP),
		// A port that the host publishes (a container's) is the host.
		nft.Rule(nft.IIF(up), nft.IsDNAT(), nft.Refuse()),
		nft.Rule(nft.IIF(up), nft.DestIn(denied), nft.Refuse()),
		nft.Rule(nft.IIF(up), nft.SourceIs(slash30.Far(rec.Subnet)), nft.Accept()),
		nft.Rule(nft.IIF(up), nft.Drop()),
		nft.Rule(nft.OIF(up), nft.CtState(nft.Established), nft.Accept()),
		nft.Rule(nft.OIF(up), nft.Drop()),
	)
	// A guest's packets have 1500 bytes. The kernel does not return its errors about larger ones than a link of the
	// host takes to the sender of a TCP connection that it translates.
	b.Hook("segments", nftables.ChainHookForward, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept,
		nft.Rule(nft.IIF(up), nft.FitSegments()),
		nft.Rule(nft.OIF(up), nft.FitSegments()),
	)
	// Where forwarding was off, it is on for us only: hosts outside must not use
	// the host as a router because of it.
	for _, name := range slices.Sorted(maps.Keys(rec.Forwarding)) {
		if rec.Forwarding[name] == "0" {
			forward = append(forward, nft.Rule(nft.IIF(name), nft.NotOIF(up), nft.CtState(nft.Opening), nft.NotDNAT(), nft.Drop()))
		}
	}
	b.Hook("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept, forward...)
	b.Hook("postrouting", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept, append(v6.Translate,
		nft.Rule(nft.SourceIs(slash30.Far(rec.Subnet)), nft.NotOIF(up), nft.Masquerade()),
	)...)
	// Without that rule nothing leaves: this one sees what it has left.
	after, policy := nftables.ChainPriority(*nftables.ChainPriorityNATSource+10), nftables.ChainPolicyAccept
	b.Add(&nftables.Chain{
		Name: "masqueraded", Table: b.Ref, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPostrouting, Priority: &after, Policy: &policy,
	}, append(v6.Translated, nft.Rule(nft.IsIPv4(), nft.SourceIs(slash30.Far(rec.Subnet)), nft.NotOIF(up), nft.Drop())))
}
