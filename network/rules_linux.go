package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/bound"
	"github.com/rundlet/rundlet/network/byname"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/refused"
	"github.com/rundlet/rundlet/network/shares"
)

// enforcer makes policies true for the packets of slots. What it does not know
// it drops. Every change takes effect as a whole before the call returns, or
// not at all. A gateway in user space is another one.
type enforcer interface {
	// recover returns the policies in force by slot, found after a restart.
	recover() (map[string]Policy, error)
	// recoverBound returns the addresses that are in force for names, by guest.
	recoverBound() (map[netip.Addr][]bound.Address, error)
	// reset forgets everything and enforces exactly these rules.
	reset(rules []slotRule) error
	// set adds rules, or replaces those of the same slots.
	set(rules ...slotRule) error
	// remove forgets slots; unknown ones are ignored.
	remove(ids ...string) error
	// count is how many slots are known.
	count() (int, error)
	// setOwn says which destinations are the host's, beside those that are denied
	// always; no slot reaches them when it returns.
	setOwn(own []netip.Prefix) error
	// settle makes the rules whole that something else has changed, if mend is
	// true; lost is whether they were not.
	settle(mend bool) (lost bool, err error)
	// doubt makes the next settle look at all rules, since another program has changed the packet filter.
	doubt()
	// close gives up what this process holds; what is enforced stays.
	close()
}

// slotRule is what the enforcer knows of a slot. The id is also the name of the
// slot's interface in the router.
type slotRule struct {
	id     string
	guest  netip.Addr
	policy Policy
	bound  []bound.Address // What it was given for names, in force.
	bank   int             // See reachSet.
}

const (
	routerTable  = "rundlet"
	uplinkRouter = "uplink"
)

// nftRules enforces in the router namespace: sets name the slots and what each
// reaches, and fixed rules refer to the sets, so that a change is a few set elements.
type nftRules struct {
	ns          *os.File
	guests      netip.Prefix
	nameservers []netip.Addr
	denied      []netip.Prefix // To all slots.
	prefix6     netip.Prefix   // Of the slots' IPv6 addresses.

	mu    sync.Mutex
	have  map[string]slotRule
	own   []netip.Prefix // Of the host, see setOwn.
	guard nft.Guarded
	// flows is the table of shares as it was found or made. Its counts must outlive
	// the daemon, so it stays while it is what it was.
	flows  nft.Guarded
	shares func() (shares.Shares, error)
	down   uint64      // See shares.Shares.
	log    []expr.Any  // Reports a refused packet; empty if the kernel cannot do that.
	cannot func(error) // Is told what the kernel cannot do.
	// stale: a set may have ranges that no slot has any more. Nothing is added to them.
	stale bool
	// lasting is kept open: when any socket to the packet filter is closed after
	// a deletion, the kernel waits 10 to 20 ms for its readers, and all other
	// changes wait with it. Nil before the first use and after a failure, which
	// may have left answers unread.
	lasting *nftables.Conn
}

func newNFTRules(ns *os.File, cfg Config) *nftRules {
	return &nftRules{
		ns: ns, guests: cfg.Range, nameservers: cfg.Nameservers, denied: cfg.Denied, prefix6: cfg.prefix6(), log: refused.Log(), cannot: cfg.OnError, down: cfg.SlotBandwidth, have: map[string]slotRule{},
		guard: nft.Guarded{NS: ns, Table: routerTable, Static: slices.Concat(staticSets, ipv6.Static)}, flows: nft.Guarded{NS: ns}, shares: shares.Read,
	}
}

// do runs fn, which must keep nothing of the connection. The caller holds mu.
func (r *nftRules) do(fn func(conn *nftables.Conn) error) (err error) {
	if r.lasting == nil {
		if r.lasting, err = nft.Writer(r.ns); err != nil {
			return err
		}
	}
	if err = fn(r.lasting); err != nil {
		r.disconnect()
	}
	return err
}

func (r *nftRules) disconnect() {
	if r.lasting != nil {
		r.lasting.CloseLasting()
		r.lasting = nil
	}
}

func (r *nftRules) reset(rules []slotRule) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write(rules)
}

