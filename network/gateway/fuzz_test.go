package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is the connection of a guest that sends bytes and then closes its side.
type scripted struct {
	net.Conn // Not used.
	in       *bytes.Reader
	once     sync.Once
	ended    chan struct{}
}

func newScripted(b []byte) *scripted {
	return &scripted{in: bytes.NewReader(b), ended: make(chan struct{})}
}

func (s *scripted) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (s *scripted) Close() error                     { s.once.Do(func() { close(s.ended) }); return nil }
func (s *scripted) RemoteAddr() net.Addr             { return addressed{}.RemoteAddr() }
func (s *scripted) LocalAddr() net.Addr              { return addressed{}.RemoteAddr() }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// What is passed on has the name that was read, and is what the guest has sent.
func FuzzHello(f *testing.F) {
	f.Add(helloFor(f, tlsFor("example.com")))
	f.Add(helloFor(f, &tls.Config{ServerName: "a.b", MaxVersion: tls.VersionTLS12}))
	f.Add([]byte{handshake, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Add([]byte{handshake, 3, 1, 0, 1, 1, handshake, 3, 1, 0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		counted := 0
		hello, read, err := readHello(newScripted(b), func(n int) error { counted += n; return nil })
		if !bytes.HasPrefix(b, read) || len(read) != counted || len(read) > mostHello+32<<10 {
			t.Fatalf("%d bytes, %d are counted", len(read), counted)
		}
		if err != nil {
			return
		}
		again, _, err := readHello(newScripted(read), func(int) error { return nil })
		if again.name != hello.name || err != nil {
			t.Errorf("what is passed on has the name %q (%v), not %q", again.name, err, hello.name)
		}
	})
}

// strict is a policy that allows one host, whose server must get requests for it only.
type strict struct {
	t       *testing.T
	servers sync.WaitGroup
}

// Dial returns a connection to a server that answers what it can read.
func (s *strict) Dial(_ context.Context, _ netip.Addr, _ any, host string, port uint16) (net.Conn, netip.Addr, error) {
	if host != "a.example" || port != 80 {
		s.t.Errorf("%s:%d is dialed", host, port)
	}
	near, far := net.Pipe()
	s.servers.Go(func() {
		defer far.Close()
		r := bufio.NewReader(far)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if name, _, _ := strings.Cut(req.Host, ":"); canonical(name) != "a.example" || req.Method == "CONNECT" {
				s.t.Errorf("the server gets %s %s for %s", req.Method, req.RequestURI, req.Host)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	})
	return near, netip.Addr{}, nil
}

func (s *strict) Rewrites(netip.Addr) bool { return false }

func (s *strict) NamesOf(netip.Addr, netip.AddrPort) []string { return nil }

func (s *strict) Way(netip.Addr) any { return "" }

func (s *strict) Allowed(_ netip.Addr, host string, _ uint16) bool {
	if host != canonical(host) || host == "" {
		s.t.Errorf("the policy is asked about %q", host)
	}
	return host == "a.example"
}

func (s *strict) Reaches(netip.Addr, netip.AddrPort) bool { return false }

func (s *strict) Headers(netip.Addr, string) map[string]string { return nil }

func (s *strict) DialAddr(context.Context, netip.Addr, any, netip.AddrPort) (net.Conn, error) {
	panic("no address is reached")
}

func (s *strict) Refused(_ netip.Addr, host string, _ netip.AddrPort) {
	if host != canonical(host) {
		s.t.Errorf("%q is reported", host)
	}
}

// FuzzRequests sends bytes as the requests of a guest, and reads them where they arrive.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
		"POST http://a.example/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
		"POST / HTTP/1.0\r\nHost: a.example\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nabcdOPTIONS * HTTP/1.1\r\nHost: A.example.:80\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.example\r\nX: a\r\n b\r\nConnection: x, host\r\nExpect: 100-continue\r\n\r\n",
		upgrade, "CONNECT a.example:80 HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || b[0] == handshake {
			return
		}
		conns := make(chan net.Conn)
		p := &piped{conns: conns, closed: make(chan struct{}), world: &world{t: t, port: 80}}
		c := p.config(p)
		c.OnError = func(err error) { t.Error(err) }
		s := &strict{t: t}
		c.Guests = s
		g := Serve(c)
		guest := newScripted(b)
		conns <- guest
		<-guest.ended
		g.Close()
		s.servers.Wait()
	})
}
