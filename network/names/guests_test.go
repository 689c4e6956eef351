package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// guests lets every guest reach the names of its patterns, and records what the server does.
type guests struct {
	patterns []string
	bind     func(name string) error // Called without the lock; nil succeeds.

	mu      sync.Mutex
	events  []string
	unknown chan bool // Whether the policy is; nil: it is not.
}

func (g *guests) add(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf(format, args...))
}

// seen returns the events so far.
func (g *guests) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.events)
}

func (g *guests) Allowed(_ netip.Addr, name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Match(g.patterns, name, 0)
}

func (g *guests) Known(netip.Addr) bool {
	g.mu.Lock()
	unknown := g.unknown
	g.mu.Unlock()
	return unknown == nil || !<-unknown
}

func (g *guests) Bind(guest netip.Addr, name string, addrs []netip.Addr, life time.Duration) error {
	g.add("bind %v %s %s %v", guest, name, text(addrs), life)
	if g.bind != nil {
		if err := g.bind(name); err != nil {
			return err
		}
	}
	g.add("bound %s", name)
	return nil
}

func (g *guests) Answered(guest netip.Addr, name string) { g.add("answered %v %s", guest, name) }

func (g *guests) Refused(guest netip.Addr, name string) { g.add("refused %v %s", guest, name) }

// recorded is a socket that records the names for which it sends addresses.
type recorded struct {
	net.PacketConn
	guests *guests
}

func (r recorded) WriteTo(b []byte, to net.Addr) (int, error) {
	m := new(dns.Msg)
	if err := m.Unpack(b); err == nil && len(m.Answer) > 0 {
		r.guests.add("sent %s", m.Question[0].Name)
	}
	return r.PacketConn.WriteTo(b, to)
}

// world is a server with its guests and one name server.
type world struct {
	*guests
	upstream *upstream
	server   *Server
	addr     string
}

// newWorld serves guests that may reach *.example.com, and ends it all. For its cache no time passes.
func newWorld(t testing.TB, answer func(*dns.Msg, string) [][]byte) *world {
	t.Helper()
	w := &world{guests: &guests{patterns: []string{"*.example.com"}}, upstream: newUpstream(t, answer)}
	r := newResolver(t, w.upstream)
	r.cfg.Now = func() time.Time { return now }
	stream, packets := listen(t)
	w.addr = stream.Addr().String()
	w.server = Serve(ServerConfig{Packets: recorded{packets, w.guests}, Stream: stream, Resolver: r, Guests: w.guests})
	t.Cleanup(func() {
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		if len(w.server.queries.used)+len(w.server.streams.used)+w.server.queries.total+w.server.streams.total != 0 {
			t.Errorf("guests still have queries %v and streams %v", w.server.queries.used, w.server.streams.used)
		}
	})
	return w
}

// dial returns a connection of a guest, whose address on loopback is from.
func (w *world) dial(t testing.TB, network, from string) *dns.Conn {
	t.Helper()
	var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
	if network == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := (&net.Dialer{LocalAddr: local}).DialContext(context.Background(), network, w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
}

// query returns one that a client sends, with EDNS of some size unless that is 0.
func query(name string, kind uint16, size uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	if size > 0 {
		m.SetEdns0(size, false)
	}
	return m
}

// send sends a query, and receive returns the next reply.
func send(t testing.TB, conn *dns.Conn, m *dns.Msg) {
	t.Helper()
	if err := conn.WriteMsg(m); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, conn *dns.Conn) *dns.Msg {
	t.Helper()
	m, err := conn.ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ask returns the reply to a query, which has its id.
func ask(t testing.TB, conn *dns.Conn, m *dns.Msg) *dns.Msg {
	t.Helper()
	send(t, conn, m)
	reply := receive(t, conn)
	if reply.Id != m.Id || !reply.Response {
		t.Fatalf("the reply to %d: %v", m.Id, reply)
	}
	return reply
}

// explanation is the extended error of a reply, and 0 if there is none.
func explanation(m *dns.Msg) uint16 {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return e.InfoCode
			}
		}
	}
	return 0
}
