//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/firecracker/api"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/spec"
	"github.com/rundlet/rundlet/vm/microvm/tap"
)

// loadTime is for a snapshot that is loaded: its memory is mapped, and not read.
const loadTime = time.Minute

// Launch implements machine.Monitor.
func (m *VM) Launch(ctx context.Context, boot machine.BootFiles) (err error) {
	if err := m.makeJail(boot); err != nil {
		return err
	}
	defer m.removeDevice(&err)
	start := m.start
	if m.Spec.NetNS != "" {
		start = func() error {
			return netns.At(m.Spec.NetNS, func() error {
				network, err := tap.Make(m.UID)
				if err != nil {
					return err
				}
				m.Network = &network
				return m.start()
			})
		}
	}
	if err := start(); err != nil {
		return err
	}
	ctx, cancel := m.bounded(ctx, answerTime)
	defer cancel()
	if err := m.connect(ctx); err != nil {
		return err
	}
	if m.client.Version() != m.programs.Version {
		return &vm.Error{Op: "create", Kind: vm.ErrUnavailable, Err: fmt.Errorf("%s is version %s now, and was %s", m.programs.Firecracker, m.client.Version(), m.programs.Version),
			Hint: "restart the server"}
	}
	if m.Restored {
		return nil
	}
	return m.describe(ctx)
}

// start starts the jailer, which becomes Firecracker, in the present network namespace.
func (m *VM) start() error {
	largest, err := m.largestFile()
	if err != nil {
		return err
	}
	user := strconv.Itoa(m.UID)
	cmd := exec.Command(m.programs.Jailer, //nolint:noctx // It outlives the call, and the daemon.
		"--id", id(m.State), "--exec-file", m.programs.Firecracker, "--uid", user, "--gid", user, "--chroot-base-dir", m.Disks,
		"--resource-limit", fmt.Sprintf("fsize=%d", largest), "--", "--api-sock", apiSocket, "--level", "Off")
	// Open for reading, too: a write does not fail then while no driver is there that reads.
	console, err := os.OpenFile(filepath.Join(m.Dir, machine.ConsoleFile), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer console.Close()
	cmd.Env, cmd.Stdout = []string{}, console
	// The jailer makes a mount namespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	return m.StartProcess(cmd)
}

// kernelArguments are the guest kernel's command line: without devices that Firecracker lacks, and with the console at its serial port.
const kernelArguments = "console=ttyS0 quiet reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=on cgroup_no_v1=all net.ifnames=0 "

// The guest's number for its vsock. Each machine has the same one: the socket is what the host knows it by.
const guestCID = 3

// describe says what is booted.
func (m *VM) describe(ctx context.Context) error {
	requests := []func() error{
		func() error {
			return m.client.SetMachine(ctx, api.Machine{VCPUs: spec.VCPUs(m.Spec), MemoryMiB: spec.MemoryMiB(m.Spec)})
		},
		func() error {
			return m.client.SetBootSource(ctx, api.BootSource{Kernel: kernelFile, Initramfs: initramfsFile, Arguments: kernelArguments + link.VsockWord})
		},
		func() error {
			return m.client.AddDrive(ctx, api.Drive{ID: baseID, Path: baseFile, ReadOnly: true, Cache: api.Unsafe, Engine: api.Sync})
		},
		func() error {
			return m.client.SetVsock(ctx, api.Vsock{CID: guestCID, Path: guestSocket})
		},
		func() error { return m.client.AddEntropy(ctx) },
	}
	if !m.Spec.RootfsReadOnly {
		requests = append(requests, func() error {
			return m.client.AddDrive(ctx, api.Drive{ID: diskID, Path: diskFile, Cache: api.Writeback, Engine: api.Sync})
		})
	}
	if m.Network != nil {
		requests = append(requests, func() error {
			return m.client.AddInterface(ctx, api.Interface{ID: cardID, MAC: m.Network.MAC, Device: tap.Device})
		}, func() error { return tap.Bind(m.Process.PID) })
	}
	for _, request := range requests {
		if err := request(); err != nil {
			return err
		}
	}
	return nil
}

// Load implements machine.Monitor. What the snapshot has of drives, network device and sockets are names that each jail and network namespace has.
func (m *VM) Load(ctx context.Context) (err error) {
	defer m.removeDevice(&err)
	ctx, cancel := m.bounded(ctx, loadTime)
	defer cancel()
	if err := m.client.Load(ctx, api.Load{State: savedState, Memory: savedMemory, TrackDirty: m.differences()}); err != nil {
		return fmt.Errorf("load the snapshot: %w", whoseFault(err))
	}
	m.discard(savedState, savedMemory) // The memory stays mapped.
	if m.Network != nil {
		return tap.Bind(m.Process.PID)
	}
	return nil
}

// ofTheHost are errors of system calls that say nothing about a snapshot: its files, and the devices that it needs, were there. The host is short of
// something, or has changed.
var ofTheHost = []syscall.Errno{unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOSPC, unix.EDQUOT, unix.EAGAIN, unix.EINTR, unix.EBUSY, unix.EIO,
	unix.ENOENT, unix.ENXIO, unix.ENODEV, unix.EACCES, unix.EPERM}

// whoseFault gives a refusal to load a snapshot its class: a snapshot that is taken for incompatible is given up.
func whoseFault(err error) error {
	var fault *api.FaultError
	if !errors.As(err, &fault) {
		return err
	}
	if errno := fault.Errno(); slices.Contains(ofTheHost, errno) {
		return fmt.Errorf("%w: %w: %w", vm.ErrUnavailable, errno, err)
	}
	return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
}

// removeDevice removes the TAP device if a call has failed: it stays until the process has it.
func (m *VM) removeDevice(err *error) {
	if *err != nil && m.Network != nil {
		*err = errors.Join(*err, netns.At(m.Spec.NetNS, tap.Remove))
	}
}

// differences reports whether a snapshot can have only what was written since the one before. The process, to which there is a connection, can be of an
// earlier version than the programs are now.
func (m *VM) differences() bool { return m.client.Version().Differences(spec.MemoryMiB(m.Spec)) }
