package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Rule joins matches and a verdict.
func Rule(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

// IIF matches the incoming interface.
func IIF(name string) []expr.Any { return ifaceIs(expr.MetaKeyIIFNAME, name, expr.CmpOpEq) }

// OIF matches the outgoing interface.
func OIF(name string) []expr.Any { return ifaceIs(expr.MetaKeyOIFNAME, name, expr.CmpOpEq) }

// NotIIF matches every other incoming interface.
func NotIIF(name string) []expr.Any { return ifaceIs(expr.MetaKeyIIFNAME, name, expr.CmpOpNeq) }

// NotOIF matches every other outgoing interface.
func NotOIF(name string) []expr.Any { return ifaceIs(expr.MetaKeyOIFNAME, name, expr.CmpOpNeq) }

func ifaceIs(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: IfName(name)},
	}
}

// IfName is the fixed-size form of an interface name.
func IfName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// IfaceIn matches interfaces by a set of names; key says which interface.
func IfaceIn(key expr.MetaKey, set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// SourceIn matches the pair of incoming interface and IPv4 source.
func SourceIn(set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		// Register 1 has the 16 bytes of the name; the address follows it.
		&expr.Payload{DestRegister: unix.NFT_REG32_04, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAt, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// SourceIs matches the IPv4 source.
func SourceIs(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAt, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

// DestIs matches the IPv4 destination.
func DestIs(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destAt, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

// DestIn matches IPv4 destinations by a set.
func DestIn(set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destAt, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// Towards matches the pair of IPv4 source and destination.
func Towards(set *nftables.Set) []expr.Any {
	return isPair(set, &expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAt, Len: 8})
}

// Where the addresses are in the header of IPv4.
const (
	sourceAt = 12
	destAt   = 16
)

func isPair(set *nftables.Set, load ...expr.Any) []expr.Any {
	return append(load, &expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: set.Name, SetID: set.ID})
}

// IsIPv4 matches IPv4.
func IsIPv4() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}
}

// IsIPv6 matches IPv6.
func IsIPv6() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
	}
}

// IsPort matches a transport protocol and destination port.
func IsPort(proto byte, port uint16) []expr.Any {
	return Rule(IsProto(proto), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	})
}

// IsTCPButNotOpening matches TCP packets that do not ask for a new connection:
// those with SYN and without ACK do.
func IsTCPButNotOpening() []expr.Any {
	const flagsAt, syn, ack = 13, 0x02, 0x10
	return Rule(IsProto(unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{syn}},
	})
}

// FitSegments lowers the size of segments that a packet which opens or accepts a TCP connection offers to
// what both ways of it take. It is for forwarded packets.
func FitSegments() []expr.Any {
	const flagsAt, syn = 13, 0x02
	const maxSegment, sizeAt, size = 2, 2, 2 // The option of RFC 9293, 3.2, and where its number is.
	return Rule(IsProto(unix.IPPROTO_TCP), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}},
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: size, Size: size},
		&expr.Exthdr{SourceRegister: 1, Type: maxSegment, Offset: sizeAt, Len: size, Op: expr.ExthdrOpTcpopt},
	})
}

// CtState matches connections in any of the states.
func CtState(bits uint32) []expr.Any { return ctBits(expr.CtKeySTATE, bits, expr.CmpOpNeq) }

// IsDNAT matches connections whose destination was rewritten, NotDNAT all others.
func IsDNAT() []expr.Any  { return ctBits(expr.CtKeySTATUS, ctStatusDNAT, expr.CmpOpNeq) }
func NotDNAT() []expr.Any { return ctBits(expr.CtKeySTATUS, ctStatusDNAT, expr.CmpOpEq) }

// Unconfirmed matches the packets of flows that are not in the table of tracked flows
// yet.
func Unconfirmed() []expr.Any { return ctBits(expr.CtKeySTATUS, ctStatusConfirmed, expr.CmpOpEq) }

// The bits of a tracked flow's status.
const (
	ctStatusConfirmed = 1 << 3 // It is in the table of tracked flows.
	ctStatusDNAT      = 1 << 5 // Its destination is rewritten.
)

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

// The states of connections, for CtState.
const (
	Related     = expr.CtStateBitRELATED
	Established = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	Opening     = expr.CtStateBitNEW
	OfItself    = expr.CtStateBitNEW | expr.CtStateBitESTABLISHED // Without errors about it.
	Untracked   = expr.CtStateBitUNTRACKED
)

// Accept and Drop are the verdicts.
func Accept() []expr.Any { return verdict(expr.VerdictAccept, "") }
func Drop() []expr.Any   { return verdict(expr.VerdictDrop, "") }

// NoTrack keeps a packet out of connection tracking, in a chain before it.
func NoTrack() []expr.Any { return []expr.Any{&expr.Notrack{}} }

// Jump continues in another chain of the table, and here afterwards.
func Jump(chain string) []expr.Any { return verdict(expr.VerdictJump, chain) }

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

// Refuse answers with an ICMP error, by the chain that Table.Refusals adds.
func Refuse() []expr.Any { return Jump(refuseChain) }

const refuseChain = "refuse"

func reject(code uint8) []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: code}}
}

// Each evaluates a stateful expression for the element of the set that register
// 1 names, which is added if it is not there.
func Each(set *nftables.Set, op uint32, e expr.Any) []expr.Any {
	return []expr.Any{&expr.Dynset{
		SrcRegKey: 1, SetID: set.ID, SetName: set.Name, Operation: op, Timeout: set.Timeout, Exprs: []expr.Any{e},
	}}
}

// Log copies the first bytes of a packet to the listeners of a group.
func Log(group uint16, bytes uint32) []expr.Any {
	return []expr.Any{&expr.Log{Group: group, Snaplen: bytes, Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN}}
}

// Masquerade gives a packet the source address of the interface that it leaves by.
func Masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }
