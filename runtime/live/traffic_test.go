package live

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/store"
)

func TestBytesOfAClientAreTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sb := New(store.Sandbox{ID: "a"})
		if !sb.Traffic().IsZero() {
			t.Error("it had traffic")
		}
		near, far := net.Pipe()
		conn := sb.CountTraffic(near)
		defer far.Close()
		now := func(what string, want bool) {
			t.Helper()
			if got := sb.Traffic().Equal(time.Now()); got != want {
				t.Errorf("%s is traffic: %v", what, got)
			}
			time.Sleep(time.Second)
		}
		now("a connection", false)
		sb.NoteTraffic()
		now("that a client asks for one", true)
		now("time", false)
		go far.Read(make([]byte, 1))
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		now("what is sent", true)
		go far.Write([]byte("x"))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		now("what is received", true)
		// A pipe cannot be half-closed.
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		now("the end of sending", true)
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("it is open")
		}
		now("an end", false)
	})
}
