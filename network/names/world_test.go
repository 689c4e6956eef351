package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstream is a name server on loopback. It sends what answer returns, be it what it may.
type upstream struct {
	addr   netip.AddrPort
	answer func(query *dns.Msg, network string) [][]byte

	mu    sync.Mutex
	asked []string
	more  chan struct{} // Has a value for each question.
	wg    sync.WaitGroup
}

func newUpstream(t testing.TB, answer func(query *dns.Msg, network string) [][]byte) *upstream {
	t.Helper()
	u := &upstream{answer: answer, more: make(chan struct{}, 1<<16)}
	stream, packets := listen(t)
	u.addr = stream.Addr().(*net.TCPAddr).AddrPort()
	u.wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := packets.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			message := slices.Clone(buf[:max(n, 0)])
			u.wg.Go(func() { // Even if err is not nil: a message that is not one.
				for _, b := range u.reply(message, "udp") {
					_, _ = packets.WriteTo(b, from)
				}
			})
		}
	})
	u.wg.Go(func() {
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			u.wg.Go(func() {
				defer conn.Close()
				message, _ := readFramed(conn, dns.MaxMsgSize)
				for _, b := range u.reply(message, "tcp") {
					_ = writeFramed(conn, b)
				}
			})
		}
	})
	t.Cleanup(func() {
		stream.Close()
		packets.Close()
		u.wg.Wait()
	})
	return u
}

func (u *upstream) reply(message []byte, network string) [][]byte {
	query := new(dns.Msg)
	if query.Unpack(message) != nil || len(query.Question) != 1 {
		return nil
	}
	q := query.Question[0]
	u.mu.Lock()
	u.asked = append(u.asked, network+" "+q.Name+" "+dns.TypeToString[q.Qtype])
	u.mu.Unlock()
	u.more <- struct{}{}
	return u.answer(query, network)
}

// questions returns what was asked so far.
func (u *upstream) questions() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

// listen listens for TCP and UDP on one port of loopback. The caller closes both.
func listen(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return stream, packets
		}
		stream.Close() // The port is taken for UDP.
	}
	t.Fatal("no port")
	return nil, nil
}

// rrs parses records.
func rrs(lines ...string) (out []dns.RR) {
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		out = append(out, rr)
	}
	return out
}

// replyTo is a regular reply, packed.
func replyTo(query *dns.Msg, change func(*dns.Msg), answer ...dns.RR) []byte {
	m := new(dns.Msg).SetReply(query)
	m.Answer = answer
	if change != nil {
		change(m)
	}
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// always answers every question with these records.
func always(lines ...string) func(*dns.Msg, string) [][]byte {
	return func(query *dns.Msg, _ string) [][]byte { return [][]byte{replyTo(query, nil, rrs(lines...)...)} }
}

// each answers a question for addresses with one for the name itself, and others with nothing.
func each(addr string) func(*dns.Msg, string) [][]byte {
	return func(query *dns.Msg, _ string) [][]byte {
		var answer []dns.RR
		if q := query.Question[0]; q.Qtype == dns.TypeA {
			answer = rrs(q.Name + " 60 IN A " + addr)
		}
		return [][]byte{replyTo(query, nil, answer...)}
	}
}

// public is a Usable.
func public(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.IsPrivate() }

// newResolver returns a Resolver of some servers, with much time for a try, and closes it.
func newResolver(t testing.TB, servers ...*upstream) *Resolver {
	t.Helper()
	cfg := Config{Usable: public, Try: time.Minute}
	for _, u := range servers {
		cfg.Servers = append(cfg.Servers, u.addr)
	}
	r := New(cfg)
	t.Cleanup(func() {
		r.Close()
		if n := len(r.calls); n != 0 {
			t.Errorf("%d calls are left", n)
		}
	})
	return r
}

// lookup returns the addresses of a name as text.
func lookup(t testing.TB, r *Resolver, name string) (string, error) {
	t.Helper()
	got, err := r.Lookup(t.Context(), netip.Addr{}, name)
	return text(got.Addrs), err
}

func text(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// piped returns a Dial whose connections end at serve, in memory and so in a bubble of synctest.
func piped(wg *sync.WaitGroup, serve func(conn net.Conn, server netip.AddrPort)) func(context.Context, netip.Addr, string, netip.AddrPort) (net.Conn, error) {
	return func(_ context.Context, _ netip.Addr, _ string, server netip.AddrPort) (net.Conn, error) {
		ours, theirs := net.Pipe()
		wg.Go(func() {
			defer theirs.Close()
			serve(theirs, server)
		})
		return ours, nil
	}
}

// waitForGoroutines waits until no goroutine is in the code of this package that is not a test.
func waitForGoroutines(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		buf := make([]byte, 1<<20)
		left := ""
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "names.(*Server)") || strings.Contains(stack, "names.(*Resolver)") {
				left = stack
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a goroutine is left:\n%s", left)
		}
		runtime.Gosched()
	}
}
