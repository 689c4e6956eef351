package e2b

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// Half a header is counted while it is read, and until it is whole or given up.
func TestRequestHeadersBeingReadAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{}, &fakeruntime.Runtime{}, &MemoryKeys{})
		s.reading = quota.NewBudget(100<<10, 50<<10)
		ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, ln) }()
		dial := func() net.Conn {
			ours, theirs := net.Pipe()
			ln.conns <- theirs
			return ours
		}
		const begin = "GET /health HTTP/1.1\r\nHost: x\r\n"
		large := begin + "X: " + strings.Repeat("a", 40<<10) + "\r\n"
		half := dial()
		if _, err := io.WriteString(half, large); err != nil {
			t.Fatal(err)
		}
		second := dial()
		if _, err := io.WriteString(second, large); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("another large one: %v", err)
		}
		fields := dial()
		if _, err := io.WriteString(fields, begin+strings.Repeat("a:\r\n", 4000)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("many short fields: %v", err)
		}
		get := func(c net.Conn, request string) {
			t.Helper()
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			_, _ = io.ReadAll(resp.Body)
		}
		ordinary := dial()
		for range 100 {
			get(ordinary, begin+strings.Repeat("A: b\r\n", 20)+"\r\n")
		}
		get(half, "\r\n") // It is whole.
		synctest.Wait()
		if s.reading.Used() != 0 {
			t.Errorf("%d bytes are held behind a whole header", s.reading.Used())
		}
		posting := dial()
		if _, err := io.WriteString(posting, "POST"+strings.TrimPrefix(large, "GET")+"Content-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.reading.Used() != 0 {
			t.Errorf("%d bytes are held while a body is sent", s.reading.Used())
		}
		get(ordinary, large+"\r\n")
		if _, err := io.WriteString(ordinary, large); err != nil { // The next, on the same connection.
			t.Fatal(err)
		}
		synctest.Wait()
		if s.reading.Used() == 0 {
			t.Error("the next header of a connection is not counted")
		}
		for _, c := range []net.Conn{half, posting, ordinary} {
			c.Close()
		}
		synctest.Wait()
		if s.reading.Used() != 0 {
			t.Errorf("%d bytes are held in the end", s.reading.Used())
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

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

// remote is a connection from an address.
type remote struct {
	net.Conn
	from string
}

func (r remote) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(r.from))
}

func TestHeadersBeingReadAreBoundedByAddress(t *testing.T) {
	budget := quota.NewBudget(1<<20, 50<<10)
	ln := &pipes{conns: make(chan net.Conn, 1)}
	large := []byte(strings.Repeat("a", 40<<10))
	for _, step := range []struct {
		from string
		ok   bool
	}{
		{"192.0.2.1:1", true}, {"192.0.2.1:2", false}, {"192.0.2.2:1", true},
		{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", false}, {"[2001:db8:0:1::1]:1", true},
	} {
		ln.conns <- remote{from: step.from}
		c, err := readingListener{ln, budget}.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if ok := c.(*readingConn).count(large); ok != step.ok {
			t.Errorf("a large header from %s: %v", step.from, ok)
		}
	}
}
