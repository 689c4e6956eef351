package network

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/rundlet/rundlet/network/bound"
	"github.com/rundlet/rundlet/network/byname"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
)

// The sets whose elements are of slots.
const (
	setSources  = "sources"  // Interface and address of each slot.
	setInternet = "internet" // The interfaces of slots that reach all that is not denied always.
	setLimited  = "limited_" // The interfaces of those that reach parts of it, of a bank.
	setNamed    = "named_"   // The same of those that reach hosts by their names, too.
	setReach    = "reach_"   // The address of either with each range that it reaches, of a bank.
	setReach6   = "reach6_"  // The same with the ranges of IPv6.
	// The interfaces of slots whose requests get headers, of any kind.
	setRewritten = "rewritten"
	setBound     = "bound" // The address of a slot with each that it was given for a name.
	// The interfaces of slots whose connections go through a proxy, and of the others that have any.
	setTunneled = "tunneled"
	setDirect   = "direct"
)

// banks is how many sets of ranges there are. A slot whose ranges change gets them in the other bank, then changes
// the bank, and then the former ones go. So no packet finds a mixture, or less than both policies allow: a range that
// comes or goes hides others of the same address for an instant.
const banks = 2

// memberSet is a set of slots by its name.
func memberSet(name string) nftables.Set {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable}
	if strings.HasPrefix(name, setReach6) {
		return nft.PairSet6(table, name)
	}
	if isReach(name) || name == setBound {
		set := nft.PairSet(table, name)
		set.Interval = name != setBound
		return set
	}
	set := nftables.Set{Table: table, Name: name, KeyType: nftables.TypeIFName}
	if name == setSources {
		set.Concatenation, set.KeyType = true, nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)
	}
	return set
}

func inBank(set string, bank int) string { return fmt.Sprint(set, bank) }

func isReach(name string) bool {
	return strings.HasPrefix(name, setReach) || strings.HasPrefix(name, setReach6)
}

func memberSets() []nftables.Set {
	var out []nftables.Set
	for _, name := range []string{setSources, setInternet, setRewritten, setBound, setTunneled, setDirect} {
		out = append(out, memberSet(name))
	}
	for bank := range banks {
		for _, name := range []string{setLimited, setNamed, setReach, setReach6} {
			out = append(out, memberSet(inBank(name, bank)))
		}
	}
	return out
}

// way is a permission of slots: the matches for their packets, and for the answers.
type way struct {
	out  []expr.Any
	back [][]expr.Any
	asks bool // It includes the name servers.
}

func waysOf(sets map[string]*nftables.Set, named []byname.Slots) []way {
	out := []way{{out: from(sets[setInternet]), back: [][]expr.Any{to(sets[setInternet])}, asks: true}}
	for bank := range banks {
		reach := sets[inBank(setReach, bank)]
		within := func(out, to []expr.Any, asks bool) way {
			return way{out: nft.Rule(out, nft.Towards(reach)), asks: asks, back: [][]expr.Any{
				nft.Rule(to, nft.From(reach)), nft.Rule(to, nft.CtState(nft.Related), nft.AboutTowards(reach)),
			}}
		}
		limited, slots := sets[inBank(setLimited, bank)], named[bank]
		flow := slots.FlowWay()
		out = append(out, within(from(limited), to(limited), true), way{out: flow.Out, back: [][]expr.Any{flow.Back}})
		for i, match := range slots.AddressWays() {
			w := within(match, slots.To, false)
			if i > 0 {
				w.back = nil // The first has it.
			}
			out = append(out, w)
		}
	}
	return out
}

