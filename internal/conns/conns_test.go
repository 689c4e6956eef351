package conns

import (
	"errors"
	"io"
	"net"
	"testing"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return ours, theirs
}

func TestTheEndOfTheMachineEndsItsConnections(t *testing.T) {
	var s Set
	tcp, far := pair(t)
	inside, outside := net.Pipe()
	defer inside.Close()
	for _, conn := range []net.Conn{tcp, outside} {
		s.Track(conn)
	}
	s.End()
	for name, end := range map[string]net.Conn{"TCP": far, "a pipe": inside} {
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	late, far := pair(t)
	s.Track(late)
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that comes too late: %v", err)
	}
}

func TestAClosedConnectionIsForgottenAndATCPOneCanBeHalfClosed(t *testing.T) {
	var s Set
	tcp, far := pair(t)
	conn := s.Track(tcp)
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		t.Fatal("a TCP connection cannot be half-closed")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after half-closing: %v", err)
	}
	_, outside := net.Pipe()
	for _, c := range []net.Conn{conn, s.Track(outside)} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.open) != 0 {
		t.Errorf("%d closed connections are kept", len(s.open))
	}
}
