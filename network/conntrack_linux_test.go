package network

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestTuplesOnTheWire(t *testing.T) {
	for name, f := range map[string]tuple{
		"tcp":  {src: [4]byte{10, 200, 0, 2}, dst: [4]byte{9, 9, 9, 9}, proto: unix.IPPROTO_TCP, srcPort: 40001, dstPort: 443},
		"echo": {src: [4]byte{10, 200, 0, 2}, dst: [4]byte{9, 9, 9, 9}, proto: unix.IPPROTO_ICMP, srcPort: 7, dstPort: 8 << 8},
	} {
		reply := f.inverse()
		if reply.src != f.dst || reply.dst != f.src || reply == f || reply.inverse() != f {
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
	one := tuple{proto: unix.IPPROTO_TCP, srcPort: 1}
	f.Add(append(append(make([]byte, 4), one.attr(ctaTupleOrig)...), one.inverse().attr(ctaTupleReply)...))
	f.Add([]byte{0, 0, 0, 0, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) { parseFlow(b) })
}
