package gateway

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// change changes the world.
func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// wantRefusedAtOnce begins a connection that is reset before it has sent anything, perhaps before it knows that it is one.
func (w *world) wantRefusedAtOnce() {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("got %v, not a reset", err)
	}
	w.wantRefused("")
}

// On a port where nothing says the host, a server may speak first: nothing of the connection is waited for or looked at.
func TestOnOtherPortsTheAddressCounts(t *testing.T) {
	w := newWorld(t, 5432)
	server := newRawServer(t)
	w.sites[site] = server.addr
	greet := func() {
		t.Helper()
		guest := w.guest()
		far := server.accept()
		if _, err := io.WriteString(far, "hello, who are you"); err != nil {
			t.Fatal(err)
		}
		wantRead(t, guest, "hello, who are you")
		if _, err := io.WriteString(guest, "GET / HTTP/1.1\r\nHost: refused.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		wantRead(t, far, "GET / HTTP/1.1\r\nHost: refused.example\r\n\r\n")
		_ = guest.Close()
		wantEnd(t, far)
		w.wantDials("203.0.113.9:5432")
	}
	w.wantRefusedAtOnce()
	w.change(func() { w.names = map[netip.Addr][]string{site: {"a.example", "b.example"}} })
	w.wantRefusedAtOnce()
	w.change(func() { w.allowed["b.example"] = true })
	greet()
	w.change(func() { w.reached[site] = true; clear(w.allowed) })
	greet()
	w.wantRefused()
}

// What was reached by a name that the address had, or by its address, is cut when neither is allowed.
func TestRecheckOnOtherPorts(t *testing.T) {
	w := newWorld(t, 5432)
	server := newRawServer(t)
	w.sites[site] = server.addr
	w.names = map[netip.Addr][]string{site: {"a.example", "b.example"}}
	w.change(func() { w.allowed["a.example"], w.allowed["b.example"] = true, true })
	guest := w.guest()
	far := server.accept()
	goesOn := func() {
		t.Helper()
		w.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
		if _, err := io.WriteString(guest, "x"); err != nil {
			t.Fatal(err)
		}
		wantRead(t, far, "x")
	}
	goesOn()
	w.forbid("a.example")
	goesOn()
	w.change(func() { w.reached[site] = true; clear(w.allowed) })
	goesOn()
	w.change(func() { clear(w.reached) })
	w.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
	wantReset(t, guest)
}

// A connection that went another way is cut, and what begins meanwhile, too.
func TestAnotherWayCutsConnections(t *testing.T) {
	for _, port := range []uint16{443, 5432} {
		w := newWorld(t, port)
		server := newRawServer(t)
		w.sites[site], w.passes, w.way = server.addr, true, "one"
		w.change(func() { w.reached[site] = true })
		local := netip.MustParseAddr("127.0.0.1")
		guest := w.guest()
		server.accept()
		w.gw.Recheck(local)
		w.change(func() { w.way = "two" })
		w.gw.Recheck(local)
		wantReset(t, guest)

		guest = w.guest()
		far := server.accept()
		w.gw.Recheck(local)
		if _, err := io.WriteString(far, "x"); err != nil {
			t.Fatal(err)
		}
		wantRead(t, guest, "x") // It is not in the middle of its dial any more.
	}
	w := newWorld(t, 443)
	server := newRawServer(t)
	w.way = "one"
	w.host("a.example", server.addr)
	w.dialing = func() { w.change(func() { w.way = "two" }) }
	guest := w.send(string(helloFor(t, tlsFor("a.example"))))
	wantReset(t, guest)
	w.wantRefused()
}

// A connection that is reached by its address comes here for headers or for its way; without headers nothing is looked at.
func TestWhatGetsNoHeadersIsNotLookedAt(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.sites[site], w.passes = server.addr, true
	w.change(func() { w.reached[site] = true })
	guest := w.guest()
	far := server.accept() // The guest has said nothing.
	if _, err := io.WriteString(far, "220 ready"); err != nil {
		t.Fatal(err)
	}
	wantRead(t, guest, "220 ready")
}
