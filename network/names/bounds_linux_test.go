package names

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// Queries for one name are not dropped when many come at once: a client waits for seconds before it repeats one.
func TestManyQueriesAtOnceAreAnswered(t *testing.T) {
	const many = 3 * lookupsEach
	w := newWorld(t, each("1.1.1.1"))
	entered, release := make(chan struct{}), make(chan struct{})
	w.guests.bind = func(name string) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	client := w.dial(t, "udp", "127.0.0.1")
	for range many {
		send(t, client, query("a.example.com", dns.TypeA, 0))
		<-entered
	}
	close(release)
	for range many {
		if reply := receive(t, client); len(reply.Answer) != 1 {
			t.Errorf("%v", reply)
		}
	}
}

// A guest that floods has its queries dropped beyond a bound, and others are answered meanwhile.
func TestQueriesOfAGuestAreBounded(t *testing.T) {
	release := make(chan struct{})
	w := newWorld(t, func(q *dns.Msg, network string) [][]byte {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			<-release
		}
		return each("1.1.1.1")(q, network)
	})
	flood, other := w.dial(t, "udp", "127.0.0.1"), w.dial(t, "udp", "127.0.0.2")
	for i := range lookupsEach {
		send(t, flood, query(fmt.Sprintf("slow%d.example.com", i), dns.TypeA, 0))
		<-w.upstream.more
	}
	for range 100 { // Another socket is the same guest.
		send(t, w.dial(t, "udp", "127.0.0.1"), query("slow-more.example.com", dns.TypeA, 0))
	}
	if reply := ask(t, other, query("a.example.com", dns.TypeA, 0)); len(reply.Answer) != 1 {
		t.Errorf("another guest: %v", reply)
	}
	if got := w.upstream.questions(); len(got) != lookupsEach+1 {
		t.Errorf("%d questions", len(got))
	}
	close(release)
	for range lookupsEach {
		if reply := receive(t, flood); len(reply.Answer) != 1 {
			t.Errorf("%v", reply)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; { // The place is free a moment after the last reply.
		w.server.queries.mu.Lock()
		used := w.server.queries.total
		w.server.queries.mu.Unlock()
		if used == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are in flight", used)
		}
	}
	if reply := ask(t, flood, query("a.example.com", dns.TypeA, 0)); len(reply.Answer) != 1 {
		t.Errorf("afterwards: %v", reply)
	}
}

