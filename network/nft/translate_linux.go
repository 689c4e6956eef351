package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Redirections adds a base chain that may change where the packets go that come in and open a flow.
func (b *Table) Redirections(name string, rules ...[]expr.Any) {
	policy := nftables.ChainPolicyAccept
	b.Add(&nftables.Chain{
		Name: name, Table: b.Ref, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest, Policy: &policy,
	}, rules)
}

// RedirectTo sends a flow to a port of this namespace, by its address on the link that the flow came in by.
func RedirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
	}
}

// IsProto matches a transport protocol, and NotProto the others.
func IsProto(proto byte) []expr.Any  { return isProto(expr.CmpOpEq, proto) }
func NotProto(proto byte) []expr.Any { return isProto(expr.CmpOpNeq, proto) }

func isProto(op expr.CmpOp, proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{proto}},
	}
}

// NotPorts matches every destination port but these. The transport protocol must be one with ports.
func NotPorts(ports ...uint16) []expr.Any {
	out := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
	for _, port := range ports {
		out = append(out, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)})
	}
	return out
}

// IsSourcePort matches a transport protocol and source port.
func IsSourcePort(proto byte, port uint16) []expr.Any {
	return Rule(IsProto(proto), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	})
}

// MarkFlow sets a bit of the mark of the tracked flow, and leaves the others. HasFlowMark matches flows with it.
func MarkFlow(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeyMARK},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(^bit), Xor: binaryutil.NativeEndian.PutUint32(bit),
		},
		&expr.Ct{Register: 1, Key: expr.CtKeyMARK, SourceRegister: true},
	}
}
func HasFlowMark(bit uint32) []expr.Any { return ctBits(expr.CtKeyMARK, bit, expr.CmpOpNeq) }