// write is reset for a caller that holds mu.
func (r *nftRules) write(rules []slotRule) error {
	if r.guard.Want == "" {
		if err := r.expect(); err != nil {
			return err
		}
	}
	have := map[string]slotRule{}
	members := map[string][]nftables.SetElement{}
	for _, rule := range rules {
		have[rule.id] = rule
		for set, elements := range rule.members() {
			members[set] = append(members[set], elements...)
		}
	}
	err := r.do(func(conn *nftables.Conn) error {
		b := nft.Replace(conn, routerTable)
		r.build(b, members)
		b.Keep(r.share(conn))
		return errors.Join(b.Err, conn.Flush())
	})
	if err != nil {
		return fmt.Errorf("replace router rules: %w", err)
	}
	r.have, r.stale = have, false
	return r.flows.Take()
}

// expect records the intended table. A kernel that cannot report what is refused has one without.
func (r *nftRules) expect() error {
	without, err := r.guard.ExpectWith(func(b *nft.Table) { r.build(b, nil) }, func() func() {
		log := r.log
		if r.log = nil; log == nil {
			return nil
		}
		return func() { r.log = log }
	})
	if without != nil {
		r.cannot(fmt.Errorf("network: %s: %w", noLog, without))
	}
	return err
}

// reports says whether the table has what reports a refused packet.
func (r *nftRules) reports() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log != nil
}

const noLog = "what sandboxes are refused is not recorded (a kernel with CONFIG_NFT_LOG and CONFIG_NETFILTER_NETLINK_LOG would report it)"

