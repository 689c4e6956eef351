//go:build linux

package monitor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
)

func (d *double) want(want ...string) {
	d.t.Helper()
	if did := d.done(); !slices.Equal(did, want) {
		d.t.Errorf("asked for %q, want %q", did, want)
	}
}

// TestAMachineBootsOnceAndGoesOn: the driver knows no difference between a boot and going on.
func TestAMachineBootsOnceAndGoesOn(t *testing.T) {
	m := newVM(t)
	d := newDouble(t, m)
	ctx := patience(t)
	must(t, m.Pause(ctx), m.Resume(ctx), m.Resume(ctx))
	d.want("InstanceStart")
	if running, err := m.Running(ctx); err != nil || !running {
		t.Error(running, err)
	}
	must(t, m.Pause(ctx), m.Pause(ctx), m.Resume(ctx))
	d.want("Paused", "Resumed")
}

// TestWhoseFaultALoadIs: a snapshot that is taken for incompatible is given up, and a host that is short of something, or has no TAP device, says nothing about it.
func TestWhoseFaultALoadIs(t *testing.T) {
	const begin = "Load snapshot error: Failed to restore from snapshot: "
	for name, c := range map[string]struct {
		refusal        string
		want, not, and error
	}{
		"memory":      {begin + "Failed to load guest memory: Error creating guest memory from file: Cannot create mmap region: Out of memory (os error 12)", vm.ErrUnavailable, vm.ErrIncompatible, syscall.ENOMEM},
		"descriptors": {begin + "Failed to build microVM from snapshot: Kvm error: Error creating KVM object: No file descriptors available (os error 24)", vm.ErrUnavailable, vm.ErrIncompatible, syscall.EMFILE},
		"TAP device":  {begin + "Cannot restore devices: Open tap device failed: Error while creating ifreq structure: Resource busy (os error 16)", vm.ErrUnavailable, vm.ErrIncompatible, syscall.EBUSY},
		"state":       {begin + "Failed to get snapshot state from file: Failed to load snapshot state from file: CRC64 validation failed: 12", vm.ErrIncompatible, vm.ErrUnavailable, vm.ErrIncompatible},
		"processor":   {begin + "Failed to set MSRs: Invalid argument (os error 22)", vm.ErrIncompatible, vm.ErrUnavailable, vm.ErrIncompatible},
	} {
		t.Run(name, func(t *testing.T) {
			m := newVM(t)
			d := newDouble(t, m)
			m.Restored = true
			must(t, m.connect(patience(t)))
			d.refusal = c.refusal
			if err := m.Load(patience(t)); !errors.Is(err, c.want) || errors.Is(err, c.not) || !errors.Is(err, c.and) || !strings.Contains(err.Error(), "Load snapshot error") {
				t.Error(err)
			}
		})
	}
}

// TestARequestEndsWhenTheDriverHangsUp, and the next one is made.
func TestARequestEndsWhenTheDriverHangsUp(t *testing.T) {
	m := newVM(t)
	d := newDouble(t, m)
	must(t, m.Resume(patience(t)))
	d.mu.Lock()
	d.hang, d.hangs = make(chan struct{}), make(chan struct{})
	hang, hangs := d.hang, d.hangs
	d.mu.Unlock()
	done := make(chan error)
	go func() {
		_, err := m.Running(context.Background())
		done <- err
	}()
	<-hangs
	m.HangUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(hang)
	d.mu.Lock()
	d.hang = nil
	d.mu.Unlock()
	if running, err := m.Running(patience(t)); err != nil || !running {
		t.Error(running, err)
	}
}

// guestOf takes connections to the guest of a machine, as its process does, and calls serve for each, the first of which is 0, one after the other.
func guestOf(t *testing.T, m *VM, serve func(i int, conn net.Conn)) {
	t.Helper()
	must(t, m.makeRoot())
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(m.jail(), guestSocket))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(i, conn)
		}
	}()
}

