package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The wire format of ctnetlink, from linux/netfilter/nfnetlink_conntrack.h.
const (
	nfnlConntrack = 1 // NFNL_SUBSYS_CTNETLINK.
	ctGet         = 1
	ctDelete      = 2
	ctGetStats    = 5

	ctaStatsEntries = 1 // CTA_STATS_GLOBAL_ENTRIES, of the socket's namespace.

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaFilter     = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2

	ctaProtoNum  = 1
	ctaSrcPort   = 2
	ctaDstPort   = 3
	ctaICMPID    = 4
	ctaICMPType  = 5
	ctaICMPCode  = 6
	ctaOrigFlags = 1 // Of CTA_FILTER: which members of the tuple count.
	ctaFlagIPSrc = 1
)

// ctMessage appends one request about tracked IPv4 flows.
func ctMessage(b []byte, kind, flags int, seq uint32, attrs []byte) []byte {
	const header = unix.NLMSG_HDRLEN + 4 // With struct nfgenmsg.
	b = binary.NativeEndian.AppendUint32(b, uint32(header+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, uint16(nfnlConntrack<<8|kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLM_F_REQUEST|flags))
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, unix.AF_INET, 0, 0, 0)
	return append(b, attrs...)
}

// attr is one netlink attribute with its padding.
func attr(kind uint16, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(b)&3)...)
}

func nested(kind uint16, parts ...[]byte) []byte {
	var data []byte
	for _, p := range parts {
		data = append(data, p...)
	}
	return attr(unix.NLA_F_NESTED|kind, data...)
}

func port(kind, p uint16) []byte { return attr(kind, byte(p>>8), byte(p)) }

// sourceFilter makes the kernel list only the flows from one address.
func sourceFilter(from netip.Addr) []byte {
	flags := binary.NativeEndian.AppendUint32(nil, ctaFlagIPSrc)
	return append(
		nested(ctaTupleOrig, nested(ctaTupleIP, attr(ctaIPv4Src, from.AsSlice()...))),
		nested(ctaFilter, attr(ctaOrigFlags, flags...))...)
}

// attr is the tuple as a netlink attribute.
func (t Tuple) attr(kind uint16) []byte {
	proto := [][]byte{attr(ctaProtoNum, t.Proto)}
	if t.Proto == unix.IPPROTO_ICMP {
		proto = append(proto, port(ctaICMPID, t.SrcPort),
			attr(ctaICMPType, byte(t.DstPort>>8)), attr(ctaICMPCode, byte(t.DstPort)))
	} else {
		proto = append(proto, port(ctaSrcPort, t.SrcPort), port(ctaDstPort, t.DstPort))
	}
	return nested(kind,
		nested(ctaTupleIP, attr(ctaIPv4Src, t.Src[:]...), attr(ctaIPv4Dst, t.Dst[:]...)),
		nested(ctaTupleProto, proto...))
}

// parseFlow reads the two directions of a flow. ok is false unless it is an IPv4
// flow.
func parseFlow(b []byte) (orig, reply Tuple, ok bool) {
	if len(b) < 4 {
		return orig, reply, false
	}
	addrs := 0
	eachAttr(b[4:], func(kind uint16, data []byte) {
		var n int
		switch kind {
		case ctaTupleOrig:
			orig, n = parseTuple(data)
		case ctaTupleReply:
			reply, n = parseTuple(data)
		}
		addrs += n
	})
	return orig, reply, addrs == 4
}

// parseTuple returns how many IPv4 addresses there were: two, in a whole one.
func parseTuple(b []byte) (t Tuple, addrs int) {
	eachAttr(b, func(kind uint16, data []byte) {
		switch kind {
		case ctaTupleIP:
			eachAttr(data, func(kind uint16, data []byte) {
				switch kind {
				case ctaIPv4Src:
					addrs += copy(t.Src[:], data) / 4
				case ctaIPv4Dst:
					addrs += copy(t.Dst[:], data) / 4
				}
			})
		case ctaTupleProto:
			eachAttr(data, func(kind uint16, data []byte) {
				var v uint16
				for _, d := range data { // Big endian, of one byte or two.
					v = v<<8 | uint16(d)
				}
				switch kind {
				case ctaProtoNum:
					t.Proto = byte(v)
				case ctaSrcPort, ctaICMPID:
					t.SrcPort = v
				case ctaDstPort:
					t.DstPort = v
				case ctaICMPType:
					t.DstPort |= v << 8
				case ctaICMPCode:
					t.DstPort |= v
				}
			})
		}
	})
	return t, addrs
}

// eachAttr visits the attributes of b, up to the first that is damaged.
func eachAttr(b []byte, visit func(kind uint16, data []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return
		}
		visit(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:size])
		b = b[min(len(b), (size+3)&^3):]
	}
}
