//go:build linux

package guest

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
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
	kept = append(kept, file)
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

// TestAGuestThatIsShortOfFilesAcceptsLater: without the socket it would end the machine.
func TestAGuestThatIsShortOfFilesAcceptsLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	listener := int(file.Fd())
	_ = connect(t, path)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	go func() {
		fd, err := accept(listener)
		done <- result{fd, err}
	}()
	var got result
	early := false
	select {
	case got = <-done:
		early = true
	case <-time.After(10 * devicePause):
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if early {
		t.Fatalf("without descriptors: %+v", got)
	}
	if got = <-done; got.err != nil {
		t.Fatal(got.err)
	}
	_ = unix.Close(got.fd)
}
