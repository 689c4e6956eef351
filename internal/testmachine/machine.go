//go:build linux

// Package testmachine runs a program in a virtual machine with another kernel than the
// host's, and with control groups of version 2 alone. It is for tests: the machine has no network and
// no disk that outlives it. It needs QEMU, and a kernel that vm/microvm/kernel finds. It may import internal/testmachine/frame and vm/microvm/kernel; only
// commands and tests of this project may import it.
package testmachine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/rundlet/rundlet/internal/testmachine/frame"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// Config describes a machine and what it runs.
type Config struct {
	Kernel kernel.Tree
	// MemoryMiB is the machine's memory, which holds its files, too.
	MemoryMiB int
	// DiskMiB is the size of a disk that is its /tmp, with the file system ext4. 0 puts /tmp into memory.
	DiskMiB int
	// CPUs is the number of its processors.
	CPUs int
	// KVM runs the machine on the host's processor instead of emulating one; see KVMWorks.
	KVM bool
	// Nested gives the machine a separate KVM: /dev/kvm, by an emulated processor that has virtualization. It has one processor, since guests
	// of an emulated machine with more were seen to hang, and KVM is not set.
	Nested bool
	// Modules are the kernel modules that are loaded, with those that they need.
	Modules []string
	// Files are the machine's files: their absolute path in it to their path here. Symbolic
	// links are followed. There are no others but /dev, /proc, /sys, /run and /tmp.
	Files map[string]string
	// Command is the program with its arguments. It runs as root, with standard input closed.
	Command []string
	// Env is the program's environment.
	Env []string
	// Output gets what the program writes, as it comes; nil discards it.
	Output io.Writer
}

// Plan is what the first process of a machine reads from PlanFile.
type Plan struct {
	Modules []string `json:"modules"`
	Command []string `json:"command"`
	Env     []string `json:"env"`
	// Disk says that there is a disk for /tmp.
	Disk bool `json:"disk"`
}

const (
	// PlanFile is the Plan in the first files of the machine.
	PlanFile = "/plan.json"
	// Port is the name of the virtio port that carries the frames.
	Port = "rundlet.test"
)

// ErrMachine is wrapped by errors of the machine itself: it could not run the program, or
// ended before the program did.
var ErrMachine = errors.New("test machine failed")

// nestedModules are those of a machine with a KVM: its devices are at another bus, which must be there before the port.
var nestedModules = []string{"virtio_pci", "virtio_console", "virtio_blk", "kvm_amd", "tun"}

// Run boots a machine, runs the command in it and returns its exit code. The machine ends
// with the command, with ctx and with this process, whichever is first.
func Run(ctx context.Context, c Config) (exitCode int, err error) {
	dir, err := os.MkdirTemp("", "testmachine")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := c.prepare(ctx, dir); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", c.arguments(dir)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	// The signal at the death of the parent is of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	exitCode, err = c.follow(out)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	waited := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrMachine, context.Cause(ctx))
	case err == nil && waited != nil:
		err = fmt.Errorf("%w: %w", ErrMachine, waited)
	}
	if err != nil {
		console, _ := os.ReadFile(filepath.Join(dir, "console"))
		err = fmt.Errorf("%w\nqemu: %s\nlast lines of the console:\n%s", err, complaints.Bytes(), tail(console))
	}
	return exitCode, err
}

// follow reads the machine's frames until the last one.
func (c Config) follow(stream io.Reader) (exitCode int, err error) {
	for {
		kind, payload, err := frame.Read(stream)
		if err != nil {
			return 0, fmt.Errorf("%w: no exit code came: %w", ErrMachine, err)
		}
		switch kind {
		case frame.Output:
			if c.Output == nil {
				continue
			}
			if _, err := c.Output.Write(payload); err != nil {
				return 0, err
			}
		case frame.Exit:
			return strconv.Atoi(string(payload))
		default:
			return 0, fmt.Errorf("%w: %s", ErrMachine, payload)
		}
	}
}

// ownModules are those that the machine needs for its port and its disk.
var ownModules = []string{"virtio_mmio", "virtio_console", "virtio_blk"}

