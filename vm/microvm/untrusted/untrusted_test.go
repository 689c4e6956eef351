//go:build linux

package untrusted

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a process puts into its directory leads to nothing of the host, and holds no caller up.
func TestAProcessLeadsNoCallerAway(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	secret, pipe, socket := filepath.Join(other, "secret"), filepath.Join(other, "pipe"), filepath.Join(other, "socket")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := func(path string) {
		t.Helper()
		opened := make(chan bool, 1)
		go func() {
			f, err := Open(path)
			if err == nil {
				f.Close()
			}
			opened <- err == nil
		}()
		select {
		case yes := <-opened:
			if yes {
				t.Errorf("opened %s", path)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s holds the caller up", path)
		}
	}
	for name, to := range map[string]string{"secret": secret, "pipe": pipe, "socket": socket} {
		path := filepath.Join(dir, name)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		open(path)
		if conn, err := Dial(t.Context(), path); err == nil {
			conn.Close()
			t.Errorf("connected to %s by a link", to)
		}
	}
	open(pipe)
	open(socket)
	open(other)
	for _, path := range []string{secret, pipe} {
		if conn, err := Dial(t.Context(), path); err == nil {
			conn.Close()
			t.Errorf("connected to %s", path)
		}
	}
}

// What is as it should be is opened, also where its path is longer than an address.
func TestOrdinaryFilesAndSocketsAreOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := OpenDescriptor(os.Getpid(), int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Rename(dir, long); err != nil {
		t.Fatal(err)
	}
	conn, err := Dial(t.Context(), filepath.Join(long, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
