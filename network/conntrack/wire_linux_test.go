package conntrack

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestTuplesOnTheWire(t *testing.T) {
	for name, f := range map[string]Tuple{
		"tcp":  {Src: [4]byte{10, 200, 0, 2}, Dst: [4]byte{9, 9, 9, 9}, Proto: unix.IPPROTO_TCP, SrcPort: 40001, DstPort: 443},
		"echo": {Src: [4]byte{10, 200, 0, 2}, Dst: [4]byte{9, 9, 9, 9}, Proto: unix.IPPROTO_ICMP, SrcPort: 7, DstPort: 8 << 8},
	} {
		reply := f.Inverse()
		if reply.Src != f.Dst || reply.Dst != f.Src || reply == f || reply.Inverse() != f {
			t.Errorf("%s: the inverse is %+v", name, reply)
		}
		msg := append(make([]byte, 4), f.attr(ctaTupleOrig)...)
		gotOrig, gotReply, ok := parseFlow(append(msg, reply.attr(ctaTupleReply)...))
		if !ok || gotOrig != f || gotReply != reply {
			t.Errorf("%s: read %+v, %+v, %v", name, gotOrig, gotReply, ok)
		}
		if _, _, ok := parseFlow(msg); ok {
			t.Errorf("%s: half a flow is a flow", name)
		}
	}
}

func FuzzParseFlow(f *testing.F) {
	one := Tuple{Proto: unix.IPPROTO_TCP, SrcPort: 1}
	f.Add(append(append(make([]byte, 4), one.attr(ctaTupleOrig)...), one.Inverse().attr(ctaTupleReply)...))
	f.Add([]byte{0, 0, 0, 0, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) { parseFlow(b) })
}
