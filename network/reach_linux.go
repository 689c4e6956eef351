package network

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/rundlet/rundlet/network/bound"
	"github.com/rundlet/rundlet/network/byname"
	"github.com/rundlet/rundlet/network/ipv6"
	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/ranges"
)

// The sets whose elements are of slots.
const (
	setSources  = "sources"  // Interface and address of each slot.
	setInternet = "internet" // The interfaces of slots that reach all that is not denied always.
	setLimited  = "limited_" // The interfaces of those that reach parts of it, of a bank.
	setNamed    = "named_"   // The same of those that reach hosts by their names, too.
	// The interfaces of slots whose requests get headers, of any kind.
	setRewritten = "rewritten"
	setBound     = "bound"      // The address of a slot with each that it was given for a name.
	setBoundPort = "bound_port" // The same with the port that it reaches there, if it is one.
	// The interfaces of slots whose connections go through a proxy, and of the others that have any.
	setTunneled = "tunneled"
	setDirect   = "direct"
)

// pairSets are those of addresses of names.
var pairSets = map[string]func(*nftables.Table, string) nftables.Set{setBound: nft.PairSet, setBoundPort: nft.PortPairSet}

// memberSet is a set of slots by its name.
func memberSet(name string) nftables.Set {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: routerTable}
	if set, ok := ranges.Set(table, name); ok {
		return set
	}
	if make := pairSets[name]; make != nil {
		set := make(table, name)
		set.Interval = false
		return set
	}
	set := nftables.Set{Table: table, Name: name, KeyType: nftables.TypeIFName}
	if name == setSources {
		set.Concatenation, set.KeyType = true, nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)
	}
	return set
}

func memberSets() []nftables.Set {
	var out []nftables.Set
	for _, name := range []string{setSources, setInternet, setRewritten, setBound, setBoundPort, setTunneled, setDirect} {
		out = append(out, memberSet(name))
	}
	for bank := range ranges.Banks {
		for _, name := range append([]string{ranges.InBank(setLimited, bank), ranges.InBank(setNamed, bank)}, ranges.Names(bank)...) {
			out = append(out, memberSet(name))
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
	for bank := range ranges.Banks {
		limited, slots := sets[ranges.InBank(setLimited, bank)], named[bank]
		answers := func(to []expr.Any) (back [][]expr.Any) {
			for _, match := range slots.Reach.Answers() {
				back = append(back, nft.Rule(to, match))
			}
			return back
		}
		out = append(out, way{out: nft.Rule(from(limited), slots.Reach.Others()), back: answers(to(limited))})
		for _, match := range slots.Reach.Requests() {
			out = append(out, way{out: nft.Rule(from(limited), match), asks: true})
		}
		flow := slots.FlowWay()
		out = append(out, way{out: flow.Out, back: append([][]expr.Any{flow.Back}, answers(slots.To)...)})
		for _, match := range slots.AddressWays() {
			out = append(out, way{out: match})
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
	for bank := range ranges.Banks {
		_, reach := ranges.Reached(sets, sets[setTransport], bank)
		limited, slots := ranges.InBank(setLimited, bank), ranges.InBank(setNamed, bank)
		out = append(out, ipv6.Within(reach.All(of(in, limited)), of(back, limited), reach)...)
		// Queries go to the resolver only.
		out = append(out, ipv6.Within(byname.Slots{From: of(in, slots), Reach: reach}.AddressWays(), of(back, slots), reach)...)
	}
	return out
}

// from matches packets of the slots whose interfaces a set has, and to those that go there.
func from(set *nftables.Set) []expr.Any { return nft.IfaceIn(expr.MetaKeyIIFNAME, set) }
func to(set *nftables.Set) []expr.Any   { return nft.IfaceIn(expr.MetaKeyOIFNAME, set) }

// namedSlots are those whose names are checked, by bank.
func namedSlots(sets map[string]*nftables.Set, reachable *nftables.Set) (out []byname.Slots) {
	for bank := range ranges.Banks {
		set := sets[ranges.InBank(setNamed, bank)]
		reach, _ := ranges.Reached(sets, sets[setTransport], bank)
		out = append(out, byname.Slots{
			From: from(set), To: to(set), Source: nft.Rule(nft.SourceIn(sets[setSources]), from(set)),
			Reach: reach, Bound: sets[setBound], BoundPorts: sets[setBoundPort], Reachable: reachable,
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
				if a.To.Port() == 0 {
					out[setBound] = append(out[setBound], nft.PairOf(s.guest, a.To.Addr(), a.Comment()))
				} else {
					out[setBoundPort] = append(out[setBoundPort], nft.PortPairOf(s.guest, a.To, a.Comment()))
				}
			}
		}
		out[ranges.InBank(set, s.bank)] = link
		for set, elements := range ranges.Of(s.guest, s.policy) {
			out[ranges.InBank(set, s.bank)] = elements
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
		old.policy.Only, next.policy.Only, old.policy.Ports, next.policy.Ports = nil, nil, nil, nil
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
		r.guard.Renew()
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
			rule.bank = (old.bank + 1) % ranges.Banks
		}
		next[rule.id] = rule
		d.between(old, rule)
	}
	for _, id := range remove {
		d.between(r.have[id], slotRule{})
	}
	others := func(set string) bool { return !ranges.Is(set) }
	err := r.flush(difference{add: d.add}, ranges.Is)
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
	r.stale = r.flush(difference{del: d.del}, ranges.Is) != nil
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
	for bank := range ranges.Banks {
		policyOf := ranges.Read(func(set string) []nftables.SetElement { return lists[ranges.InBank(set, bank)] })
		for _, e := range lists[ranges.InBank(setNamed, bank)] {
			p, _ := policyOf(guests[elementName(e)])
			p.Names = policies.UnknownNames
			out[elementName(e)] = p
		}
		for _, e := range lists[ranges.InBank(setLimited, bank)] {
			if p, any := policyOf(guests[elementName(e)]); any {
				out[elementName(e)] = p
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
