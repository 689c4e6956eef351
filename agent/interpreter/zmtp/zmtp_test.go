package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err = net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

const greeting = "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x01NULL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // Version, mechanism, server.

// hello is what a socket of libzmq sends first.
func hello() []byte {
	b := append([]byte(greeting), make([]byte, 64-len(greeting))...)
	body := ready("ROUTER")
	return append(append(b, flagCommand, byte(len(body))), body...)
}

// open returns a connection whose peer has shaken hands, and the peer.
func open(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	ours, theirs := pair(t)
	if _, err := theirs.Write(hello()); err != nil {
		t.Fatal(err)
	}
	c, err := New(ours, Dealer)
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 64+2+len(ready(Dealer)))
	if _, err := io.ReadFull(theirs, sent); err != nil || !bytes.HasSuffix(sent, []byte("\x0bSocket-Type\x00\x00\x00\x06DEALER")) || !bytes.HasPrefix(sent[12:], []byte("NULL\x00")) {
		t.Fatalf("%q, %v", sent, err)
	}
	return c, theirs
}

func TestMessagesArriveAsTheyWereSent(t *testing.T) {
	a, theirs := open(t)
	b := &Conn{conn: theirs, in: a.in}
	b.in = newReader(theirs)
	want := [][]byte{{}, []byte("short"), bytes.Repeat([]byte("long"), 1000), {}}
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(a.Send(want...), a.Subscribe("topic")) }()
	m, err := b.Receive()
	if err != nil || len(m.Frames) != len(want) || m.Dropped != 0 {
		t.Fatalf("%d frames, %v", len(m.Frames), err)
	}
	for i := range want {
		if !bytes.Equal(m.Frames[i], want[i]) {
			t.Errorf("frame %d has %d bytes", i, len(m.Frames[i]))
		}
	}
	if m, err := b.Receive(); err != nil || len(m.Frames) != 1 || string(m.Frames[0]) != "\x01topic" {
		t.Errorf("subscription %q, %v", m.Frames, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestWhatIsTooLargeIsDropped(t *testing.T) {
	c, theirs := open(t)
	go func() {
		head := binary.BigEndian.AppendUint64([]byte{flagLong | flagMore}, MaxFrame+1)
		_, _ = theirs.Write(head)
		_, _ = io.CopyN(theirs, zeros{}, MaxFrame+1)
		_, _ = theirs.Write([]byte{0, 4, 'n', 'e', 'x', 't'})
	}()
	m, err := c.Receive()
	if err != nil || m.Dropped != MaxFrame+1 || len(m.Frames) != 2 || m.Frames[0] != nil || string(m.Frames[1]) != "next" {
		t.Errorf("%d frames, %d bytes dropped, %v", len(m.Frames), m.Dropped, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPeersThatAreNotZeroMQ(t *testing.T) {
	for name, sent := range map[string]string{
		"silent":          "",
		"HTTP":            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nDate: today and tomorrow\r\n\r\n",
		"version 2":       greeting[:10] + "\x01" + strings.Repeat("\x00", 53),
		"other mechanism": greeting[:12] + "PLAIN" + strings.Repeat("\x00", 47),
		"no READY":        string(hello()[:64]) + "\x00\x05hello",
		"endless READY":   string(hello()[:64]) + "\x06\x7f\xff\xff\xff\xff\xff\xff\xff",
		"half":            string(hello()[:70]),
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			_, _ = io.WriteString(theirs, sent)
			theirs.(*net.UnixConn).CloseWrite()
			if _, err := New(ours, Sub); err == nil {
				t.Error("the handshake succeeded")
			}
			if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is open: %v", err)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x05hello"))
	f.Add([]byte("\x01\x01a\x00\x00"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01a\x04\x01x\x08\x00"))
	f.Add([]byte("\x02\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Conn{in: newReader(bytes.NewReader(data))}
		for {
			m, err := c.Receive()
			if err != nil {
				return
			}
			if len(m.Frames) == 0 || len(m.Frames) > maxFrames {
				t.Errorf("%d frames", len(m.Frames))
			}
		}
	})
}
