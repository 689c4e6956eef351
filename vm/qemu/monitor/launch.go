//go:build linux

package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
	"github.com/rundlet/rundlet/vm/microvm/tap"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
)

// consolePipe is the name of the console: what the guest writes goes to the pipe with the ending ".out", and nothing comes from that
// with ".in".
const consolePipe = "console"

// The files in a machine's directory.
const (
	qmpSocket, linkSocket     = "qmp", "link"
	stateFile                 = "state" // while it is saved
	firstFD                   = 3       // of a process, after its standard ones
	linkPort, consoleName     = link.Port, "rundlet.console"
	launchTime                = 20 * time.Second
	connectFirst, connectLast = time.Millisecond, 20 * time.Millisecond
)

// Launch implements machine.Monitor.
func (m *VM) Launch(ctx context.Context, boot machine.BootFiles) (err error) {
	if err := unix.Mkfifo(filepath.Join(m.Dir, consolePipe+".in"), 0o600); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	var kept []*os.File
	defer func() {
		for _, f := range kept {
			f.Close()
		}
	}()
	open := func(path string, flags int) (string, error) {
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			return "", err
		}
		kept = append(kept, f)
		return fmt.Sprintf("/dev/fd/%d", firstFD+len(kept)-1), nil
	}
	args := machineArguments(m.Spec)
	ram, err := m.memory(&kept)
	if err != nil {
		return err
	}
	share := "on"
	if m.Restored {
		share = "off"
	}
	args = append(args, "-object", fmt.Sprintf("memory-backend-file,id=ram0,size=%dM,mem-path=%s,share=%s", spec.MemoryMiB(m.Spec), ram, share))
	root, err := open(m.Spec.Rootfs, os.O_RDONLY)
	if err != nil {
		return err
	}
	args = append(args, "-add-fd", fdSet(1, root), "-drive", "id=base,if=none,file=/dev/fdset/1,format=raw,readonly=on,file.locking=off",
		"-device", "virtio-blk-device,drive=base,serial=base")
	if !m.Spec.RootfsReadOnly {
		disk, err := open(filepath.Join(m.Disks, snapshots.DiskFile), os.O_RDWR)
		if err != nil {
			return err
		}
		args = append(args, "-add-fd", fdSet(2, disk), "-drive", "id=disk,if=none,file=/dev/fdset/2,format=raw,readonly=off,auto-read-only=off,file.locking=off,discard=unmap,detect-zeroes=unmap",
			"-device", "virtio-blk-device,drive=disk,serial=disk")
	}
	if m.Restored {
		state, err := open(filepath.Join(m.Disks, snapshots.StateFile), os.O_RDONLY)
		if err != nil {
			return err
		}
		// What was saved has no section of the configuration: see save.
		args = append(args, "-global", "migration.send-configuration=off", "-incoming", "fd:"+strings.TrimPrefix(state, "/dev/fd/"))
	} else {
		k, initramfs, err := boot()
		if err != nil {
			return err
		}
		args = append(args, "-kernel", k.Image, "-initrd", initramfs, "-append", kernelArguments())
	}
	start := func() error {
		if m.Spec.NetNS != "" {
			file, network, err := tap.Open()
			if err != nil {
				return err
			}
			kept, m.Network = append(kept, file), &network
			args = append(args, "-netdev", fmt.Sprintf("tap,id=net,fd=%d,vhost=off", firstFD+len(kept)-1), "-device", "virtio-net-device,netdev=net,mac="+network.MAC)
		}
		return m.start(args, kept)
	}
	if m.Spec.NetNS != "" {
		err = netns.At(m.Spec.NetNS, start)
	} else {
		err = start()
	}
	if err != nil {
		return err
	}
	return m.connect(ctx)
}

func fdSet(set int, path string) string {
	return fmt.Sprintf("fd=%s,set=%d", strings.TrimPrefix(path, "/dev/fd/"), set)
}

// ids are those of the user namespace of a process.
func ids(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: id, HostID: id, Size: 1}}
}

