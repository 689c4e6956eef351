package network

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/nft"
	"github.com/rundlet/rundlet/network/ranges"
)

// A slot goes from the second bank to the first while a packet is between the rules of the two: a rule that the test adds there
// moves the slot when a packet comes. Each packet must pass all the same, at each such place.
func TestAPacketBetweenBanksPasses(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.named(map[string][]string{"a.example": {internetIP}})
	n := w.open(w.config())
	w.alone(n)
	rules := n.rules.enforcer.(*nftRules)
	s := w.acquire(n, only(internetIP2))
	p := only(internetIP2, internet6)
	p.Names = []string{"a.example"}
	if err := n.SetPolicy(t.Context(), s.ID, p); err != nil {
		t.Fatal(err)
	}
	guest := w.guest(s)
	lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	rules.mu.Lock()
	second := rules.have[s.ID]
	rules.mu.Unlock()
	if second.bank != 1 || len(second.bound) == 0 {
		t.Fatalf("bank %d, bound %v", second.bank, second.bound)
	}
	type packet struct {
		name string
		send func(*testing.T) error
	}
	packets := []packet{{"to a name", func(*testing.T) error {
		if !gets(guest, internetIP, "a.example", true) {
			return errors.New("no answer")
		}
		return nil
	}}}
	for _, network := range []string{"udp", "tcp"} {
		packets = append(packets, packet{"a query by " + network, func(t *testing.T) error {
			lookUp(t, guest, network, resolverIP+":53", "a.example")
			return nil
		}})
		for name, to := range map[string]string{"an address of a name": internetIP, "an address": internetIP2, "an address of IPv6": internet6} {
			packets = append(packets, packet{"to " + name + " by " + network, func(*testing.T) error { return reach(guest, network, in6(to, "8081")) }})
		}
	}
	for i, places := 0, 1; i < places; i++ {
		if err := rules.reset([]slotRule{second}); err != nil {
			t.Fatal(err)
		}
		list := betweenBanks(t, n)
		if places = len(list); places == 0 {
			t.Fatal("there are no banks")
		}
		changeBankAt(t, n, list[i], second)
		met := 0
		for _, packet := range packets {
			t.Run(fmt.Sprint(list[i].Chain.Name, " ", i, "/", packet.name), func(t *testing.T) {
				err := filterOf(n.router.ns, func(conn *nftables.Conn) error { // Back to the second bank.
					from, to := memberSet(ranges.InBank(setNamed, 0)), memberSet(ranges.InBank(setNamed, 1))
					conn.FlushSet(&from)
					return conn.SetAddElements(&to, []nftables.SetElement{{Key: nft.IfName(s.ID)}})
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := packet.send(t); err != nil {
					t.Error(err)
				}
				changed, err := rules.read(ranges.InBank(setNamed, 0))
				if err != nil {
					t.Error(err)
				}
				met += len(changed)
			})
		}
		if met == 0 {
			t.Errorf("no packet came to place %d", i)
		}
	}
}

// betweenBanks finds the rules of slots with names of the second bank that follow one of the first.
func betweenBanks(t *testing.T, n *Network) (places []*nftables.Rule) {
	t.Helper()
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
		chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
		for _, chain := range chains {
			if chain.Table.Name != routerTable {
				continue
			}
			rules, e := rulesOf(n.router.ns, chain)
			err = errors.Join(err, e)
			last := 1
			for _, rule := range rules {
				for bank := range ranges.Banks {
					if !bytes.Contains(rule.UserData, []byte(ranges.InBank(setNamed, bank)+"\x00")) {
						continue
					}
					if bank > last {
						places = append(places, rule)
					}
					last = bank
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// changeBankAt adds a rule before another one: a packet that comes there takes a slot from the second bank to the first, whose
// ranges are there before.
func changeBankAt(t *testing.T, n *Network, place *nftables.Rule, slot slotRule) {
	t.Helper()
	slot.bank = 0
	err := filterOf(n.router.ns, func(conn *nftables.Conn) error {
		var err error
		for name, elements := range slot.members() {
			if ranges.Is(name) {
				set := memberSet(name)
				err = errors.Join(err, conn.SetAddElements(&set, elements))
			}
		}
		const add, remove = unix.NFT_DYNSET_OP_ADD, 2 // NFT_DYNSET_OP_DELETE, which the library has no name for.
		conn.InsertRule(&nftables.Rule{Table: place.Table, Chain: place.Chain, Position: place.Handle, Exprs: []expr.Any{
			&expr.Immediate{Register: 1, Data: nft.IfName(slot.id)},
			&expr.Dynset{SrcRegKey: 1, SetName: ranges.InBank(setNamed, 0), Operation: add},
			&expr.Dynset{SrcRegKey: 1, SetName: ranges.InBank(setNamed, 1), Operation: remove},
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