// TestAGuestIsDialledUntilItListens: Firecracker takes a connection, and ends it if nothing listens in the guest.
func TestAGuestIsDialledUntilItListens(t *testing.T) {
	m := newVM(t)
	guestOf(t, m, func(i int, conn net.Conn) {
		line := make([]byte, len("CONNECT 1024\n"))
		if _, err := io.ReadFull(conn, line); err != nil || string(line) != "CONNECT 1024\n" {
			t.Errorf("%q, %v", line, err)
		}
		switch i {
		case 0: // Nothing listens.
		case 1:
			_, _ = io.WriteString(conn, strings.Repeat("x", maxGreeting+1))
		case 2:
			_, _ = io.WriteString(conn, "no\n")
		default:
			_, _ = io.WriteString(conn, "OK 1073741824\n")
			_, _ = io.Copy(conn, conn)
		}
		conn.Close()
	})
	conn, err := m.Dial(patience(t))
	must(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	answer := make([]byte, 5)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "hello" {
		t.Errorf("%q, %v", answer, err)
	}
}

// TestAConnectionThatIsLostIsReplaced: of a guest that is restored, the first one was seen to stay without an answer.
func TestAConnectionThatIsLostIsReplaced(t *testing.T) {
	m := newVM(t)
	guestOf(t, m, func(i int, conn net.Conn) {
		t.Cleanup(func() { conn.Close() })
		if i > 0 {
			_, _ = io.WriteString(conn, "OK 1073741824\n")
		}
	})
	conn, err := m.Dial(patience(t))
	must(t, err)
	conn.Close()
}

// TestAGuestThatSaysNothing, as one that is paused, holds a caller up no longer than its context.
func TestAGuestThatSaysNothing(t *testing.T) {
	m := newVM(t)
	ctx, cancel := context.WithCancel(patience(t))
	guestOf(t, m, func(_ int, conn net.Conn) {
		t.Cleanup(func() { conn.Close() })
		cancel()
	})
	if _, err := m.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTheJail(t *testing.T) {
	boot := func(k kernel.Kernel) func() (kernel.Kernel, string, error) {
		return func() (kernel.Kernel, string, error) { return k, k.Image, nil }
	}
	m := newVM(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("content"), 0o400), os.WriteFile(filepath.Join(m.Disks, snapshots.DiskFile), []byte("disk"), 0o600))
	m.Spec.RootfsReadOnly = false
	must(t, m.makeJail(boot(kernel.Kernel{Image: file, Vmlinux: file})))
	for name, same := range map[string]string{baseFile: m.Spec.Rootfs, diskFile: filepath.Join(m.Disks, snapshots.DiskFile), kernelFile: "", initramfsFile: ""} {
		there, err := os.Stat(filepath.Join(m.jail(), name))
		must(t, err)
		if same != "" {
			if here, err := os.Stat(same); err != nil || !os.SameFile(here, there) {
				t.Errorf("%s is not %s: %v", name, same, err)
			}
		}
	}
	if info, err := os.Stat(m.Spec.Rootfs); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("the image: %v, %v", info.Mode(), err)
	}
	m = newVM(t)
	err := m.makeJail(boot(kernel.Kernel{Image: file, NoVmlinux: "not found"}))
	if !errors.Is(err, vm.ErrUnsupported) || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a kernel without an ELF file: %v", err)
	}
}

// TestAnImageOfAnotherFileSystemIsRefused: it could be neither linked nor shown without a mount that outlives the driver.
func TestAnImageOfAnotherFileSystemIsRefused(t *testing.T) {
	m := newVM(t)
	elsewhere, err := os.MkdirTemp("/dev/shm", "jail")
	if err != nil {
		t.Skip("no other file system: ", err)
	}
	defer os.RemoveAll(elsewhere)
	m.Spec.Rootfs = filepath.Join(elsewhere, "image")
	must(t, os.WriteFile(m.Spec.Rootfs, nil, 0o444))
	var here, there syscall.Stat_t
	must(t, syscall.Stat(m.Disks, &here), syscall.Stat(elsewhere, &there))
	if here.Dev == there.Dev {
		t.Skip("the temporary directory is in /dev/shm")
	}
	if err := m.makeJail(nil); !errors.Is(err, vm.ErrUnsupported) || !strings.Contains(err.Error(), "file system") {
		t.Error(err)
	}
}
