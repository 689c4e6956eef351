package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mnl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The buffers of a socket that writes, in bytes; they are bounds and take nothing. The kernel
// takes a change in one piece and refuses one that does not fit; and if its answers do not, it
// is not known what became of the change.
const mostBatch, mostAnswers = 1 << 30, 64 << 20

// Writer opens a connection that writes to the packet filter of a namespace until it is closed, and Once one for a single change.
func Writer(ns *os.File) (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(int(ns.Fd())), nftables.AsLasting(), buffers())
}
func Once(ns *os.File) (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(int(ns.Fd())), buffers())
}

func buffers() nftables.ConnOption {
	return nftables.WithSockOptions(func(conn *mnl.Conn) error {
		return errors.Join(conn.SetWriteBuffer(mostBatch), conn.SetReadBuffer(mostAnswers))
	})
}

// Table builds one table in a batch. It is written when the connection is flushed.
// Not safe for concurrent use.
type Table struct {
	conn *nftables.Conn
	// Ref is the table for the library.
	Ref *nftables.Table
	// Err is the first error.
	Err error
}

// Replace begins a batch that swaps the whole table for a new one: what
// was there goes at the instant the new one comes.
func Replace(conn *nftables.Conn, name string) *Table {
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	conn.AddTable(t) // So that the deletion cannot fail.
	conn.DelTable(t)
	conn.AddTable(t)
	return &Table{conn: conn, Ref: t}
}

// Keep records an error, unless there was one.
func (b *Table) Keep(err error) {
	if b.Err == nil {
		b.Err = err
	}
}

// mostElements is how many elements a message has: the length of their list is a number
// of 16 bits, and one of ours has up to 60 bytes.
const mostElements = 1000

// Set adds a set with its elements.
func (b *Table) Set(s nftables.Set, elements []nftables.SetElement) *nftables.Set {
	s.Table = b.Ref
	b.Keep(b.conn.AddSet(&s, nil))
	b.Keep(Chunks(elements, func(part []nftables.SetElement) error { return b.conn.SetAddElements(&s, part) }))
	return &s
}