// machineArguments are those that a restored machine needs as the saved one had them.
func machineArguments(s vm.Spec) []string {
	socket := func(id, path string) string { return "socket,id=" + id + ",path=" + path + ",server=on,wait=off" }
	return []string{
		"-M", "microvm,acpi=on,x-option-roms=off,rtc=on,isa-serial=off,memory-backend=ram0",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
		"-accel", "tcg,thread=multi,tb-size=64", "-cpu", "EPYC,-smap,-smep", "-smp", strconv.Itoa(spec.VCPUs(s)), "-m", strconv.Itoa(spec.MemoryMiB(s)) + "M",
		"-chardev", socket("qmp", qmpSocket), "-mon", "chardev=qmp,mode=control",
		"-chardev", socket("link", linkSocket), "-chardev", "pipe,id=console,path=" + consolePipe,
		"-device", "virtio-serial-device,id=serial",
		"-device", "virtserialport,bus=serial.0,chardev=link,name=" + linkPort,
		"-device", "virtserialport,bus=serial.0,chardev=console,name=" + consoleName,
		"-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-device,rng=rng0",
		"-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
	}
}

// kernelArguments are the guest kernel's command line. The frequency is the host's: the kernel measures it wrongly, or not at all, on a busy one.
func kernelArguments() string {
	clock := ""
	if khz := kernel.HostKHz(); khz > 0 {
		clock = fmt.Sprintf(" tsc_early_khz=%d tsc=reliable", khz)
	}
	return "quiet reboot=t panic=-1 no_timer_check random.trust_cpu=on mitigations=off cgroup_no_v1=all net.ifnames=0" + clock
}

// start starts the program with its files, in the present network namespace.
func (m *VM) start(args []string, kept []*os.File) error {
	cmd := exec.Command(m.program, append(args, "-chroot", m.Dir, "-runas", fmt.Sprintf("%d:%d", m.UID, m.UID))...) //nolint:noctx // It outlives the call, and the daemon.
	cmd.Env, cmd.ExtraFiles = []string{"PATH=/usr/bin:/bin"}, kept
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		// It begins as root, to open what it is given and to enter its root.
		UidMappings: ids(m.UID), GidMappings: ids(m.UID), GidMappingsEnableSetgroups: true,
	}
	return m.StartProcess(cmd)
}

// memory returns the path of the guest's memory, and keeps the file open: that of the snapshot, which the process maps for itself alone, or
// one without a name that is all zeros.
func (m *VM) memory(kept *[]*os.File) (string, error) {
	var file *os.File
	if m.Restored {
		// QEMU opens it for writing; a private mapping writes nothing to it.
		f, err := os.OpenFile(filepath.Join(m.Disks, snapshots.MemoryFile), os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		file = f
	} else {
		fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
		if err != nil {
			return "", err
		}
		file = os.NewFile(uintptr(fd), "guest")
		if err := file.Truncate(int64(spec.MemoryMiB(m.Spec)) << 20); err != nil {
			file.Close()
			return "", err
		}
	}
	*kept = append(*kept, file)
	return fmt.Sprintf("/proc/self/fd/%d", firstFD+len(*kept)-1), nil
}

// connect waits until QEMU answers.
func (m *VM) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	for pause := connectFirst; ; pause = min(2*pause, connectLast) {
		client, err := m.dialQMP(ctx)
		if err == nil {
			m.mu.Lock()
			m.qmp = client
			m.mu.Unlock()
			return nil
		}
		select {
		case <-m.Process.Ended:
			return fmt.Errorf("qemu: %s: %s", m.Process.Reason, m.Complaint())
		case <-ctx.Done():
			return fmt.Errorf("qemu does not answer: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

func (m *VM) dialQMP(ctx context.Context) (*qmp.Client, error) {
	conn, err := untrusted.Dial(ctx, filepath.Join(m.Dir, qmpSocket))
	if err != nil {
		return nil, err
	}
	return qmp.New(ctx, conn)
}

// Load implements machine.Monitor: QEMU loads the state from its beginning on.
func (m *VM) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	for pause := connectFirst; ; pause = min(2*pause, connectLast) {
		var status struct {
			Status string `json:"status"`
		}
		if err := m.qmp.Do(ctx, "query-status", nil, &status); err != nil {
			if why := m.Complaint(); why != "" {
				err = fmt.Errorf("%w: %s", vm.ErrIncompatible, why)
			}
			return fmt.Errorf("load the snapshot: %w", err)
		}
		if status.Status != "inmigrate" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("load the snapshot: %w", ctx.Err())
		case <-time.After(pause):
		}
	}
}
