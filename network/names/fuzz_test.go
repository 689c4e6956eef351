package names

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// FuzzQuery gives a server any message of a guest.
func FuzzQuery(f *testing.F) {
	for _, m := range []*dns.Msg{
		query("a.example.com", dns.TypeA, 0), query("a.example.com", dns.TypeTXT, 4096), query("evil.net", dns.TypeMX, 512), query(".", dns.TypeNS, 0),
		query("a.example.com", dns.TypeAXFR, 0), new(dns.Msg).SetUpdate("a.example.com."), new(dns.Msg).SetNotify("a.example.com."),
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Add(append([]byte{7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 0xc0, 12, 0, 1, 0, 1), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, datagram bool) {
		// Name servers are not reached, so that what is tested is the message.
		r := New(Config{Servers: []netip.AddrPort{{}}, Dial: func(context.Context, netip.Addr, string, netip.AddrPort) (net.Conn, error) { return nil, net.ErrClosed }})
		defer r.Close()
		g := &guests{patterns: []string{"*.example.com"}}
		s := &Server{cfg: ServerConfig{Resolver: r, Guests: g}, ctx: t.Context(), lookups: newBounds(1, 1), waiting: map[waiter]int{}}
		wire := s.answer(netip.Addr{}, b, datagram)
		if len(b) < headerSize || b[2]&0x80 != 0 {
			if wire != nil {
				t.Errorf("an answer to what is not a query: %x", wire)
			}
			return
		}
		if datagram && len(wire) > maxDatagram || len(wire) > dns.MaxMsgSize || len(wire) < headerSize {
			t.Fatalf("%d bytes", len(wire))
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(wire); err != nil {
			t.Fatalf("%x: %v", wire, err)
		}
		if wire[0] != b[0] || wire[1] != b[1] || !reply.Response || len(reply.Answer) != 0 {
			t.Errorf("%v", reply)
		}
	})
}

// FuzzReply gives a resolver any reply of a name server, and a guest the records that it accepts.
func FuzzReply(f *testing.F) {
	for _, lines := range [][]string{
		{"a.example.com. 60 IN A 1.1.1.1", "a.example.com. 60 IN A 10.0.0.1"},
		{"a.example.com. 60 IN CNAME b.example.com.", "b.example.com. 60 IN CNAME a.example.com."},
		{`a.example.com. 60 IN TXT "a" "b"`, `a.example.com. 60 IN CAA 0 issue "x"`, `a.example.com. 60 IN NAPTR 1 1 "S" "x" "!a!b!" .`},
		{"a.example.com. 60 IN SRV 1 1 1 b.example.com.", "a.example.com. 60 IN MX 1 b.example.com.", "a.example.com. 60 IN SOA . . 1 1 1 1 1"},
	} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeSRV} {
			f.Add(replyTo(query("a.example.com", kind, 0), nil, rrs(lines...)...), kind, kind == dns.TypeA)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint16, datagram bool) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		q := question{"a.example.com", kind}
		_ = replies(m, query(q.name, kind, 0))
		found := read(m, q, public, now)
		if len(found.addrs) > maxAddrs || len(found.records) > maxRecords || found.expires.After(now.Add(maxLife)) {
			t.Fatalf("%+v", found)
		}
		for _, a := range found.addrs {
			if !public(a) || !a.Is4() {
				t.Errorf("%v", a)
			}
		}
		reply := new(dns.Msg).SetReply(query("A.example.com", kind, 0))
		size := dns.MaxMsgSize
		if datagram {
			size = dns.MinMsgSize
		}
		for _, rr := range found.records {
			if rr.Header().Name != "a.example.com." || rr.Header().Rrtype != kind {
				t.Errorf("%v", rr)
			}
			reply.Answer = append(reply.Answer, dns.Copy(rr))
		}
		if wire := pack(reply, size); len(wire) > size || len(wire) < headerSize {
			t.Errorf("%d bytes", len(wire))
		}
	})
}
