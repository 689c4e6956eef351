package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// piped is a world without a network, for tests with the time of synctest. A dial hangs until its context ends, but
// for the first if there is a connection for it.
type piped struct {
	*world
	dial      net.Conn
	last      addressed
	conns     chan net.Conn
	dialed    chan string
	cancelled chan struct{} // Has one for each dial that was ended.
	ended     sync.Once
	closed    chan struct{}
}

func newPiped(t *testing.T) *piped {
	p := &piped{conns: make(chan net.Conn), dialed: make(chan string, 9), cancelled: make(chan struct{}, 9), closed: make(chan struct{})}
	p.world = &world{t: t, port: 443, allowed: map[string]bool{"example.com": true}}
	c := p.config(p)
	c.Guests = p
	p.gw = Serve(c)
	t.Cleanup(p.gw.Close)
	return p
}

func (p *piped) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *piped) Addr() net.Addr { return &net.TCPAddr{} }

func (p *piped) Close() error {
	p.ended.Do(func() { close(p.closed) })
	return nil
}

func (p *piped) Dial(ctx context.Context, _ netip.Addr, _ any, host string, _ uint16) (net.Conn, netip.Addr, error) {
	p.dialed <- host
	if c := p.dial; c != nil {
		p.dial = nil
		return c, netip.Addr{}, nil
	}
	<-ctx.Done()
	p.cancelled <- struct{}{}
	return nil, netip.Addr{}, ctx.Err()
}

// DialAddr returns the connection that there is.
func (p *piped) DialAddr(_ context.Context, _ netip.Addr, _ any, to netip.AddrPort) (net.Conn, error) {
	p.dialed <- to.String()
	return p.dial, nil
}

// addressed is a pipe with the address of a guest, which notes whether it is closed as one that breaks off.
type addressed struct {
	net.Conn
	ending, broken *atomic.Bool
}

func (a addressed) SetLinger(int) error {
	a.broken.Store(a.broken.Load() || !a.ending.Load())
	return nil
}

func (a addressed) Close() error {
	a.ending.Store(true)
	return a.Conn.Close()
}

// wasBroken is about the last connection.
func (p *piped) wasBroken() bool { return p.last.broken.Load() }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 200, 0, 2), Port: 9} }

func (p *piped) connect() net.Conn {
	guest, near := net.Pipe()
	p.t.Cleanup(func() { guest.Close() })
	p.last = addressed{near, new(atomic.Bool), new(atomic.Bool)}
	p.conns <- p.last
	return guest
}

// life is how long a connection lives that sends the bytes and no more.
func (p *piped) life(t *testing.T, b []byte) time.Duration {
	t.Helper()
	guest, begin := p.connect(), time.Now()
	if _, err := guest.Write(b); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(guest); len(got) > 0 || err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%q, %v", got, err)
	}
	if !p.wasBroken() {
		t.Errorf("%.20q: the connection is not broken off", b)
	}
	return time.Since(begin)
}

func TestHalfARequestIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, request := range []string{"G", "GET / HTTP/1.1\r\nHost: example.com\r\nX: ", "GET / HTTP/1.1\r\nHost: example.com\r\n"} {
			p := newPiped(t)
			if life := p.life(t, []byte(request)); life != headTime {
				t.Errorf("%q: the connection ends after %v", request, life)
			}
			p.wantRefused()
		}
		// A byte every second makes no difference.
		p := newPiped(t)
		guest, begin := p.connect(), time.Now()
		for {
			if _, err := guest.Write([]byte("X")); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if life := time.Since(begin); life < headTime || life > headTime+time.Second {
			t.Errorf("a slow request: the connection ends after %v", life)
		}
		p.wantRefused()
	})
}

func TestADialIsNotWaitedForForever(t *testing.T) {
	hello := string(helloFor(t, tlsFor("example.com")))
	synctest.Test(t, func(t *testing.T) {
		for _, request := range []string{"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", hello} {
			p := newPiped(t)
			if life := p.life(t, []byte(request)); life != dialTime {
				t.Errorf("%.3q: the connection ends after %v", request, life)
			}
			if got := <-p.dialed; got != "example.com" {
				t.Errorf("%q was dialed", got)
			}
			p.wantRefused()
		}
	})
}

func TestAQuietTLSConnectionStays(t *testing.T) {
	hello := helloFor(t, tlsFor("example.com"))
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		near, host := net.Pipe()
		p.dial = near
		guest := p.connect()
		_, _ = guest.Write(hello)
		wantRead(t, host, string(hello))
		for range 3 {
			time.Sleep(24 * time.Hour)
			go func() { _, _ = io.WriteString(guest, "there") }()
			wantRead(t, host, "there")
			go func() { _, _ = io.WriteString(host, "and back") }()
			wantRead(t, guest, "and back")
		}
		host.Close()
	})
}

// A server that is reached anyway may speak first, or be sent what never becomes a request.
func TestAQuietGuestIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{"": quietTime, "G": headTime, "\x16\x03\x01": headTime} {
			p := newPiped(t)
			p.reached = map[netip.Addr]bool{site: true}
			near, host := net.Pipe()
			p.dial = near
			guest, begin := p.connect(), time.Now()
			if text != "" {
				_, _ = io.WriteString(guest, text)
			}
			if got := <-p.dialed; got != "203.0.113.9:443" || time.Since(begin) != want {
				t.Errorf("%q: %s is dialed after %v", text, got, time.Since(begin))
			}
			wantRead(t, host, text)
			go func() { _, _ = io.WriteString(host, "220 ready") }()
			wantRead(t, guest, "220 ready")
			p.wantRefused()
			host.Close()
		}
	})
}
