//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/machine"
)

// probeMemoryMiB is the memory of the guest of Probe, and probeProcessor the processor time that it may take, in seconds.
const probeMemoryMiB, probeProcessor = 128, 30

// NoGuestError is the proof that KVM runs no guest on this host: it has refused to, or the guest has ended, or had the processor for long enough. Other
// failures of Probe say nothing about the next one: the host is busy, or short of something.
type NoGuestError struct{ err error }

func (e *NoGuestError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *NoGuestError) Unwrap() error { return e.err }

// Probe boots a guest that ends at once, and returns why that failed: a NoGuestError if it never will. limit is from the start of the guest to its first
// line: a KVM can open, and start a machine, and still run no guest in any useful time. init is the first process of guests. dir is an empty directory
// whose name is that of no other process: the caller removes it, after the processes that have the name as an argument if this process has ended meanwhile.
func Probe(ctx context.Context, programs Programs, k kernel.Kernel, init []byte, dir string, limit time.Duration) (err error) {
	const uid = 64_000 // The first that no machine has: see the driver.
	m := New(programs, &machine.State{Dir: dir, Disks: dir, UID: uid, Spec: vm.Spec{MemoryMiB: probeMemoryMiB, RootfsReadOnly: true}})
	initramfs := filepath.Join(dir, initramfsFile)
	f, err := os.OpenFile(initramfs, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownerOnly)
	if err != nil {
		return err
	}
	k.Modules = nil
	if err := errors.Join(kernel.Initramfs(f, k, init), f.Close()); err != nil {
		return err
	}
	if err := errors.Join(m.makeRoot(), m.giveKernel(k, initramfs)); err != nil {
		return err
	}
	output, err := console.Open(filepath.Join(dir, machine.ConsoleFile))
	if err != nil {
		return err
	}
	defer output.Finish()
	if err := m.start(); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, m.Process.Kill())
		m.Process.Release()
	}()
	// One that spins in the kernel, where no caller waits for it any more, ends.
	_ = unix.Prlimit(m.Process.PID, unix.RLIMIT_CPU, &unix.Rlimit{Cur: probeProcessor, Max: probeProcessor}, nil)
	ctx, cancel := m.bounded(ctx, answerTime)
	defer cancel()
	if err := m.connect(ctx); err != nil {
		return err
	}
	err = errors.Join(m.client.SetMachine(ctx, api.Machine{VCPUs: 1, MemoryMiB: probeMemoryMiB}),
		m.client.SetBootSource(ctx, api.BootSource{Kernel: kernelFile, Initramfs: initramfsFile, Arguments: kernelArguments + link.ProbeWord}))
	if err != nil {
		return err
	}
	before, err := processorTime(m.Process.PID)
	if err != nil {
		return err
	}
	ctx, cancel = m.bounded(ctx, limit)
	defer cancel()
	if err := m.client.Start(ctx); err != nil && ctx.Err() == nil {
		if fault := new(api.FaultError); errors.As(err, &fault) && !slices.Contains(ofTheHost, fault.Errno()) {
			return &NoGuestError{err}
		}
		return err
	}
	for {
		ended, late := false, false
		select {
		case <-m.Process.Ended:
			ended = true
			output.Finish() // What it wrote last may not have been read yet.
		case <-ctx.Done():
			late = true // But it counts what the guest has written meanwhile.
		case <-time.After(pauseLast):
		}
		for _, line := range output.Tail(tailLines) {
			if strings.TrimSpace(line) == link.ProbeAnswer {
				return nil
			}
		}
		if late {
			return m.tooLate(limit, before)
		}
		if !ended {
			continue
		}
		err := fmt.Errorf("the guest ended without a word: %s: %s", m.Process.Reason, m.Complaint())
		if strings.HasPrefix(m.Process.Reason, "exited") {
			return &NoGuestError{err}
		}
		return err // It was killed: the host has no memory, or somebody has ended it.
	}
}

// tooLate is the error of a guest that has not booted in time. It proves something only if the guest had a processor for half of the time, with what it
// took before its start left out.
func (m *VM) tooLate(limit, before time.Duration) error {
	after, err := processorTime(m.Process.PID)
	if err != nil {
		return fmt.Errorf("no guest has booted within %v: %w", limit, err)
	}
	if had := after - before; had < limit/2 {
		return fmt.Errorf("no guest has booted within %v, of which it had a processor for %v: the host is busy, or the guest waits", limit, had.Round(time.Millisecond))
	}
	return &NoGuestError{fmt.Errorf("no guest has booted within %v", limit)}
}

// processorTime is how long a process has had processors, also for its guest.
func processorTime(pid int) (time.Duration, error) {
	const schedulers = 2                 // CPUCLOCK_SCHED of the kernel
	clock := int32(^pid<<3 | schedulers) // As clock_getcpuclockid(3) makes it.
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// tailLines is how many lines of a console are looked at: the kernel prints some, too.
const tailLines = 50
