package network

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// This file is a small vocabulary for nft rules: each function is one match or
// one verdict, and rule joins them.

func rule(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

func iif(name string) []expr.Any { return ifaceIs(expr.MetaKeyIIFNAME, name, expr.CmpOpEq) }

func oif(name string) []expr.Any { return ifaceIs(expr.MetaKeyOIFNAME, name, expr.CmpOpEq) }

func notOIF(name string) []expr.Any { return ifaceIs(expr.MetaKeyOIFNAME, name, expr.CmpOpNeq) }

func ifaceIs(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: ifname(name)},
	}
}

// ifname is the fixed-size form of an interface name.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func ifaceIn(key expr.MetaKey, set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// sourceIn matches the pair of incoming interface and IPv4 source.
func sourceIn(set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		// Register 1 has the 16 bytes of the name; the address follows it.
		&expr.Payload{DestRegister: unix.NFT_REG32_04, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

func sourceIs(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

func destIn(set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

func isIPv6() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
	}
}

// isPort matches a transport protocol and destination port.
func isPort(proto byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

// isTCPButNotOpening matches TCP packets that do not ask for a new connection:
// those with SYN and without ACK do.
func isTCPButNotOpening() []expr.Any {
	const flagsAt, syn, ack = 13, 0x02, 0x10
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{syn}},
	}
}

// ctState matches connections in any of the states.
func ctState(bits uint32) []expr.Any { return ctBits(expr.CtKeySTATE, bits, expr.CmpOpNeq) }

// ctStatusDNAT matches connections whose destination somebody rewrote.
const ctStatusDNAT = 1 << 5

func isDNAT() []expr.Any  { return ctBits(expr.CtKeySTATUS, ctStatusDNAT, expr.CmpOpNeq) }
func notDNAT() []expr.Any { return ctBits(expr.CtKeySTATUS, ctStatusDNAT, expr.CmpOpEq) }

func ctBits(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: key},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: op, Register: 1, Data: make([]byte, 4)},
	}
}

const (
	established = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	opening     = expr.CtStateBitNEW
	untracked   = expr.CtStateBitUNTRACKED
)

func accept() []expr.Any { return verdict(expr.VerdictAccept, "") }
func drop() []expr.Any   { return verdict(expr.VerdictDrop, "") }

// notrack keeps a packet out of connection tracking, in a chain before it.
func notrack() []expr.Any { return []expr.Any{&expr.Notrack{}} }

func jump(chain string) []expr.Any { return verdict(expr.VerdictJump, chain) }

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

// refuse answers with an ICMP error, by the chain that refusals adds.
func refuse() []expr.Any { return jump(refuseChain) }

const refuseChain = "refuse"

// refusals adds the chain that answers what is refused. Programs see "no route
// to host", and for UDP "connection refused": gVisor heeds no other error there,
// and a resolver would wait for its name servers until it gives up.
func (b *table) refusals() {
	b.chain(refuseChain,
		rule(isUDP(), reject(unix.NFT_REJECT_ICMPX_PORT_UNREACH)),
		rule(reject(unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED)),
	)
}

func reject(code uint8) []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: code}}
}

func isUDP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

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

// table builds one table in a batch. The first error sticks.
type table struct {
	conn *nftables.Conn
	t    *nftables.Table
	err  error
}

// replaceTable begins a batch that swaps the whole table for a new one: what
// was there goes at the instant the new one comes.
func replaceTable(conn *nftables.Conn, name string) *table {
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	conn.AddTable(t) // So that the deletion cannot fail.
	conn.DelTable(t)
	conn.AddTable(t)
	return &table{conn: conn, t: t}
}

func (b *table) keep(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *table) set(s nftables.Set, elements []nftables.SetElement) *nftables.Set {
	s.Table = b.t
	b.keep(b.conn.AddSet(&s, elements))
	return &s
}

// objects guards the library's own map of timeouts, which it changes for every
// object that it writes.
var objects sync.Mutex

func (b *table) object(o *nftables.NamedObj) {
	objects.Lock()
	defer objects.Unlock()
	b.conn.AddObj(o)
}

func (b *table) prefixSet(name string, prefixes []netip.Prefix) *nftables.Set {
	return b.set(nftables.Set{Name: name, KeyType: nftables.TypeIPAddr, Interval: true}, intervals(prefixes))
}

func (b *table) addrSet(name string, addrs []netip.Addr) *nftables.Set {
	var elements []nftables.SetElement
	seen := map[netip.Addr]bool{}
	for _, a := range addrs {
		if !seen[a] {
			seen[a] = true
			elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	return b.set(nftables.Set{Name: name, KeyType: nftables.TypeIPAddr}, elements)
}

// hook adds a base chain with its rules.
func (b *table) hook(name string, h *nftables.ChainHook, prio nftables.ChainPriority, policy nftables.ChainPolicy, rules ...[]expr.Any) {
	kind := nftables.ChainTypeFilter
	if h == nftables.ChainHookPostrouting {
		kind = nftables.ChainTypeNAT
	}
	b.add(&nftables.Chain{
		Name: name, Table: b.t, Type: kind, Hooknum: h, Priority: &prio, Policy: &policy,
	}, rules)
}

// chain adds a chain to jump to. It must be added before the rule that jumps.
func (b *table) chain(name string, rules ...[]expr.Any) {
	b.add(&nftables.Chain{Name: name, Table: b.t}, rules)
}

func (b *table) add(c *nftables.Chain, rules [][]expr.Any) {
	b.conn.AddChain(c)
	for _, exprs := range rules {
		b.conn.AddRule(&nftables.Rule{Table: b.t, Chain: c, Exprs: exprs})
	}
}