// prepare writes the machine's first files and its disk into dir.
func (c Config) prepare(ctx context.Context, dir string) error {
	if len(c.Command) == 0 {
		return errors.New("the machine has no command")
	}
	if c.Nested && (c.KVM || c.CPUs != 1) {
		return errors.New("a machine with a nested KVM must be emulated, and have one processor")
	}
	names := ownModules
	if c.Nested {
		names = nestedModules
	}
	names = append(slices.Clone(names), c.Modules...)
	modules, err := c.Kernel.Load(names)
	if err != nil {
		return err
	}
	first := filepath.Join(dir, "init")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", first, "github.com/rundlet/rundlet/internal/testmachine/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the first process of the machine: %w\n%s", err, out)
	}
	plan := Plan{Command: c.Command, Env: c.Env, Disk: c.DiskMiB > 0}
	files := map[string]string{"/init": first, PlanFile: filepath.Join(dir, "plan")}
	for _, module := range modules {
		name := "/modules/" + filepath.Base(module)
		plan.Modules = append(plan.Modules, name)
		files[name] = module
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	if err := os.WriteFile(files[PlanFile], text, 0o600); err != nil {
		return err
	}
	if plan.Disk {
		if err := makeDisk(ctx, filepath.Join(dir, "scratch"), c.DiskMiB); err != nil {
			return err
		}
	}
	write := func(name string, content func(io.Writer, map[string]string) error, files map[string]string) error {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		return errors.Join(content(f, files), f.Close())
	}
	return errors.Join(write("initramfs", initramfs, files), write("disk", disk, c.Files))
}

// arguments are those of QEMU. The machine's first processor must not measure its clock
// against an emulated timer: that fails on a busy host, and the machine hangs.
func (c Config) arguments(dir string) []string {
	machine, accel, cpu, device := "microvm,acpi=on,rtc=on,isa-serial=on", "tcg,thread=multi,tb-size=512", "EPYC,-smap,-smep", "device"
	options := "console=ttyS0 quiet reboot=t panic=-1 no_timer_check random.trust_cpu=on cgroup_no_v1=all"
	clock := ""
	if khz := kernel.HostKHz(); khz > 0 {
		clock = fmt.Sprintf(" tsc_early_khz=%d", khz)
	}
	switch {
	case c.Nested:
		machine, cpu, device = "q35", "EPYC", "pci"
		// A machine whose timer was set for single events was seen to stop for ever, with its processor halted; one that ticks was not.
		options += clock + " nohz=off highres=off"
	case c.KVM:
		accel, cpu = "kvm", "host"
		options += " mitigations=off"
	default:
		options += " mitigations=off" + clock
		if clock != "" {
			options += " tsc=reliable"
		}
	}
	disk := func(id, drive string) []string {
		return []string{"-drive", "id=" + id + ",if=none,format=raw,file=" + filepath.Join(dir, drive), "-device", "virtio-blk-" + device + ",serial=" + id + ",drive=" + id}
	}
	arguments := append([]string{
		"-M", machine, "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(c.CPUs), "-m", strconv.Itoa(c.MemoryMiB) + "M",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:" + filepath.Join(dir, "console"),
		"-kernel", c.Kernel.Image, "-initrd", filepath.Join(dir, "initramfs"), "-append", options,
		"-chardev", "file,id=frames,path=/dev/stdout", "-device", "virtio-serial-" + device,
		"-device", "virtserialport,chardev=frames,name=" + Port,
	}, disk("files", "disk,readonly=on")...)
	if c.DiskMiB > 0 {
		arguments = append(arguments, disk("scratch", "scratch,cache=unsafe")...)
	}
	return arguments
}

// makeDisk makes a file system in a file that takes up only what is written to it.
func makeDisk(ctx context.Context, file string, mib int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(int64(mib)<<20), f.Close()); err != nil {
		return err
	}
	// Debian has it where an ordinary user's search path does not lead to.
	cmd := exec.CommandContext(ctx, "sh", "-c", `PATH=$PATH:/usr/sbin:/sbin exec mkfs.ext4 -q -F -E lazy_itable_init=1 "$0"`, file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the disk: %w\n%s", err, out)
	}
	return nil
}

// tail returns the last lines of a console.
func tail(console []byte) []byte {
	const most = 4000
	return bytes.TrimSpace(console[max(0, len(console)-most):])
}
