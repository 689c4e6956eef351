package gateway

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// open makes a connection of a guest to a host of a raw server, over TLS or HTTP, which is in use.
func (w *world) open(t *testing.T, from, host string, s *rawServer, overTLS bool) (guest, server *net.TCPConn) {
	t.Helper()
	first := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	if overTLS {
		first = string(helloFor(t, tlsFor(host)))
	}
	guest = w.dialGuest(from)
	_, _ = io.WriteString(guest, first)
	server = s.accept()
	wantRead(t, server, first)
	return guest, server
}

// wantAlive shows that a connection of open goes on: the server answers.
func wantAlive(t *testing.T, guest, server *net.TCPConn) {
	t.Helper()
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA"
	_, _ = io.WriteString(server, answer)
	wantRead(t, guest, answer)
}

func TestRecheckCutsWhatIsNotAllowedAnyMore(t *testing.T) {
	w := newWorld(t, 80)
	s := newRawServer(t)
	w.host("a.example", s.addr)
	w.host("b.example", s.addr)
	type pair struct{ guest, server *net.TCPConn }
	var cut, kept []pair
	for _, overTLS := range []bool{true, false} {
		for host, list := range map[string]*[]pair{"a.example": &cut, "b.example": &kept} {
			guest, server := w.open(t, "127.0.0.1", host, s, overTLS)
			*list = append(*list, pair{guest, server})
		}
		// That of another guest is not looked at.
		guest, server := w.open(t, "127.0.0.2", "a.example", s, overTLS)
		kept = append(kept, pair{guest, server})
	}
	// One between two requests, whose last was allowed when it came.
	guest, server := w.open(t, "127.0.0.1", "a.example", s, false)
	wantAlive(t, guest, server)
	cut = append(cut, pair{guest, server})
	// One that was asked for the other host first.
	guest, before := w.open(t, "127.0.0.1", "a.example", s, false)
	wantAlive(t, guest, before)
	_, _ = io.WriteString(guest, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")
	server = s.accept()
	wantRead(t, server, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")
	wantEnd(t, before)
	kept = append(kept, pair{guest, server})
	// One that has not said what it wants, and a WebSocket.
	undecided := w.guest()
	_, _ = io.WriteString(undecided, "GET / HTTP/1.1\r\nHost: b.exam")
	guest = w.send(upgrade)
	server = s.accept()
	wantRead(t, server, upgrade)
	_, _ = io.WriteString(server, switched)
	wantRead(t, guest, switched)
	cut = append(cut, pair{guest, server})

	w.forbid("a.example")
	w.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
	w.gw.Recheck(netip.MustParseAddr("127.0.0.9")) // It has none.
	for i, p := range cut {
		if got := wantReset(t, p.guest); got != "" {
			t.Errorf("%d: %q", i, got)
		}
		wantGone(t, p.server)
	}
	for _, p := range kept {
		wantAlive(t, p.guest, p.server)
	}
	_, _ = io.WriteString(undecided, "ple\r\n\r\n")
	server = s.accept()
	wantRead(t, server, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")
	wantAlive(t, undecided, server)
	w.wantRefused()
	w.gw.Recheck(netip.MustParseAddr("127.0.0.2"))
	for _, p := range kept {
		if p.guest.LocalAddr().(*net.TCPAddr).IP.String() == "127.0.0.2" {
			wantReset(t, p.guest)
		} else {
			p.guest.Close()
		}
	}
}

// A policy that changes while a connection is being checked is seen by the check or by Recheck.
func TestAChangeDuringADialCutsTheConnection(t *testing.T) {
	hello := string(helloFor(t, tlsFor("example.com")))
	for _, first := range []string{hello, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"} {
		p := newPiped(t)
		guest := p.connect()
		go func() { _, _ = io.WriteString(guest, first) }()
		<-p.dialed // It hangs.
		p.gw.Recheck(netip.MustParseAddr("10.200.0.2"))
		select {
		case <-p.cancelled:
			t.Fatal("the dial of an allowed host was ended")
		default:
		}
		p.forbid("example.com")
		p.gw.Recheck(netip.MustParseAddr("10.200.0.2"))
		if got, err := io.ReadAll(guest); len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
		<-p.cancelled
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := newRawServer(t)
	before := runtime.NumGoroutine()
	w := newWorld(t, 80)
	w.host("a.example", s.addr)
	var guests, servers []*net.TCPConn
	for range 3 {
		for _, overTLS := range []bool{true, false} {
			guest, server := w.open(t, "127.0.0.1", "a.example", s, overTLS)
			guests, servers = append(guests, guest), append(servers, server)
		}
		guest, server := w.open(t, "127.0.0.1", "a.example", s, false)
		wantAlive(t, guest, server) // Between two requests.
		guests, servers = append(guests, guest), append(servers, server)
		guest = w.send(upgrade)
		server = s.accept()
		wantRead(t, server, upgrade)
		_, _ = io.WriteString(server, switched)
		wantRead(t, guest, switched)
		guests, servers = append(guests, guest), append(servers, server)
		guest, server = w.open(t, "127.0.0.1", "a.example", s, false)
		_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nA") // And no more.
		wantRead(t, guest, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nA")
		guests, servers = append(guests, guest), append(servers, server)
		for _, first := range []string{"", "G", "GET / HTTP/1.1\r\nHost: ", "\x16\x03"} {
			guests = append(guests, w.send(first))
		}
	}
	w.untilTotal(len(guests))
	w.gw.Close()
	w.gw.Close() // Again.
	for i, guest := range guests {
		if got := wantReset(t, guest); got != "" {
			t.Errorf("%d: %q", i, got)
		}
	}
	for _, server := range servers {
		wantGone(t, server)
	}
	if c, err := net.Dial("tcp", w.addr); err == nil {
		c.Close()
		t.Error("the listener is open")
	}
	for end := time.Now().Add(bound); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// Close waits for a dial, even for one that a request has given up.
func TestCloseWaitsForDials(t *testing.T) {
	p := newPiped(t)
	for _, first := range []string{string(helloFor(t, tlsFor("example.com"))), "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"} {
		guest := p.connect()
		go func() { _, _ = io.WriteString(guest, first) }()
		<-p.dialed
	}
	p.gw.Close()
	if n := len(p.cancelled); n != 2 {
		t.Errorf("%d of 2 dials have ended", n)
	}
}

// All that a guest has goes with it, also what is allowed, and what has not said what it wants.
func TestForgetCutsAllOfAGuest(t *testing.T) {
	w := newWorld(t, 80)
	s := newRawServer(t)
	w.host("a.example", s.addr)
	guest, server := w.open(t, "127.0.0.1", "a.example", s, true)
	other, otherServer := w.open(t, "127.0.0.2", "a.example", s, true)
	undecided := w.guest()
	_, _ = io.WriteString(undecided, "GET / HTTP/1.1\r\nHost: a.exam")
	for deadline := time.Now().Add(time.Minute); len(w.gw.of(netip.MustParseAddr("127.0.0.1"))) < 2; {
		if time.Now().After(deadline) {
			t.Fatal("the connection is not accepted")
		}
	}
	w.gw.Forget(netip.MustParseAddr("127.0.0.1"))
	for _, c := range []*net.TCPConn{guest, undecided} {
		if got := wantReset(t, c); got != "" {
			t.Errorf("%q", got)
		}
	}
	_, _ = io.ReadAll(server) // It ends.
	wantAlive(t, other, otherServer)
}
