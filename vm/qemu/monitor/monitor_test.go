//go:build linux

package monitor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/link"
)

// A restored machine must have the hardware of the saved one, which these arguments are.
func TestTheHardwareIsThatOfTheSpec(t *testing.T) {
	for _, m := range []*VM{{}, {Spec: vm.Spec{VCPUs: 3, MemoryMiB: 128}}} {
		args := machineArguments(m)
		if again := machineArguments(&VM{Spec: m.Spec, Restored: true}); !slices.Equal(args, again) {
			t.Errorf("a restored machine has %q, and the saved one %q", again, args)
		}
	}
	if args := strings.Join(machineArguments(&VM{Spec: vm.Spec{VCPUs: 3, MemoryMiB: 128}}), " "); !strings.Contains(args, "-smp 3 -m 128M") {
		t.Errorf("arguments: %s", args)
	}
}

func TestTheComplaintIsOneLineWithoutWarnings(t *testing.T) {
	m := &VM{Dir: t.TempDir()}
	if got := m.complaint(); got != "" {
		t.Errorf("without a file: %q", got)
	}
	text := "qemu: warning: TCG doesn't support a feature\nqemu: could not open the disk\nmore\n"
	if err := os.WriteFile(filepath.Join(m.Dir, errorFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := m.complaint(); got != "qemu: could not open the disk" {
		t.Errorf("%q", got)
	}
}

// A guest that says nothing holds a call up no longer than its context.
func TestACallOfASilentGuestEnds(t *testing.T) {
	m := &VM{Dir: t.TempDir(), Cold: true}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(m.Dir, linkSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1)) // The call is made.
		}
		cancel()
		<-t.Context().Done()
	}()
	err = m.call(ctx, time.Minute, link.Call{Freeze: true})
	if !errors.Is(err, vm.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	m.HangUp()
	m.HangUp()
}
