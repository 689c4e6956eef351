//go:build linux

package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// answer answers each line of each connection, one after the other.
func answer(l net.Listener, greeting string, to func(line string) string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(conn, greeting)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			fmt.Fprintln(conn, to(lines.Text()))
		}
		conn.Close()
	}
}

// A stopped machine whose programs were not frozen is not saved before they are.
func TestOnlyFrozenProgramsAreSaved(t *testing.T) {
	m := &VM{Dir: t.TempDir(), Disks: t.TempDir(), Spec: vm.Spec{RootfsReadOnly: true}, Process: &process.Process{Ended: make(chan struct{})}}
	var asked []string
	for name, to := range map[string]func(string) string{
		qmpSocket: func(line string) string {
			var request struct{ Execute string }
			_ = json.Unmarshal([]byte(line), &request)
			asked = append(asked, request.Execute)
			return `{"return": {}}`
		},
		linkSocket: func(line string) string {
			var call link.Call
			_ = json.Unmarshal([]byte(line), &call)
			return fmt.Sprintf(`{"nonce": %q, "error": "no"}`, call.Nonce)
		},
	} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(m.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		greeting := ""
		if name == qmpSocket {
			greeting = `{"QMP": {}}`
		}
		go answer(l, greeting, to)
	}
	if err := m.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Halt(); err != nil {
		t.Fatal(err)
	}
	err := m.Save(vm.StatusStopped, t.TempDir(), false, nil)
	if !errors.Is(err, vm.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	m.HangUp()
	if want := []string{"qmp_capabilities", "stop", "cont", "stop"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

// A stopped machine whose save has failed is asked what it does, by another connection, before anything else is done with it.
func TestASaveOfAStoppedMachineFails(t *testing.T) {
	m := &VM{Dir: t.TempDir(), Disks: t.TempDir(), Spec: vm.Spec{RootfsReadOnly: true}, Frozen: true, Process: &process.Process{Ended: make(chan struct{})}}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(m.Dir, qmpSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	broken := false
	go answer(l, `{"QMP": {}}`, func(line string) string {
		if strings.Contains(line, "xen-save") && !broken {
			broken = true
			return "not QMP"
		}
		return `{"return": {"running": false}}`
	})
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

// What a process puts into its directory leads to nothing of the host, and holds no caller up.
func TestAProcessLeadsNoCallerAway(t *testing.T) {
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
