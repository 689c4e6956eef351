//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Probe boots a guest that ends at once, and returns why that failed. limit is from the start of the guest to its first line: a KVM can open, and start
// a machine, and still run no guest in any useful time. init is the first process of guests. dir is an empty directory whose name is that of no other
// process: the caller removes it, after KillStrays if this process has ended meanwhile.
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
	ctx, cancel = m.bounded(ctx, limit)
	defer cancel()
	if err := m.client.Start(ctx); err != nil {
		return err
	}
	for {
		ended := false
		select {
		case <-m.Process.Ended:
			ended = true
		case <-ctx.Done():
			return fmt.Errorf("no guest has booted within %v", limit)
		case <-time.After(pauseLast):
		}
		for _, line := range output.Tail(tailLines) {
			if strings.TrimSpace(line) == link.ProbeAnswer {
				return nil
			}
		}
		if ended {
			return fmt.Errorf("the guest ended without a word: %s: %s", m.Process.Reason, m.Complaint())
		}
	}
}

// tailLines is how many lines of a console are looked at: the kernel prints some, too.
const tailLines = 50
