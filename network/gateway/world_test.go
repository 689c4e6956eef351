package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/hostname"
)

// site is where every guest wants to connect to in tests, on the port of its world.
var site = netip.MustParseAddr("203.0.113.9")

// world is a gateway, its guests' policy, and the servers that hosts have.
type world struct {
	t    testing.TB
	gw   *Gateway
	addr string
	port uint16

	mu      sync.Mutex
	allowed map[string]bool
	reached map[netip.Addr]bool
	headers map[string]map[string]string // By host.
	servers map[string]string            // The address of each host.
	sites   map[netip.Addr]string        // The address of what is at an address.
	dials   []string
	refused []string
	errs    []error
	dialing func(context.Context) // Called before something is dialed, if it is there.
	way     string                // How connections go.
	said    func()                // Called when that was said next.
	went    []any                 // How each was dialed.
	names   map[netip.Addr][]string
	passes  bool // What reaches its address is not looked at.
}

// host gives a host a server, and allows it.
func (w *world) host(name, addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed[name], w.servers[name] = true, addr
}

// forbid changes the policy.
func (w *world) forbid(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.allowed, name)
}

// wantRefused compares what was reported as refused by policy since the last call, and wantDials the hosts that were dialed.
func (w *world) wantRefused(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.refused, want) {
		w.t.Errorf("refused: %q, want %q", w.refused, want)
	}
	w.refused = nil
}

func (w *world) wantDials(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.dials, want) {
		w.t.Errorf("dialed: %q, want %q", w.dials, want)
	}
	w.dials = nil
}

// config is that of a world with a listener.
func (w *world) config(ln net.Listener) Config {
	return Config{
		Listener: ln, Guests: w, Ports: []uint16{80, 443, 8443}, OnError: func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errs = append(w.errs, err)
		},
		Original: func(net.Conn) (netip.AddrPort, error) { return netip.AddrPortFrom(site, w.port), nil },
	}
}

// newWorld has a gateway that gets connections to the port.
func newWorld(t *testing.T, port uint16) *world { return boundedWorld(t, port, OfGuest, InAll) }

func boundedWorld(t *testing.T, port uint16, ofGuest, inAll int) *world {
	t.Helper()
	w := &world{t: t, port: port, allowed: map[string]bool{}, reached: map[netip.Addr]bool{}, headers: map[string]map[string]string{}, servers: map[string]string{}, sites: map[netip.Addr]string{}}
	ln := listen(t)
	w.addr = ln.Addr().String()
	w.gw = serve(w.config(ln), ofGuest, inAll)
	t.Cleanup(func() {
		w.gw.Close()
		if len(w.gw.shares) != 0 || w.gw.total != 0 {
			t.Errorf("%d connections of %d guests are counted at the end", w.gw.total, len(w.gw.shares))
		}
		for _, err := range w.errs {
			t.Errorf("reported: %v", err)
		}
	})
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// bound is after which a test that hangs fails.
const bound = time.Minute

// dialGuest is a connection of a guest, which has the address.
func (w *world) dialGuest(from string) *net.TCPConn {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(bound))
	return c.(*net.TCPConn)
}

func (w *world) guest() *net.TCPConn { w.t.Helper(); return w.dialGuest("127.0.0.1") }

// send makes a new connection of a guest that sends text.
func (w *world) send(text string) *net.TCPConn {
	w.t.Helper()
	c := w.guest()
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// wantReset reads until the connection is broken off, and returns what came before.
func wantReset(t testing.TB, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v after %q, not with a reset", err, got)
	}
	return string(got)
}

// wantAnswer reads an answer of HTTP with a body.
func wantAnswer(t testing.TB, r *bufio.Reader, body string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body {
		t.Fatalf("the body is %q, %v, want %q", got, err, body)
	}
	return resp
}

// rawServer hands out what connects to it.
type rawServer struct {
	t     testing.TB
	addr  string
	conns chan *net.TCPConn
}

func newRawServer(t testing.TB) *rawServer {
	t.Helper()
	ln := listen(t)
	s := &rawServer{t, ln.Addr().String(), make(chan *net.TCPConn, 10)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns <- c.(*net.TCPConn)
		}
	}()
	return s
}

// accept returns the next connection.
func (s *rawServer) accept() *net.TCPConn {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(bound))
		return c
	case <-time.After(bound):
		s.t.Fatal("no connection came")
		return nil
	}
}

// wantRead reads exactly the text.
func wantRead(t testing.TB, r io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, []byte(text)) {
		t.Fatalf("read %q, %v, want %q", got[:n], err, text)
	}
}

// wantGone reads until the other end has ended in whatever way, and returns what came before.
func wantGone(t testing.TB, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection is open: %v after %q", err, got)
	}
	return string(got)
}

// wantEnd reads a regular end.
func wantEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || len(got) > 0 {
		t.Fatalf("read %q, %v, want a regular end", got, err)
	}
}

// named is a server of HTTP which answers with its name, and keeps the requests it gets.
type named struct {
	addr string
	mu   sync.Mutex
	got  []string
}

func newNamed(t testing.TB, name string) *named {
	t.Helper()
	n := &named{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n.mu.Lock()
		n.got = append(n.got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.RequestURI, r.Host, body)))
		n.mu.Unlock()
		_, _ = io.WriteString(w, name)
	}))
	srv.Config.DisableGeneralOptionsHandler = true
	srv.Start()
	t.Cleanup(srv.Close)
	n.addr = srv.Listener.Addr().String()
	return n
}

// want compares the requests that came since the last call.
func (n *named) want(t *testing.T, want ...string) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.got, want) {
		t.Errorf("the server got %q, want %q", n.got, want)
	}
	n.got = nil
}

// newNamedHandler starts a server, and returns its address.
func newNamedHandler(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(handle)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv.Listener.Addr().String()
}

// canonical is host as policies have it, or "".
func canonical(host string) string {
	name, _ := hostname.Canonical(host)
	return name
}
