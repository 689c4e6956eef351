//go:build linux

package monitor

import (
	"bufio"
	"context"
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
	"github.com/rundlet/rundlet/vm/microvm/machine"
)

// A restored machine must have the hardware of the saved one, which these arguments are.
func TestTheHardwareIsThatOfTheSpec(t *testing.T) {
	for _, s := range []vm.Spec{{}, {VCPUs: 3, MemoryMiB: 128}} {
		other := s
		other.NetNS, other.Hostname, other.Weight, other.RestoreFrom = "/ns", "name", 7, &vm.SnapshotRef{VMID: "a"}
		if args, again := machineArguments(s), machineArguments(other); !slices.Equal(args, again) {
			t.Errorf("a restored machine has %q, and the saved one %q", again, args)
		}
	}
	if args := strings.Join(machineArguments(vm.Spec{VCPUs: 3, MemoryMiB: 128}), " "); !strings.Contains(args, "-smp 3 -m 128M") {
		t.Errorf("arguments: %s", args)
	}
}

// QEMU is asked by another connection after a request that was broken off, and by none at a socket that is elsewhere.
func TestASaveIsBrokenOff(t *testing.T) {
	m := New("", &machine.State{Dir: t.TempDir(), Disks: t.TempDir(), Process: &process.Process{Ended: make(chan struct{})}})
	socket := filepath.Join(m.Dir, qmpSocket)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	broken := false
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, `{"QMP": {}}`)
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				answer := `{"return": {"running": false}}`
				if strings.Contains(lines.Text(), "xen-save") && !broken {
					broken, answer = true, "not QMP"
				}
				fmt.Fprintln(conn, answer)
			}
			conn.Close()
		}
	}()
	if err := m.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "xen-save") {
		t.Fatalf("%v", err)
	}
	if running, err := m.Running(t.Context()); err != nil || running {
		t.Errorf("%v, %v", running, err)
	}
	m.HangUp()
	m.HangUp()
	other := filepath.Join(t.TempDir(), "socket")
	if err := os.Rename(socket, other); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, socket); err != nil {
		t.Fatal(err)
	}
	if client, err := m.dialQMP(t.Context()); err == nil {
		client.Close()
		t.Error("connected by a link")
	}
}

// QEMU takes one connection to the guest at a time, and few wait: another one waits for a place.
func TestAConnectionToTheGuestWaitsForAPlace(t *testing.T) {
	m := New("", &machine.State{Dir: t.TempDir()})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(m.Dir, linkSocket)}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	full := false
	for n := 0; !full && n < 10; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		conn, err := m.Dial(ctx)
		cancel()
		if err == nil {
			defer conn.Close()
		} else if full = errors.Is(err, unix.EAGAIN) && errors.Is(err, context.DeadlineExceeded); !full {
			t.Fatal(err)
		}
	}
	if !full {
		t.Fatal("any number of connections wait")
	}
	dialed := make(chan error, 1)
	go func() {
		conn, err := m.Dial(t.Context())
		if err == nil {
			conn.Close()
		}
		dialed <- err
	}()
	taken, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(taken)
	if err := <-dialed; err != nil {
		t.Error(err)
	}
}
