//go:build linux

package machine

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the process has written of an error is one line without warnings. What it may have put in the place of that file is not read.
func TestComplaint(t *testing.T) {
	m := &State{Dir: t.TempDir()}
	path := filepath.Join(m.Dir, ErrorFile)
	if got := m.Complaint(); got != "" {
		t.Errorf("without a file: %q", got)
	}
	text := "qemu: warning: TCG doesn't support a feature\nqemu: could not open the disk\nmore\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := m.Complaint(); got != "qemu: could not open the disk" {
		t.Errorf("%q", got)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func() error{
		"a link": func() error { return os.Symlink(secret, path) },
		"a pipe": func() error { return unix.Mkfifo(path, 0o600) },
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		said := make(chan string, 1)
		go func() { said <- m.Complaint() }()
		select {
		case got := <-said:
			if got != "" {
				t.Errorf("%s: read %q", name, got)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s holds it up", name)
		}
	}
}