// waysOf6 are the permissions for IPv6. A slot whose names are checked, or whose requests get headers or go through a proxy, reaches
// no more of it than the ranges of its policy, or nothing: the resolver and the gateway have IPv4.
func waysOf6(sets map[string]*nftables.Set) (out []ipv6.Way) {
	of := func(key expr.MetaKey, set string) []expr.Any {
		return nft.Rule(nft.IfaceIn(key, sets[set]), nft.IfaceIn(key, sets[setDirect]), nft.IfaceNotIn(key, sets[setRewritten]))
	}
	const in, back = expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME
	out = append(out, ipv6.Way{Out: of(in, setInternet), Back: [][]expr.Any{of(back, setInternet)}})
	for bank := range banks {
		limited, slots, reach := inBank(setLimited, bank), inBank(setNamed, bank), sets[inBank(setReach6, bank)]
		out = append(out, ipv6.Within(of(in, limited), of(back, limited), reach))
		for i, match := range (byname.Slots{From: of(in, slots)}).AddressWays() { // Queries go to the resolver only.
			w := ipv6.Within(match, of(back, slots), reach)
			if i > 0 {
				w.Back = nil // The first has it.
			}
			out = append(out, w)
		}
	}
	return out
}

// from matches packets of the slots whose interfaces a set has, and to those that go there.
func from(set *nftables.Set) []expr.Any { return nft.IfaceIn(expr.MetaKeyIIFNAME, set) }
func to(set *nftables.Set) []expr.Any   { return nft.IfaceIn(expr.MetaKeyOIFNAME, set) }

// namedSlots are those whose names are checked, by bank.
func namedSlots(sets map[string]*nftables.Set, reachable *nftables.Set) (out []byname.Slots) {
	for bank := range banks {
		set := sets[inBank(setNamed, bank)]
		out = append(out, byname.Slots{
			From: from(set), To: to(set), Source: nft.Rule(nft.SourceIn(sets[setSources]), from(set)),
			Reach: sets[inBank(setReach, bank)], Bound: sets[setBound], Reachable: reachable,
		})
	}
	return out
}

// members are the rule's elements of the sets. The zero value has none.
func (s slotRule) members() map[string][]nftables.SetElement {
	if s.id == "" {
		return nil
	}
	link := []nftables.SetElement{{Key: nft.IfName(s.id)}}
	out := map[string][]nftables.SetElement{
		setSources: {{Key: append(nft.IfName(s.id), s.guest.AsSlice()...)}},
	}
	if s.policy.Rewritten() {
		out[setRewritten] = link
	}
	if s.policy.Tunneled() {
		out[setTunneled] = link
	} else if s.policy.AllowInternet {
		out[setDirect] = link
	}
	switch {
	case s.policy.Limited():
		set := setLimited
		if s.policy.Named() {
			set = setNamed
			for _, a := range s.bound {
				out[setBound] = append(out[setBound], nft.PairOf(s.guest, a.Addr, a.Comment()))
			}
		}
		out[inBank(set, s.bank)] = link
		for _, r := range s.policy.Only {
			set, elements := inBank(setReach, s.bank), nft.Pair
			if r.From().Is6() {
				set, elements = inBank(setReach6, s.bank), nft.Pair6
			}
			out[set] = append(out[set], elements(s.guest, r)...)
		}
	case s.policy.AllowInternet:
		out[setInternet] = link
	}
	return out
}

func (r *nftRules) set(rules ...slotRule) error {
	return r.change("set rules", rules, nil)
}

func (r *nftRules) remove(ids ...string) error {
	return r.change("remove rules", nil, ids)
}

// difference are the elements to delete and to add, by set: the kernel refuses to
// delete an element that it does not have.
type difference struct {
	del, add map[string][]nftables.SetElement
}

func (d difference) between(old, next slotRule) {
	if old.policy.Named() && old.policy.ReachesAs(next.policy) { // What is bound changes as often as a guest wants.
		old.policy.Only, next.policy.Only = nil, nil
		old.bound, next.bound = bound.Differ(old.bound, next.bound)
	}
	had, has := old.members(), next.members()
	for _, set := range memberSets() {
		d.del[set.Name] = append(d.del[set.Name], nft.Without(had[set.Name], has[set.Name])...)
		d.add[set.Name] = append(d.add[set.Name], nft.Without(has[set.Name], had[set.Name])...)
	}
}

