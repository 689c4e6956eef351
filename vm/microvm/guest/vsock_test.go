//go:build linux

package guest

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

func TestTheCommandLineChoosesTheLink(t *testing.T) {
	for line, want := range map[string]bool{
		"quiet " + link.VsockWord + " panic=-1\n": true, "quiet panic=-1": false, "x" + link.VsockWord: false, link.VsockWord + "2": false, "": false,
	} {
		if hasWord(line, link.VsockWord) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}

func TestCallsOfTheGuestsOwnProgramsAreNotTaken(t *testing.T) {
	for cid, want := range map[uint32]bool{unix.VMADDR_CID_HOST: true, unix.VMADDR_CID_LOCAL: false, unix.VMADDR_CID_HYPERVISOR: false, 3: false, unix.VMADDR_CID_ANY: false} {
		if ofHost(&unix.SockaddrVM{CID: cid, Port: 1024}) != want {
			t.Errorf("address %d: %v", cid, !want)
		}
	}
}

// listening starts a guest that serves connections to a socket, which stands for that of vsock, and returns its address.
func listening(t *testing.T, g *guest) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "link")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.serveAll(int(file.Fd())) }() // Until this process ends, as in a machine.
	t.Cleanup(func() { runtime.KeepAlive(file) })
	return path
}

func connect(t *testing.T, path string) *asker {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &asker{t: t, conn: conn, lines: bufio.NewReader(conn)}
}

// TestANewConnectionEndsTheOneBefore: of a machine that was restored the guest may have a connection that no host has.
func TestANewConnectionEndsTheOneBefore(t *testing.T) {
	path := listening(t, &guest{})
	first := connect(t, path)
	if a := first.ask(`{"nonce":"1"}` + "\n"); a.Nonce != "1" || a.Error != "unknown call" {
		t.Errorf("%+v", a)
	}
	second := connect(t, path)
	// A nonce that was answered by the first connection is not done again.
	if a := second.ask(`{"nonce":"1"}` + "\n"); a.Nonce != "1" || a.Error != "unknown call" {
		t.Errorf("%+v", a)
	}
	if n, err := first.conn.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("the first connection: %d, %v", n, err)
	}
	if a := second.ask(`{"nonce":"2"}` + "\n"); a.Nonce != "2" {
		t.Errorf("%+v", a)
	}
}

// TestAGuestIsThereAgainAfterItsHostHungUp: each connection is another driver's.
func TestAGuestIsThereAgainAfterItsHostHungUp(t *testing.T) {
	g := &guest{}
	path := listening(t, g)
	g.send(link.Answer{Exit: "lost"}) // Before there is a connection.
	for _, nonce := range []string{"1", "2", "3"} {
		host := connect(t, path)
		if a := host.ask(`{"nonce":"` + nonce + `"}` + "\n"); a.Nonce != nonce {
			t.Errorf("%+v", a)
		}
		g.send(link.Answer{Exit: "exited: " + nonce})
		if a := host.ask(""); a.Exit != "exited: "+nonce {
			t.Errorf("%+v", a)
		}
		host.conn.Close()
	}
}
