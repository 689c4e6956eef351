package nft

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	mnl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
)

// Guarded compares a table of ours in the kernel with what it should be. Not safe for
// concurrent use.
type Guarded struct {
	NS    *os.File
	Table string // Its name.
	// Static are the sets of it whose elements are part of its print.
	Static []string
	// Want is the print of the table as it should be; empty if not known.
	Want string
	// Seen is the generation of the namespace's packet filter in which the table
	// was found whole: while it is the current one, nothing has changed. 0 is
	// none.
	Seen uint32
	// Unseen: a loss was mended that Whole has not reported, see Renew. Who mends what Whole reports sets it to false.
	Unseen bool
	// conn is kept open: the kernel makes the closer of one wait for the
	// deletions of others. Nil before the first use and after a failure, which may
	// have left answers unread.
	conn *mnl.Conn
}

// Close closes the connection that Whole and Take keep open. They can be called again.
func (g *Guarded) Close() {
	if g.conn != nil {
		g.conn.Close()
		g.conn = nil
	}
}

// Changed notes a change of our own, which is one generation. If another program's
// came between, the generations do not agree, and the table is looked at. But the kernel counts none for a change that
// changes nothing, as of an element that is there: then the next one of another program would look like ours. So the kernel's
// reports of those count, too: after one, Seen must be none.
func (g *Guarded) Changed() {
	if g.Seen != 0 {
		g.Seen++
	}
}

// Expect notes what the table is when build has built it, and build alone: it
// is tried out in a private namespace.
func (g *Guarded) Expect(build func(*Table)) error {
	g.Want, g.Seen = "", 0
	return namespace.InNew(func() error {
		ns, err := os.Open(namespace.Own)
		if err != nil {
			return err
		}
		defer ns.Close()
		conn, err := Once(ns)
		if err != nil {
			return err
		}
		b := Replace(conn, g.Table)
		build(b)
		if err := errors.Join(b.Err, conn.Flush()); err != nil {
			return fmt.Errorf("try out table %s: %w", g.Table, err)
		}
		c, err := Dial(ns)
		if err != nil {
			return err
		}
		defer c.Close()
		g.Want, err = tablePrint(c, g.Table, g.Static)
		return err
	})
}

// ExpectWith is Expect for a table with a part that not all kernels can have. drop leaves that out of what is built,
// and returns what brings it back; nil if it is left out already. without is why the table has not got it.
func (g *Guarded) ExpectWith(build func(*Table), drop func() (restore func())) (without, err error) {
	err = g.Expect(build)
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, err
	}
	restore := drop()
	if restore == nil {
		return nil, err
	}
	if g.Expect(build) != nil {
		restore() // It is something else.
		return nil, err
	}
	return err, nil
}

// Take notes that the table is now what it should be.
func (g *Guarded) Take() (err error) {
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	g.Seen = 0
	if g.conn == nil {
		if g.conn, err = Dial(g.NS); err != nil {
			return err
		}
	}
	g.Want, err = tablePrint(g.conn, g.Table, g.Static)
	return err
}

// Renew is called before the table is rewritten for another reason than a loss. If that mends one, Whole reports it afterwards: otherwise an
// operator would not learn that another program flushes the rules.
func (g *Guarded) Renew() {
	if g.Want == "" {
		return // It is written for the first time, or was renewed and not written.
	}
	whole, err := g.Whole(nil)
	g.Unseen = g.Unseen || err == nil && !whole
	g.Seen = 0 // Its elements were not looked at, and what it should be changes.
}

// Whole reports whether the table is what it should be, with exactly the
// elements by set and key in the sets that are not static. It costs a single
// question while nothing in the namespace changes.
func (g *Guarded) Whole(elements func() map[string]map[string]bool) (whole bool, err error) {
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if g.conn == nil {
		if g.conn, err = Dial(g.NS); err != nil {
			return false, err
		}
	}
	now, err := Generation(g.conn)
	if err != nil || now == g.Seen && !g.Unseen {
		return err == nil, err
	}
	have, err := tablePrint(g.conn, g.Table, g.Static)
	if err != nil || have != g.Want || g.Want == "" || g.Unseen {
		return false, err
	}
	var sets map[string]map[string]bool
	if elements != nil {
		sets = elements()
	}
	for set, want := range sets {
		elements, err := setElements(g.conn, g.Table, set)
		if err != nil || len(elements) != len(want) {
			return false, err
		}
		for _, e := range elements {
			if key, err := elementKey(e); err != nil || !want[key] {
				return false, err
			}
		}
	}
	g.Seen = now
	return true, nil
}

// The attributes of nf_tables messages that differ between two tables that were
// built alike, from include/uapi/linux/netfilter/nf_tables.h: handles, counts of
// users, counters, positions. No rule of ours has an expression that counts.
var passing = map[int][]uint16{
	unix.NFT_MSG_GETCHAIN: {unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_USE, unix.NFTA_CHAIN_COUNTERS},
	unix.NFT_MSG_GETRULE:  {unix.NFTA_RULE_HANDLE, unix.NFTA_RULE_POSITION, unix.NFTA_RULE_ID},
	unix.NFT_MSG_GETSET:   {unix.NFTA_SET_ID, 16 /* HANDLE */, 19 /* TYPE */, 20 /* COUNT */},
}

// tablePrint is a digest of a table's chains, rules, sets and the elements of
// the static sets; of a table that is not there, that of nothing.
func tablePrint(c *mnl.Conn, name string, static []string) (string, error) {
	sum := sha256.New()
	for _, q := range []struct {
		ask   int
		table uint16 // The attribute with the table's name.
	}{
		{unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE},
		{unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE},
		{unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE},
	} {
		list, err := dump(c, q.ask, mnl.Attribute{Type: q.table, Data: cString(name)})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return "", fmt.Errorf("read table %s: %w", name, err)
		}
		var lines []string
		for _, attrs := range list {
			line, ours := "", false
			for _, a := range attrs {
				kind := a.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
				if kind == q.table {
					ours = unix.ByteSliceToString(a.Data) == name
				}
				if slices.Contains(passing[q.ask], kind) {
					continue
				}
				line += fmt.Sprintf("%d=%x ", kind, a.Data)
			}
			if ours {
				lines = append(lines, line)
			}
		}
		if q.ask != unix.NFT_MSG_GETRULE { // Rules come in their order, which matters.
			slices.Sort(lines)
		}
		fmt.Fprintln(sum, q.ask, strings.Join(lines, "\n"))
	}
	for _, set := range static {
		elements, err := setElements(c, name, set)
		if err != nil {
			return "", err
		}
		lines := make([]string, len(elements))
		for i, e := range elements {
			lines[i] = fmt.Sprintf("%x", e)
		}
		slices.Sort(lines)
		fmt.Fprintln(sum, set, strings.Join(lines, "\n"))
	}
	return string(sum.Sum(nil)), nil
}
