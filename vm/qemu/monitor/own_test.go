//go:build linux

package monitor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// A stopped machine whose save has failed is asked what it does, by another connection, before anything else is done with it.
func TestASaveOfAStoppedMachineFails(t *testing.T) {
	m := &VM{Dir: t.TempDir(), Disks: t.TempDir(), Spec: vm.Spec{RootfsReadOnly: true}, Process: &process.Process{Ended: make(chan struct{})}}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(m.Dir, qmpSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for connections := 0; ; connections++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprintln(conn, `{"QMP": {}}`)
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				answer := `{"return": {"running": false}}`
				if strings.Contains(lines.Text(), "xen-save") && connections == 0 {
					answer = "not QMP"
				}
				fmt.Fprintln(conn, answer)
			}
		}
	}()
	if err := m.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(vm.StatusStopped, t.TempDir(), false, nil); err == nil || !m.Unsure {
		t.Fatalf("%v, unsure: %v", err, m.Unsure)
	}
	if running, err := m.Running(t.Context()); err != nil || running {
		t.Errorf("%v, %v", running, err)
	}
	m.HangUp()
}

// What a process puts into its directory leads to nothing of the host, and holds nobody up.
func TestAProcessLeadsNobodyAway(t *testing.T) {
	other := t.TempDir()
	secret, pipe := filepath.Join(other, "secret"), filepath.Join(other, "pipe")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(other, "socket")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := &VM{Dir: t.TempDir()}
	put := func(name string, make func(path string) error) {
		t.Helper()
		path := filepath.Join(m.Dir, name)
		_ = os.Remove(path)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
	}
	put(errorFile, func(path string) error { return os.Symlink(secret, path) })
	if got := m.complaint(); got != "" {
		t.Errorf("read %q by a link", got)
	}
	put(errorFile, func(path string) error { return unix.Mkfifo(path, 0o600) })
	said := make(chan string, 1)
	go func() { said <- m.complaint() }()
	select {
	case got := <-said:
		if got != "" {
			t.Errorf("read %q of a pipe", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a pipe holds it up")
	}
	for _, to := range []string{socket, secret, pipe} {
		put(linkSocket, func(path string) error { return os.Symlink(to, path) })
		put(qmpSocket, func(path string) error { return os.Symlink(to, path) })
		if client, err := dialQMP(t.Context(), filepath.Join(m.Dir, qmpSocket)); err == nil {
			client.Close()
			t.Errorf("QMP: connected to %s", to)
		}
		if err := m.call(t.Context(), time.Millisecond, link.Call{Freeze: true}); err == nil {
			t.Error("called")
		}
		m.mu.Lock()
		if m.link != nil {
			t.Errorf("link: connected to %s", to)
		}
		m.mu.Unlock()
	}
	m.HangUp()
}
