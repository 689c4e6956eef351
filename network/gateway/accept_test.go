package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestConnectionsOfAGuestAreBounded(t *testing.T) {
	w := boundedWorld(t, 80, 4, 1000)
	var mine []*net.TCPConn
	a := newNamed(t, "A")
	w.host("a.example", a.addr)
	const request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
	for range 4 {
		guest := w.send(request)
		wantAnswer(t, bufio.NewReader(guest), "A")
		mine = append(mine, guest)
	}
	w.wantNone("127.0.0.1")
	other := w.dialGuest("127.0.0.2")
	_, _ = io.WriteString(other, request)
	wantAnswer(t, bufio.NewReader(other), "A")
	// The others are not touched, and the place of one that ends is free.
	for _, guest := range mine {
		_, _ = io.WriteString(guest, request)
		wantAnswer(t, bufio.NewReader(guest), "A")
	}
	_, _ = io.WriteString(mine[0], "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
	wantEnd(t, afterAnswer(t, mine[0], "A"))
	w.untilTotal(4)
	guest := w.send(request)
	wantAnswer(t, bufio.NewReader(guest), "A")
	w.wantRefused()
}

// serves makes a connection that stays, and reports whether it is not reset.
func (w *world) serves(from string) bool {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", w.addr)
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(bound))
		if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Error(err)
	}
	return err == nil
}

func (w *world) wantNone(from string) {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", w.addr)
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(bound))
		wantReset(w.t, c)
		c.Close()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Error(err)
	}
}

func afterAnswer(t *testing.T, c net.Conn, body string) io.Reader {
	t.Helper()
	r := bufio.NewReader(c)
	wantAnswer(t, r, body)
	return r
}

// untilTotal waits until so many connections are counted: their goroutines end after the guests see the end.
func (w *world) untilTotal(n int) {
	w.t.Helper()
	for end := time.Now().Add(bound); ; runtime.Gosched() {
		w.gw.mu.Lock()
		total := w.gw.total
		w.gw.mu.Unlock()
		if total == n {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d connections are counted, want %d", total, n)
		}
	}
}

// However many guests take what they get, some is left for one more.
func TestConnectionsOfAllAreShared(t *testing.T) {
	w := boundedWorld(t, 80, 10, 20)
	a := newNamed(t, "A")
	w.host("a.example", a.addr)
	var shares []int
	for i := range 5 {
		n := 0
		for n < 20 && w.serves(fmt.Sprintf("127.0.1.%d", i+1)) {
			n++
		}
		shares = append(shares, n)
	}
	if want := []int{10, 5, 3, 1, 1}; !slices.Equal(shares, want) { // Of 20, 10, 5, 2 and 1 that are left.
		t.Errorf("five greedy guests, one after the other, have %v, want %v", shares, want)
	}
	w.wantRefused()
}

// A guest that sends large headers and does not end them takes a bounded part of the memory.
func TestLargeHeadersAreBounded(t *testing.T) {
	w := newWorld(t, 80)
	a := newNamed(t, "A")
	w.host("a.example", a.addr)
	tlsBegin := string([]byte{handshake, 3, 1, 0x40, 0}) + strings.Repeat("x", 2*usual)
	httpBegin := "GET / HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", 2*usual)
	first := make(chan int, largeOnes+1)
	var guests []*net.TCPConn
	for i := range largeOnes + 1 {
		guest := w.guest()
		guests = append(guests, guest)
		_, _ = io.WriteString(guest, []string{tlsBegin, httpBegin}[i%2])
		go func() {
			if _, err := guest.Read(make([]byte, 1)); errors.Is(err, syscall.ECONNRESET) {
				first <- i
			}
		}()
	}
	cut := <-first // One of them, and no other.
	other := w.dialGuest("127.0.0.2")
	_, _ = io.WriteString(other, httpBegin+"\r\n\r\n")
	wantAnswer(t, bufio.NewReader(other), "A")
	small := w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	wantAnswer(t, bufio.NewReader(small), "A")
	if n := w.large("127.0.0.1"); n != largeOnes {
		t.Errorf("%d connections are counted", n)
	}
	for i, guest := range guests {
		if i != cut {
			guest.Close()
		}
	}
	w.untilTotal(2)
	if n := w.large("127.0.0.1"); n != 0 {
		t.Errorf("%d are counted at the end", n)
	}
	// A large request counts until it is answered.
	for range 2 * largeOnes {
		wantAnswer(t, bufio.NewReader(w.send(httpBegin+"\r\n\r\n")), "A")
	}
	w.wantRefused()
}

func (w *world) large(guest string) int {
	w.gw.mu.Lock()
	defer w.gw.mu.Unlock()
	return w.gw.shares[netip.MustParseAddr(guest)].large
}

// broken is a listener that fails a few times.
type broken struct {
	net.Listener
	left atomic.Int32
}

func (b *broken) Accept() (net.Conn, error) {
	if b.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return b.Listener.Accept()
}

func TestAListenerWithoutFilesGoesOn(t *testing.T) {
	w := &world{t: t, port: 80, allowed: map[string]bool{}, servers: map[string]string{}}
	ln := &broken{Listener: listen(t)}
	ln.left.Store(3)
	w.addr = ln.Listener.Addr().String()
	w.gw = Serve(w.config(ln))
	a := newNamed(t, "A")
	w.host("a.example", a.addr)
	wantAnswer(t, bufio.NewReader(w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")), "A")
	w.gw.Close()
	if len(w.errs) != 3 || !errors.Is(w.errs[0], syscall.EMFILE) {
		t.Errorf("reported: %v", w.errs)
	}
}

func TestAConnectionThatWasNotRedirectedIsBrokenOff(t *testing.T) {
	w := &world{t: t}
	ln := listen(t)
	w.addr = ln.Addr().String()
	c := w.config(ln)
	c.Original = func(net.Conn) (netip.AddrPort, error) { return netip.AddrPort{}, syscall.ENOENT }
	w.gw = Serve(c)
	w.wantNone("127.0.0.1")
	w.gw.Close()
	if len(w.errs) != 1 || !errors.Is(w.errs[0], syscall.ENOENT) {
		t.Errorf("reported: %v", w.errs)
	}
}
