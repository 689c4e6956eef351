package names

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestNames(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		s, err := Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1:0", "E2B.localhost", netip.MustParseAddr(address))
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp", "tcp"} {
			// As a program on the machine resolves it.
			resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, s.Addr())
			}}
			for _, name := range []string{"e2b.localhost.", "api.e2b.localhost.", "49983-i0.E2B.LocalHost."} {
				if got, err := resolver.LookupHost(t.Context(), name); err != nil || len(got) != 1 || got[0] != address {
					t.Errorf("%s over %s: %v, %v", name, network, got, err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if conn, err := net.Dial("tcp", s.Addr()); err == nil {
			conn.Close()
			t.Error("it still listens after Close")
		}
	}
}

func TestOtherQuestions(t *testing.T) {
	s, err := Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1:0", "e2b.localhost", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		soa   bool
	}{
		{"example.com.", dns.TypeA, dns.RcodeRefused, false},
		{"xe2b.localhost.", dns.TypeA, dns.RcodeRefused, false},
		{".", dns.TypeNS, dns.RcodeRefused, false},
		{"api.e2b.localhost.", dns.TypeAAAA, dns.RcodeSuccess, true},
		{"api.e2b.localhost.", dns.TypeHTTPS, dns.RcodeSuccess, true},
		{"e2b.localhost.", dns.TypeANY, dns.RcodeSuccess, true},
	} {
		query := new(dns.Msg).SetQuestion(c.name, c.kind)
		reply, _, err := new(dns.Client).Exchange(query, s.Addr())
		if err != nil || reply.Rcode != c.rcode || len(reply.Answer) != 0 || (len(reply.Ns) == 1) != c.soa {
			t.Errorf("%s %d: %v, %v", c.name, c.kind, reply, err)
		}
	}
	update := new(dns.Msg).SetUpdate("e2b.localhost.")
	if reply, _, err := new(dns.Client).Exchange(update, s.Addr()); err != nil || reply.Rcode != dns.RcodeNotImplemented {
		t.Errorf("an update: %v, %v", reply, err)
	}
}

// Connections of strangers are files of the daemon: more than the bound wait in the kernel.
func TestConnectionsAreBounded(t *testing.T) {
	s, err := Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1:0", "e2b.localhost", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	served := func(conn net.Conn, within time.Duration) bool {
		_ = conn.SetDeadline(time.Now().Add(within))
		query := new(dns.Msg).SetQuestion("api.e2b.localhost.", dns.TypeA)
		co := &dns.Conn{Conn: conn}
		if err := co.WriteMsg(query); err != nil {
			return false
		}
		_, err := co.ReadMsg()
		return err == nil
	}
	var open []net.Conn
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range maxConnections {
		conn := dial()
		if !served(conn, time.Minute) {
			t.Fatalf("connection %d is not served", len(open))
		}
		open = append(open, conn)
	}
	waiting := dial()
	if served(waiting, time.Second) {
		t.Error("one more is served")
	}
	if reply, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("api.e2b.localhost.", dns.TypeA), s.Addr()); err != nil || len(reply.Answer) != 1 {
		t.Errorf("UDP meanwhile: %v, %v", reply, err)
	}
	open[0].Close()
	_ = waiting.SetDeadline(time.Now().Add(time.Minute))
	if _, err := (&dns.Conn{Conn: waiting}).ReadMsg(); err != nil {
		t.Errorf("it is not served when another has ended: %v", err)
	}
}
