package nft

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

const (
	setFixed   = "fixed"   // Its elements are part of the print.
	setMembers = "members" // Its elements come and go.
)

// build is a small table with a rule for each of two sets.
func build(members ...nftables.SetElement) func(*Table) {
	return func(b *Table) {
		fixed := b.PrefixSet(setFixed, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
		set := b.Set(nftables.Set{Name: setMembers, KeyType: nftables.TypeIFName}, members)
		b.Refusals(0)
		b.Hook("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter, nftables.ChainPolicyDrop,
			Rule(DestIn(fixed), Refuse()),
			Rule(IfaceIn(expr.MetaKeyIIFNAME, set), Accept()),
		)
	}
}

// guardedTable makes the table with the members in a new namespace, which is removed
// after the test. write replaces it, and change does what another program would do.
func guardedTable(t *testing.T, members ...nftables.SetElement) (g *Guarded, write func(), change func(func(*nftables.Conn, *nftables.Table))) {
	t.Helper()
	ns := namespacetest.New(t, nil)
	g = &Guarded{NS: ns, Table: "guarded", Static: []string{setFixed}}
	t.Cleanup(g.Close)
	flush := func(fill func(*nftables.Conn) error) {
		t.Helper()
		conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
		if err == nil {
			err = errors.Join(fill(conn), conn.Flush())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write = func() {
		t.Helper()
		flush(func(conn *nftables.Conn) error {
			b := Replace(conn, g.Table)
			build(members...)(b)
			return b.Err
		})
	}
	change = func(what func(*nftables.Conn, *nftables.Table)) {
		t.Helper()
		flush(func(conn *nftables.Conn) error {
			what(conn, &nftables.Table{Family: nftables.TableFamilyINet, Name: g.Table})
			return nil
		})
	}
	if err := g.Expect(build()); err != nil {
		t.Fatal(err)
	}
	write()
	return g, write, change
}

func TestATableIsWholeUntilSomethingOfItChanges(t *testing.T) {
	one, other := nftables.SetElement{Key: IfName("one")}, nftables.SetElement{Key: IfName("other")}
	g, write, change := guardedTable(t, one)
	check := func(when string, want bool) {
		t.Helper()
		whole, err := g.Whole(func() map[string]map[string]bool {
			return map[string]map[string]bool{setMembers: {string(one.Key): true}}
		})
		if err != nil || whole != want {
			t.Errorf("%s: whole is %v, %v", when, whole, err)
		}
	}
	check("as it was built", true)
	change(func(conn *nftables.Conn, _ *nftables.Table) {
		conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "another"})
	})
	check("beside another table", true)
	for name, what := range map[string]func(*nftables.Conn, *nftables.Table){
		"a rule less": func(conn *nftables.Conn, table *nftables.Table) {
			conn.FlushChain(&nftables.Chain{Name: refuseChain, Table: table})
		},
		"a chain more": func(conn *nftables.Conn, table *nftables.Table) {
			conn.AddChain(&nftables.Chain{Name: "more", Table: table})
		},
		"no table": func(conn *nftables.Conn, table *nftables.Table) { conn.DelTable(table) },
		"a static set emptied": func(conn *nftables.Conn, table *nftables.Table) {
			conn.FlushSet(&nftables.Set{Name: setFixed, Table: table})
		},
		"a member less": func(conn *nftables.Conn, table *nftables.Table) {
			conn.FlushSet(&nftables.Set{Name: setMembers, Table: table})
		},
		"another member": func(conn *nftables.Conn, table *nftables.Table) {
			set := &nftables.Set{Name: setMembers, Table: table, KeyType: nftables.TypeIFName}
			if err := errors.Join(conn.SetDeleteElements(set, []nftables.SetElement{one}), conn.SetAddElements(set, []nftables.SetElement{other})); err != nil {
				t.Fatal(err)
			}
		},
	} {
		change(what)
		check(name, false)
		write()
		check(name+", written again", true)
	}
}

// A change of our own is announced, so that the next look is one question; one that
// another program makes at the same time is still found.
func TestAChangeOfOurOwnHidesNoOther(t *testing.T) {
	one := nftables.SetElement{Key: IfName("one")}
	g, _, change := guardedTable(t, one)
	looks := 0
	look := func() bool {
		t.Helper()
		whole, err := g.Whole(func() map[string]map[string]bool {
			looks++
			return map[string]map[string]bool{setMembers: {string(one.Key): true}}
		})
		if err != nil {
			t.Fatal(err)
		}
		return whole
	}
	flushMembers := func(conn *nftables.Conn, table *nftables.Table) {
		conn.FlushSet(&nftables.Set{Name: setMembers, Table: table})
	}
	addOne := func(conn *nftables.Conn, table *nftables.Table) {
		if err := conn.SetAddElements(&nftables.Set{Name: setMembers, Table: table, KeyType: nftables.TypeIFName}, []nftables.SetElement{one}); err != nil {
			t.Fatal(err)
		}
	}
	if !look() || looks != 1 {
		t.Fatalf("at first not whole, or not looked at: %d looks", looks)
	}
	change(flushMembers)
	change(addOne)
	g.Changed()
	g.Changed()
	if !look() || looks != 1 {
		t.Errorf("%d looks at what only we have changed, want the first alone", looks)
	}
	change(flushMembers)
	g.Changed()
	change(addOne)
	g.Changed()
	change(flushMembers) // By another program.
	if look() {
		t.Error("the change of another program is hidden by ours")
	}
}
