package halfclose

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"testing"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

func TestWriteEndsOneSideWhereItCan(t *testing.T) {
	near, far := pair(t)
	if err := Write(near, near.Close); err != nil {
		t.Error(err)
	}
	if n, err := far.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the peer reads %d bytes, %v", n, err)
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := near.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the other side is ended too: %d, %v", n, err)
	}
	whole := errors.New("whole")
	pipe, _ := net.Pipe()
	if err := Write(pipe, func() error { return whole }); !errors.Is(err, whole) {
		t.Errorf("a pipe: %v", err)
	}
}

func TestBreakHasNoRegularEnd(t *testing.T) {
	near, far := pair(t)
	Break(near)
	near.Close()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer reads %v", err)
	}
	near, far = pair(t)
	Break(tls.Client(near, nil)) // TLS is broken below.
	near.Close()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer below TLS reads %v", err)
	}
	Break(struct{}{}) // What cannot stays as it is.
}
