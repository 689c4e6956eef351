package gateway

import (
	"bufio"
	"context"
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
	w.dialing = func(context.Context) { w.change(func() { w.way = "two" }) }
	guest := w.send(string(helloFor(t, tlsFor("a.example"))))
	wantReset(t, guest)
	w.wantRefused()
}

// A change ends what is being dialed, and that is dialed the way that is noted, also if the change is taken back at once.
func TestAChangeEndsADial(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]struct {
		port         uint16
		change, back func(w *world)
	}{
		"the way to a host":     {443, func(w *world) { w.way = "two" }, func(w *world) { w.way = "one" }},
		"the host":              {443, func(w *world) { clear(w.allowed) }, func(w *world) { w.allowed["a.example"] = true }},
		"the way to an address": {5432, func(w *world) { w.way = "two" }, func(w *world) { w.way = "one" }},
		"the address":           {5432, func(w *world) { clear(w.allowed) }, func(w *world) { w.allowed["a.example"] = true }},
	} {
		w := newWorld(t, c.port)
		server := newRawServer(t)
		w.host("a.example", server.addr)
		w.change(func() {
			w.sites[site], w.way, w.names = server.addr, "one", map[netip.Addr][]string{site: {"a.example"}}
		})
		there := make(chan struct{})
		dialing := func(ctx context.Context) {
			<-there
			w.change(func() { c.change(w) })
			w.gw.Recheck(local)
			if ctx.Err() == nil {
				t.Errorf("%s: the dial goes on", name)
			}
			w.change(func() { c.back(w) })
			w.gw.Recheck(local)
		}
		w.change(func() { w.dialing = dialing })
		guest := w.guest()
		close(there)
		if c.port == 443 {
			_, _ = guest.Write(helloFor(t, tlsFor("a.example")))
		}
		wantReset(t, guest)
		w.change(func() {
			if len(w.went) != 1 || w.went[0] != "one" {
				t.Errorf("%s: it was dialed by %q", name, w.went)
			}
		})
	}
}

// Nothing is dialed after a change that comes before the dial is noted.
func TestAChangeBeforeADial(t *testing.T) {
	for _, port := range []uint16{443, 5432} {
		for name, change := range map[string]func(w *world){
			"the way":     func(w *world) { w.way = "two" },
			"the address": func(w *world) { clear(w.allowed) },
		} {
			if port == 443 && name != "the way" {
				continue // A host is noted before.
			}
			w := newWorld(t, port)
			server := newRawServer(t)
			w.host("a.example", server.addr)
			w.change(func() {
				w.sites[site], w.way, w.names = server.addr, "one", map[netip.Addr][]string{site: {"a.example"}}
			})
			there := make(chan struct{})
			said := func() {
				<-there
				w.change(func() { change(w) })
				w.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
			}
			w.change(func() { w.said = said })
			guest := w.guest()
			close(there)
			if port == 443 {
				_, _ = guest.Write(helloFor(t, tlsFor("a.example")))
			}
			wantReset(t, guest)
			w.wantDials()
		}
	}
}

// All connections to hosts for one of a guest go the same way, so that the Recheck after a change sees all.
func TestASecondDialDoesNotGoAnotherWay(t *testing.T) {
	w := newWorld(t, 80)
	w.change(func() { w.way = "one" })
	for _, name := range []string{"a.example", "b.example"} {
		w.host(name, newNamed(t, name).addr)
	}
	guest := w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	wantAnswer(t, bufio.NewReader(guest), "a.example")
	w.change(func() { w.way = "two" }) // And the Recheck is late.
	if _, err := io.WriteString(guest, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	wantReset(t, guest)
	w.wantDials("a.example:80")
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
