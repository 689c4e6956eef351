package conns

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// HTTP/2 is recognized by its preface, in however many pieces, and not counted. What only
// begins like it is HTTP/1: net/http takes PRI for a method, and reads a header.
func TestHTTP2IsNotReadAsAHeader(t *testing.T) {
	for name, c := range map[string]struct {
		pieces []string
		held   bool
	}{
		"HTTP/1":               {[]string{"POST / HTTP/1.1\r\n"}, true},
		"HTTP/2":               {[]string{http2Preface}, false},
		"HTTP/2, and more":     {[]string{http2Preface + "\x00\x00\x00\x04\x00"}, false},
		"HTTP/2, in pieces":    {[]string{"P", "R", "I * ", http2Preface[6:20], http2Preface[20:]}, false},
		"HTTP/1, in pieces":    {[]string{"P", "RO", "PFIND / HTTP/1.1\r\n"}, true},
		"HTTP/1, in letters":   {[]string{"P", "R", "X"}, true},
		"the method PRI":       {[]string{"PRI / HTTP/1.1\r\n"}, true},
		"the request line":     {[]string{"PRI * HTTP/2.0\r\n", "A: b\r\n"}, true},
		"half of the preface":  {[]string{http2Preface[:20]}, true},
		"another after it all": {[]string{"PRI * HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\n"}, true},
	} {
		conn := &readingConn{budget: quota.NewBudget(1<<20, 1<<20), on: true}
		for _, piece := range append(c.pieces, strings.Repeat("x", 10000)) {
			if !conn.count([]byte(piece)) {
				t.Errorf("%s: refused", name)
			}
		}
		if held := conn.held > 0; held != c.held {
			t.Errorf("%s: counted %v", name, held)
		}
	}
}

// A byte of HTTP/2 counts for a whole field, and all bytes for no more than a header
// of HTTP/2 can have.
func TestHalfAHeaderOfHTTP2CountsForNoMoreThanAWholeOne(t *testing.T) {
	conn := &readingConn{budget: quota.NewBudget(1<<30, 1<<30), on: true}
	defer conn.release()
	const frameSize = 16 << 10
	frame := "\x00\x40\x00" + string([]byte{frameContinuation}) + strings.Repeat("\x00", 5+frameSize)
	for _, piece := range []string{http2Preface, frame, frame} {
		if !conn.count([]byte(piece)) {
			t.Fatal("refused")
		}
	}
	if want := int64(380 << 10); conn.held != want { // 3 times 128 KiB, less 4 KiB.
		t.Errorf("%d bytes are held, want %d", conn.held, want)
	}
}

// accepted is a listener that accepts what is put into it.
type accepted chan net.Conn

func (a accepted) Accept() (net.Conn, error) { return <-a, nil }
func (accepted) Close() error                { return nil }
func (accepted) Addr() net.Addr              { return nil }

// remote is a connection from an address.
type remote struct {
	net.Conn
	from string
}

func (r remote) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(r.from))
}

func TestHeadersBeingReadAreBoundedByAddress(t *testing.T) {
	table := New(1)
	table.Reading = quota.NewBudget(1<<20, 50<<10)
	ln := make(accepted, 1)
	large := []byte(strings.Repeat("a", 40<<10))
	for _, step := range []struct {
		from string
		ok   bool
	}{
		{"192.0.2.1:1", true}, {"192.0.2.1:2", false}, {"192.0.2.2:1", true},
		{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", false}, {"[2001:db8:0:1::1]:1", true},
	} {
		ln <- remote{from: step.from}
		c, err := table.Listener(ln, nil).Accept()
		if err != nil {
			t.Fatal(err)
		}
		if ok := c.(*readingConn).count(large); ok != step.ok {
			t.Errorf("a large header from %s: %v", step.from, ok)
		}
	}
}

// Bytes are counted if that is wanted, for the connection of a request.
func TestBytesOfConnectionsAreCounted(t *testing.T) {
	for _, counting := range []bool{false, true} {
		table := New(10)
		table.Counting = counting
		near, far := net.Pipe()
		ln := make(accepted, 1)
		ln <- remote{near, "1.1.1.1:1"}
		conn, err := table.Listener(ln, nil).Accept()
		if err != nil {
			t.Fatal(err)
		}
		ctx := table.Enter(t.Context(), conn)
		go func() {
			_, _ = far.Write([]byte("hello"))
			_, _ = io.ReadFull(far, make([]byte, 3))
		}()
		if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		in, out := table.Passed(ctx)
		if want := map[bool][2]int64{true: {5, 3}}[counting]; [2]int64{in, out} != want {
			t.Errorf("counting %v: %d and %d", counting, in, out)
		}
		if in, out := table.Passed(t.Context()); in != 0 || out != 0 {
			t.Errorf("without a connection: %d and %d", in, out)
		}
		conn.Close()
		far.Close()
	}
}
