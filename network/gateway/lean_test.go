package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
)

// pair returns both ends of a connection of TCP.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	s := newRawServer(t)
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn), s.accept()
}

func TestALeanConnectionIsCopiedWhole(t *testing.T) {
	for name, make := range map[string]func() (net.Conn, net.Conn){
		"TCP":  func() (net.Conn, net.Conn) { near, far := pair(t); return near, far },
		"pipe": net.Pipe,
	} {
		near, far := make()
		data := strings.Repeat("0123456789", 50_000)
		go func() {
			_, _ = io.WriteString(far, data)
			far.Close()
		}()
		l := &lean{Conn: near, first: []byte("first")}
		var got bytes.Buffer
		if n, err := io.Copy(&got, l); err != nil || n != int64(got.Len()) || got.String() != "first"+data {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestALeanConnectionReportsHowItEnds(t *testing.T) {
	near, far := pair(t)
	_ = far.SetLinger(0)
	far.Close()
	if _, err := io.Copy(io.Discard, &lean{Conn: near}); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset: %v", err)
	}
	near, far = pair(t)
	go func() { _, _ = far.Write([]byte("x")) }()
	if _, err := io.Copy(failing{near}, &lean{Conn: near}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := io.Copy(failing{near}, &lean{Conn: near, first: []byte("x")}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("an error of the other side: %v", err)
	}
	near, _ = pair(t)
	l := &lean{Conn: near, first: []byte("ab")}
	b := make([]byte, 1)
	for _, want := range "ab" {
		if n, err := l.Read(b); n != 1 || err != nil || b[0] != byte(want) {
			t.Errorf("%q, %v", b[:n], err)
		}
	}
}

// failing closes a connection when it is written to, and then fails.
type failing struct{ net.Conn }

func (f failing) Write(b []byte) (int, error) {
	if err := f.Conn.Close(); err != nil {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}