func TestConnectionsOfAGuestAreBounded(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	var open []*dns.Conn
	for range streamsEach {
		conn := w.dial(t, "tcp", "127.0.0.1")
		ask(t, conn, query("a.example.com", dns.TypeA, 0))
		open = append(open, conn)
	}
	more := w.dial(t, "tcp", "127.0.0.1")
	_ = more.WriteMsg(query("a.example.com", dns.TypeA, 0)) // It may be closed already.
	if _, err := more.ReadMsg(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more: %v", err)
	}
	ask(t, w.dial(t, "tcp", "127.0.0.2"), query("a.example.com", dns.TypeA, 0)) // Another guest.
	open[0].Close()
	for deadline := time.Now().Add(time.Minute); ; { // Until the server has seen the end.
		conn := w.dial(t, "tcp", "127.0.0.1")
		if conn.WriteMsg(query("a.example.com", dns.TypeA, 0)) == nil {
			if _, err := conn.ReadMsg(); err == nil {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no place is free after an end")
		}
	}
}

func TestBounds(t *testing.T) {
	b := newBounds(2, 3)
	a, c, d := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	for i, step := range []struct {
		guest netip.Addr
		leave bool
		want  bool
	}{
		{a, false, true}, {a, false, true}, {a, false, false}, // Two each.
		{c, false, true}, {c, false, false}, // Three in all.
		{a, true, true}, {a, false, false}, {c, false, false}, {d, false, true}, // As many as are left.
	} {
		if step.leave {
			b.leave(step.guest)
		} else if got := b.enter(step.guest); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	b.leave(a)
	b.leave(c)
	b.leave(d)
	if b.total != 0 || len(b.used) != 0 {
		t.Errorf("%d, %v", b.total, b.used)
	}
}

// Queries of a connection are answered one after another: a client cannot have more in flight than it has connections.
func TestAConnectionHasOneQueryInFlight(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	conn := w.dial(t, "tcp", "127.0.0.1")
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("a%d.example.com", i)
		send(t, conn, query(name, dns.TypeA, 0))
		want = append(want, "bind 127.0.0.1 "+name+" 1.1.1.1 1m30s", "bound "+name, "answered 127.0.0.1 "+name)
	}
	for i := range 20 {
		if reply := receive(t, conn); reply.Question[0].Name != fmt.Sprintf("a%d.example.com.", i) {
			t.Errorf("reply %d: %v", i, reply)
		}
	}
	if got := w.seen(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTheNumberOfQueriesOfAConnection(t *testing.T) {
	w := newWorld(t, each("1.1.1.1"))
	conn := w.dial(t, "tcp", "127.0.0.1")
	for range streamQueries {
		ask(t, conn, query("a.example.com", dns.TypeA, 0))
	}
	if _, err := conn.ReadMsg(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// noPackets is a socket that receives nothing.
type noPackets struct {
	net.PacketConn
	done chan struct{}
}

func (p noPackets) ReadFrom([]byte) (int, net.Addr, error) {
	<-p.done
	return 0, nil, net.ErrClosed
}

func (p noPackets) Close() error {
	close(p.done)
	return nil
}

// A client that sends nothing, or slowly, or reads no answer, loses its connection after a bounded time.
func TestSlowClients(t *testing.T) {
	wire, err := query("example.com", dns.TypeAAAA, 0).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		client func(conn net.Conn)
		took   time.Duration
	}{
		"silent": {func(net.Conn) {}, readTime},
		"slow": {func(conn net.Conn) {
			for err := error(nil); err == nil; _, err = conn.Write([]byte{1}) {
				time.Sleep(3 * time.Second)
			}
		}, readTime},
		"does not read": {func(conn net.Conn) { _ = writeFramed(conn, wire) }, writeTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stream := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				r := New(Config{})
				s := Serve(ServerConfig{Packets: noPackets{done: make(chan struct{})}, Stream: stream, Resolver: r, Guests: &guests{}})
				ours, theirs := net.Pipe()
				ended := make(chan struct{})
				stream.conns <- watched{theirs, ended}
				began := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() { c.client(ours) })
				<-ended
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v", took)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				r.Close()
				ours.Close()
				wg.Wait()
			})
		})
	}
}

// watched is a connection that reports its end.
type watched struct {
	net.Conn
	ended chan struct{}
}

func (w watched) Close() error {
	select {
	case <-w.ended:
	default:
		close(w.ended)
	}
	return w.Conn.Close()
}

// Close ends what is in flight, and leaves no goroutine.
func TestCloseLeavesNothing(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	u := newUpstream(t, func(*dns.Msg, string) [][]byte {
		<-block
		return nil
	})
	for range 5 {
		r := newResolver(t, u)
		stream, packets := listen(t)
		w := &world{guests: &guests{patterns: []string{"*"}}, addr: stream.Addr().String()}
		w.server = Serve(ServerConfig{Packets: packets, Stream: stream, Resolver: r, Guests: w.guests})
		w.dial(t, "tcp", "127.0.0.1") // One that is idle.
		for i := range 10 {
			send(t, w.dial(t, "udp", "127.0.0.1"), query(fmt.Sprintf("u%d.example.com", i), dns.TypeA, 0))
			<-u.more
		}
		for i := range 5 {
			send(t, w.dial(t, "tcp", "127.0.0.1"), query(fmt.Sprintf("t%d.example.com", i), dns.TypeA, 0))
			<-u.more
		}
		if err := w.server.Close(); err != nil {
			t.Error(err)
		}
		r.Close()
		if w.server.queries.total+w.server.streams.total != 0 {
			t.Errorf("%d queries and %d streams are left", w.server.queries.total, w.server.streams.total)
		}
	}
	waitForGoroutines(t)
}
