package network

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/record"
	"github.com/rundlet/rundlet/network/settle"
	"github.com/rundlet/rundlet/network/slash30"
)

// permitBit is the bit of the packet mark that says: a rule has permitted this
// packet. In both namespaces packets of guests, and the answers to them, are
// routed only if they have it. So what permits is a rule that is there: a rule,
// a chain, a set element or a whole table that is lost closes the way instead
// of opening it. The mark does not survive the way between namespaces, and
// guests cannot set it. None of the programs that are known to use marks in the
// daemon's namespace (kube-proxy, Calico, Cilium, Tailscale, WireGuard, Docker)
// uses this bit.
const permitBit = 0x10

// permit sets the bit and leaves the rest of the mark as it is; revoke clears it.
func permit() []expr.Any { return setPermitBit(permitBit) }
func revoke() []expr.Any { return setPermitBit(0) }

func setPermitBit(value uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(^uint32(permitBit)), Xor: binaryutil.NativeEndian.PutUint32(value),
		},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}
}

const (
	setReachable   = "reachable"
	setNameservers = "nameservers"
	setDenied      = "denied"
	setGuests      = "guests"
	setTransport   = "transport"
)

// staticSets are the sets with fixed elements, of the router's table and of that in
// the daemon's namespace.
var staticSets = []string{setDenied, setNameservers, setReachable, setGuests, setTransport}

// reachableSet has all of IPv4 but what is denied to all slots and what is the host's.
func reachableSet(b *nft.Table, denied, own []netip.Prefix) *nftables.Set {
	denied, _ = ipv6.Split(denied)
	own, _ = ipv6.Split(own)
	return b.Set(nftables.Set{Name: setReachable, KeyType: nftables.TypeIPAddr, Interval: true}, nft.Except(denied, own))
}

// permits are the rules of the router by which a packet of a slot, or an answer
// to one, is routed towards the internet or back: each alone says all that must
// be true. The rules of the other chains refuse the same once more, and return
// the guest. marks come before. direct are the matches for packets that do not have to go through a proxy.
func permits(b *nft.Table, sources *nftables.Set, ways []way, direct, marks [][]expr.Any, reachable, nameservers *nftables.Set) {
	var rules [][]expr.Any
	for _, w := range ways {
		slot := nft.Rule(nft.SourceIn(sources), w.out)
		rules = append(rules, nft.Rule(slot, nft.DestIn(reachable), permit(), nft.Accept()))
		if w.asks {
			rules = append(rules,
				nft.Rule(slot, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_UDP, 53), permit(), nft.Accept()),
				nft.Rule(slot, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_TCP, 53), permit(), nft.Accept()),
			)
		}
	}
	b.Chain("ways", rules...)
	first := append([][]expr.Any{ipv6.First(ipv6.Permitting)}, b.Looked("marks", marks)...)
	first = append(first, nft.Rule(nft.IIF(uplinkRouter), nft.CtState(nft.Established), permit()))
	for range nft.Looks {
		for _, match := range direct {
			first = append(first, nft.Rule(match, nft.Jump("ways")))
		}
	}
	b.Hook("permit", nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle, nftables.ChainPolicyAccept, first...)
}

// The priorities of what permits in the daemon's namespace. Firewalls that check
// reverse paths by their own rules, with the mark, do so in the tables raw
// and mangle: the mark must be there before. What is an answer is known after
// connection tracking, and what is routed where after translation.
const (
	beforeRaw = nftables.ChainPriority(-310)
	afterDNAT = nftables.ChainPriority(-90)
)

// permits are the rules of the daemon's namespace that do the same there.
func (u *uplink) permits(b *nft.Table, rec record.Uplink, nameservers *nftables.Set, v6 ipv6.Chains) {
	reachable := reachableSet(b, u.cfg.Denied, u.own)
	guest := nft.Rule(nft.IIF(u.name()), nft.SourceIs(slash30.Far(rec.Subnet)))
	b.Hook("permit", nftables.ChainHookPrerouting, beforeRaw, nftables.ChainPolicyAccept, append(v6.Permit,
		nft.Rule(guest, nft.DestIn(reachable), permit()),
		nft.Rule(guest, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_UDP, 53), permit()),
		nft.Rule(guest, nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_TCP, 53), permit()),
	)...)
	b.Hook("answers", nftables.ChainHookPrerouting, afterDNAT, nftables.ChainPolicyAccept, append(v6.Answers,
		nft.Rule(nft.IIF(u.name()), nft.IsDNAT(), revoke()), // And the forward chain refuses it.
		nft.Rule(nft.NotIIF(u.name()), nft.DestIs(slash30.Far(rec.Subnet)), nft.CtState(nft.Established), permit()),
	)...)
}

// findOwn lists what the daemon's namespace takes for itself: the addresses of
// its interfaces, their broadcasts and every other local route, as far as they
// are not always denied anyway; and which name servers are among it.
func (u *uplink) findOwn() (own []netip.Prefix, resolvers []netip.Addr, err error) {
	routes, err := settle.Routes(u.links)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range routes {
		p, ok := settle.RoutePrefix(r)
		switch {
		case !ok || r.Type != unix.RTN_LOCAL && r.Type != unix.RTN_BROADCAST && r.Type != unix.RTN_ANYCAST:
			continue
		case !policies.Denied(p):
			own = append(own, p.Masked())
		}
		for _, a := range u.cfg.Nameservers {
			if p.Contains(a) {
				resolvers = append(resolvers, a)
			}
		}
	}
	own6, err := u.look6()
	if err != nil {
		return nil, nil, err
	}
	own = append(own, own6...)
	slices.SortFunc(resolvers, netip.Addr.Compare)
	slices.SortFunc(own, netip.Prefix.Compare)
	return slices.Compact(own), slices.Compact(resolvers), nil
}

func (r *nftRules) setOwn(own []netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Without a wish nothing is written yet, and what an earlier process wrote is still to be read.
	if r.own, own = own, r.own; slices.Equal(own, r.own) || r.guard.Want == "" {
		return nil
	}
	r.guard.Renew()
	r.guard.Want = ""
	return r.rewrite()
}

func (r *nftRules) settle(mend bool) (lost bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole, err := r.guard.Whole(r.elements)
	if err == nil && whole {
		whole, err = r.flows.Whole(nil)
	}
	whole = whole && !r.stale
	if err != nil || whole || !mend {
		return !whole && err == nil, err
	}
	r.guard.Unseen = false
	return true, r.rewrite()
}

func (r *nftRules) doubt() {
	r.mu.Lock()
	r.guard.Seen, r.flows.Seen = 0, 0
	r.mu.Unlock()
}

// rewrite makes the table what it should be. The caller holds mu.
func (r *nftRules) rewrite() error { return r.write(slices.Collect(maps.Values(r.have))) }

func (r *nftRules) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guard.Close()
	r.flows.Close()
	r.disconnect()
}

// elements are the keys that the sets of slots should have.
func (r *nftRules) elements() map[string]map[string]bool {
	want := map[string]map[string]bool{}
	for _, set := range memberSets() {
		want[set.Name] = map[string]bool{}
	}
	for _, rule := range r.have {
		for set, elements := range rule.members() {
			for _, e := range elements {
				want[set][nft.Key(e)] = true
			}
		}
	}
	return want
}