// Chunks calls do with parts of elements that a message can have.
func Chunks(elements []nftables.SetElement, do func(part []nftables.SetElement) error) error {
	for part := range slices.Chunk(elements, mostElements) {
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}

// objects guards the library's own map of timeouts, which it changes for every
// object that it writes.
var objects sync.Mutex

// Object adds an object that rules refer to by its name.
func (b *Table) Object(o *nftables.NamedObj) {
	objects.Lock()
	defer objects.Unlock()
	b.conn.AddObj(o)
}

// PrefixSet adds a set of IPv4 prefixes, which must not overlap.
func (b *Table) PrefixSet(name string, prefixes []netip.Prefix) *nftables.Set {
	return b.Set(nftables.Set{Name: name, KeyType: nftables.TypeIPAddr, Interval: true}, intervals(prefixes))
}

// AddrSet adds a set of IPv4 addresses; an address may be named twice.
func (b *Table) AddrSet(name string, addrs []netip.Addr) *nftables.Set {
	var elements []nftables.SetElement
	seen := map[netip.Addr]bool{}
	for _, a := range addrs {
		if !seen[a] {
			seen[a] = true
			elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	return b.Set(nftables.Set{Name: name, KeyType: nftables.TypeIPAddr}, elements)
}

// Hook adds a base chain with its rules. After routing it is one that translates.
func (b *Table) Hook(name string, h *nftables.ChainHook, prio nftables.ChainPriority, policy nftables.ChainPolicy, rules ...[]expr.Any) {
	kind := nftables.ChainTypeFilter
	if h == nftables.ChainHookPostrouting {
		kind = nftables.ChainTypeNAT
	}
	b.Add(&nftables.Chain{
		Name: name, Table: b.Ref, Type: kind, Hooknum: h, Priority: &prio, Policy: &policy,
	}, rules)
}

// Chain adds a chain to jump to. It must be added before the rule that jumps.
func (b *Table) Chain(name string, rules ...[]expr.Any) {
	b.Add(&nftables.Chain{Name: name, Table: b.Ref}, rules)
}

// Add adds a chain of any kind with its rules.
func (b *Table) Add(c *nftables.Chain, rules [][]expr.Any) {
	b.conn.AddChain(c)
	for _, exprs := range rules {
		b.conn.AddRule(&nftables.Rule{Table: b.Ref, Chain: c, Exprs: exprs})
	}
}

// RefusalRate is how many packets a second that came in by one link are answered, and RefusalBurst how many at
// once. All links of a namespace share the kernel's bounds, of 1000 errors a second and 50 at once
// (icmp_msgs_per_sec, icmp_msgs_burst): without these, one that floods takes the answers from the others.
const RefusalRate, RefusalBurst = 50, 30

// Refusals adds the chain that answers what is refused. Programs see "no route
// to host", and for UDP and for TCP over IPv6 "connection refused": gVisor heeds no other errors there,
// and a resolver would wait for its name servers until it gives up. links is how many links there are whose packets
// are refused; if it is not 0, each gets a bounded number of answers.
func (b *Table) Refusals(links uint32) {
	var rules [][]expr.Any
	if links > 0 {
		rules = append(rules, Rule(b.LimitEach("answered", expr.MetaKeyIIFNAME, links, &expr.Limit{
			Type: expr.LimitTypePkts, Rate: RefusalRate, Unit: expr.LimitTimeSecond, Burst: RefusalBurst, Over: true,
		}), Drop()))
		// Linux heeds no ICMPv6 error that gVisor does: a guest's connection is reset.
		rules = append(rules, Rule(IsIPv6(), IsProto(unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}))
	}
	b.Chain(refuseChain, append(rules,
		Rule(IsProto(unix.IPPROTO_UDP), reject(unix.NFT_REJECT_ICMPX_PORT_UNREACH)),
		Rule(IsIPv6(), reject(unix.NFT_REJECT_ICMPX_NO_ROUTE)),
		Rule(reject(unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED)),
	)...)
}

// LimitEach matches packets by a limit that each link has for itself; key says whether it is the link that they come in by
// or leave by. name is that of the set of links, of which there are at most links at a time.
func (b *Table) LimitEach(name string, key expr.MetaKey, links uint32, limit *expr.Limit) []expr.Any {
	set := b.Set(nftables.Set{
		Name: name, KeyType: nftables.TypeIFName, Dynamic: true, Size: links, HasTimeout: true, Timeout: time.Minute,
	}, nil)
	return Rule([]expr.Any{&expr.Meta{Key: key, Register: 1}}, Each(set, unix.NFT_DYNSET_OP_UPDATE, limit))
}

// intervals are the elements of an interval set.
func intervals(prefixes []netip.Prefix) []nftables.SetElement {
	var out []nftables.SetElement
	for _, p := range prefixes {
		p = p.Masked()
		out = append(out, nftables.SetElement{Key: p.Addr().AsSlice()})
		first := p.Addr().As4()
		// The end of 240.0.0.0/4 is past the last address: it stays open.
		if end := uint64(binary.BigEndian.Uint32(first[:])) + 1<<(32-p.Bits()); end <= 0xffffffff {
			key := binary.BigEndian.AppendUint32(nil, uint32(end))
			out = append(out, nftables.SetElement{Key: key, IntervalEnd: true})
		}
	}
	return out
}

// Except are the elements of an interval set that has all addresses but these.
// The first and the last of IPv4 must be among them.
func Except(lists ...[]netip.Prefix) []nftables.SetElement {
	all := slices.Concat(lists...)
	slices.SortFunc(all, netip.Prefix.Compare)
	key := func(n uint64) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	var out []nftables.SetElement
	next := uint64(0) // The first address that is not covered yet.
	for _, p := range all {
		a := p.Masked().Addr().As4()
		first := uint64(binary.BigEndian.Uint32(a[:]))
		if first > next {
			out = append(out, nftables.SetElement{Key: key(next)}, nftables.SetElement{Key: key(first), IntervalEnd: true})
		}
		next = max(next, first+1<<(32-p.Bits()))
	}
	return out
}