// build writes the rules of the router, with the members of its sets. Packets of slots
// come in by the slot's interface; everything else comes by the uplink or is the daemon's own.
func (r *nftRules) build(b *nft.Table, members map[string][]nftables.SetElement) {
	sets := map[string]*nftables.Set{}
	for _, set := range memberSets() {
		sets[set.Name] = b.Set(set, members[set.Name])
	}
	sets[setTransport] = b.TransportSet(setTransport)
	reachable := reachableSet(b, r.denied, r.own)
	named := namedSlots(sets, reachable)
	sources, ways := sets[setSources], waysOf(sets, named)
	denied4, _ := ipv6.Split(r.denied)
	denied := b.PrefixSet(setDenied, denied4)
	guests := b.PrefixSet(setGuests, []netip.Prefix{r.guests})
	nameservers := b.AddrSet(setNameservers, r.nameservers)
	var marks, questions, others [][]expr.Any
	for _, slots := range named {
		marks, questions, others = append(marks, slots.Marks()...), append(questions, slots.Questions()...), append(others, slots.Redirects()...)
	}
	redirects := slices.Concat(b.Looked("questions", questions),
		byname.Tunneled(nft.Rule(nft.SourceIn(sources), from(sets[setTunneled])), nameservers, reachable),
		byname.Rewritten(nft.Rule(nft.SourceIn(sources), from(sets[setRewritten])), reachable), b.Looked("redirects", others))
	reachable6 := ipv6.ReachableSet(b, nft.Intervals6(ipv6.Reachable(slices.Concat(r.denied, r.own))))
	direct, directBack := byname.Direct(from(sets[setDirect]), to(sets[setDirect]), nameservers)
	b.Refusals(shares.Slots)
	refused.AddChain(b, shares.Slots, r.log)
	ipv6.Router{
		Prefix: r.prefix6, Uplink: uplinkRouter, Sources: sources, Reachable: reachable6, Ways: waysOf6(sets), Permit: permit(), Refused: refused.Chain,
	}.Add(b)
	permits(b, sources, ways, direct, marks, reachable, nameservers)
	b.Redirections("names", slices.Concat([][]expr.Any{nft.Rule(nft.IsIPv6(), nft.Accept())}, redirects)...)

	// Before connection tracking, so that forged packets leave no trace there.
	// What the daemon and the guests say to each other is not tracked at all: the
	// daemon reaches a guest that has used up its share, and when the table is full.
	b.Hook("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw, nftables.ChainPolicyDrop,
		ipv6.First(ipv6.Arriving),
		nft.Rule(nft.IIF(uplinkRouter), nft.Accept()),
		nft.Rule(nft.IIF("lo"), nft.NoTrack(), nft.Accept()),
		nft.Rule(nft.SourceIn(sources), nft.DestIn(guests), nft.NoTrack(), nft.Accept()),
		nft.Rule(nft.SourceIn(sources), nft.Accept()),
	)
	b.Hook("output", nftables.ChainHookOutput, *nftables.ChainPriorityRaw, nftables.ChainPolicyAccept, slices.Concat(
		[][]expr.Any{nft.Rule(nft.IsIPv6(), nft.Accept())},
		byname.Replies(),
		[][]expr.Any{
			nft.Rule(nft.OIF("lo"), nft.NoTrack()),
			nft.Rule(nft.DestIn(guests), nft.NoTrack()),
		})...)
	b.Hook("asked", nftables.ChainHookOutput, *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept, slices.Concat(
		[][]expr.Any{nft.Rule(nft.OIF(uplinkRouter), nft.IsIPv6(), nft.Drop())},
		byname.Asked(nft.OIF(uplinkRouter), nameservers, reachable))...)
	// The daemon dials guests by TCP, so only answers come in from them: what asks
	// for no connection, and so finds one that the daemon opened, or is reset. From the internet
	// come the answers that the resolver and the gateway asked for.
	b.Hook("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop, slices.Concat(
		[][]expr.Any{
			ipv6.First(ipv6.Incoming),
			nft.Rule(nft.IIF("lo"), nft.Accept()),
			nft.Rule(nft.IIF(uplinkRouter), nft.CtState(nft.Established), nft.Accept()),
			nft.Rule(nft.IIF(uplinkRouter), nft.Drop()),
			nft.Rule(nft.CtState(nft.Untracked), nft.IsTCPButNotOpening(), nft.Accept()),
		},
		byname.Arrivals(b, nft.SourceIn(sources), shares.Slots),
		[][]expr.Any{nft.Rule(nft.Refuse())})...)
	b.Chain("egress",
		nft.Rule(nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_UDP, 53), nft.Accept()),
		nft.Rule(nft.DestIn(nameservers), nft.IsPort(unix.IPPROTO_TCP, 53), nft.Accept()),
		nft.Rule(nft.DestIn(denied), nft.Jump(refused.Chain)),
		nft.Rule(nft.Accept()),
	)
	// Packets of a slot are judged one by one, not by connection, and answers
	// need the slot's permission too: a policy that is taken away ends
	// connections that are open.
	var answers, requests [][]expr.Any
	for _, w := range ways {
		for _, back := range w.back {
			answers = append(answers, nft.Rule(back, nft.CtState(nft.Established), nft.Accept()))
		}
		requests = append(requests, nft.Rule(w.out, nft.Jump("egress")))
	}
	b.Chain("answers", answers...)
	b.Chain("requests", requests...)
	var in, out [][]expr.Any
	for i := range nft.Looks * len(direct) {
		i %= len(direct)
		in = append(in, nft.Rule(nft.IIF(uplinkRouter), directBack[i], nft.Jump("answers")))
		out = append(out, nft.Rule(nft.OIF(uplinkRouter), direct[i], nft.Jump("requests")))
	}
	b.Hook("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop,
		slices.Concat([][]expr.Any{ipv6.First(ipv6.Forwarding)}, in, [][]expr.Any{nft.Rule(nft.IIF(uplinkRouter), nft.Drop())}, out, [][]expr.Any{nft.Jump(refused.Chain)})...)
	b.Hook("postrouting", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept,
		nft.Rule(nft.OIF(uplinkRouter), nft.Masquerade()),
	)
}

func (r *nftRules) count() (int, error) {
	elements, err := r.read(setSources)
	return len(elements), err
}

// read lists a set of the table. It is nil if it, or the table, is not there: an earlier
// version of the program may not have made it.
func (r *nftRules) read(name string) (elements []nftables.SetElement, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err = r.do(func(conn *nftables.Conn) error {
		set := memberSet(name)
		// The library hides the reason of a list that fails, and says that of a look-up.
		_, err := conn.GetSetByName(set.Table, name)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err == nil {
			elements, err = conn.GetSetElements(&set)
			elements = append([]nftables.SetElement{}, elements...)
		}
		if err != nil {
			return fmt.Errorf("read set %s: %w", name, err)
		}
		return nil
	})
	return elements, err
}

func elementName(e nftables.SetElement) string {
	return unix.ByteSliceToString(e.Key[:min(len(e.Key), unix.IFNAMSIZ)])
}