// change applies additions and removals. Ranges of new policies come before anything refers
// to them, then all policies change at once, and then ranges of former ones go.
func (r *nftRules) change(op string, add []slotRule, remove []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stale {
		if err := r.rewrite(); err != nil {
			return err
		}
	}
	next := map[string]slotRule{}
	d := difference{map[string][]nftables.SetElement{}, map[string][]nftables.SetElement{}}
	for _, rule := range add {
		old := r.have[rule.id]
		rule.bank = old.bank
		if old.policy.Limited() && !old.policy.ReachesAs(rule.policy) {
			rule.bank = (old.bank + 1) % banks
		}
		next[rule.id] = rule
		d.between(old, rule)
	}
	for _, id := range remove {
		d.between(r.have[id], slotRule{})
	}
	others := func(set string) bool { return !isReach(set) }
	err := r.flush(difference{add: d.add}, isReach)
	if err == nil {
		err = r.flush(d, others)
	}
	if err != nil {
		r.stale = true // Some of it may be in force: the kernel's answer can be lost.
		return fmt.Errorf("%s: %w", op, err)
	}
	for id, rule := range next {
		r.have[id] = rule
	}
	for _, id := range remove {
		delete(r.have, id)
	}
	// The change is in force. An address that is given to another slot must not have these.
	r.stale = r.flush(difference{del: d.del}, isReach) != nil
	return nil
}

// flush applies the part of a difference that is about some sets, as a whole or not at all.
func (r *nftRules) flush(d difference, about func(set string) bool) error {
	return r.do(func(conn *nftables.Conn) error {
		changes := 0
		for _, set := range memberSets() {
			if !about(set.Name) {
				continue
			}
			changes += len(d.del[set.Name]) + len(d.add[set.Name])
			err := nft.Chunks(d.del[set.Name], func(part []nftables.SetElement) error { return conn.SetDeleteElements(&set, part) })
			if err == nil {
				err = nft.Chunks(d.add[set.Name], func(part []nftables.SetElement) error { return conn.SetAddElements(&set, part) })
			}
			if err != nil {
				return err
			}
		}
		if changes == 0 {
			return nil
		}
		if err := conn.Flush(); err != nil {
			return err
		}
		r.guard.Changed()
		r.flows.Changed()
		return nil
	})
}

// recover reads the policies in force. A slot without readable ranges reaches nothing.
func (r *nftRules) recover() (map[string]Policy, error) {
	lists := map[string][]nftables.SetElement{}
	for _, set := range memberSets() {
		list, err := r.read(set.Name)
		if err != nil {
			return nil, err
		}
		lists[set.Name] = list
	}
	out, guests := map[string]Policy{}, map[string]netip.Addr{}
	for _, e := range lists[setSources] {
		name := elementName(e)
		out[name] = Policy{}
		if key := e.Key[min(len(e.Key), len(nft.IfName(""))):]; len(key) >= 4 {
			guests[name] = netip.AddrFrom4([4]byte(key[:4]))
		}
	}
	for _, e := range lists[setInternet] {
		out[elementName(e)] = Policy{AllowInternet: true}
	}
	for bank := range banks {
		ranges := nft.Pairs(lists[inBank(setReach, bank)])
		for guest, list := range nft.Pairs6(lists[inBank(setReach6, bank)]) {
			ranges[guest] = append(ranges[guest], list...)
		}
		for _, e := range lists[inBank(setNamed, bank)] {
			out[elementName(e)] = Policy{AllowInternet: true, Only: ranges[guests[elementName(e)]], Names: policies.UnknownNames}
		}
		for _, e := range lists[inBank(setLimited, bank)] {
			if only := ranges[guests[elementName(e)]]; len(only) > 0 {
				out[elementName(e)] = Policy{AllowInternet: true, Only: only}
			}
		}
	}
	for _, e := range lists[setRewritten] {
		p := out[elementName(e)]
		p.Headers = policies.UnknownHeaders
		out[elementName(e)] = p
	}
	for _, e := range lists[setTunneled] {
		p := out[elementName(e)]
		p.Proxy = policies.UnknownProxy
		out[elementName(e)] = p
	}
	return out, nil
}
