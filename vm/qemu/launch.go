//go:build linux

package qemu

import (
	"bytes"
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

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/microvm/link"
	"github.com/rundlet/rundlet/vm/microvm/tap"
	"github.com/rundlet/rundlet/vm/qemu/qmp"
)

// The files in a machine's directories.
const (
	qmpSocket, linkSocket     = "qmp", "link"
	consolePipe               = "console"
	diskFile                  = "disk"
	ramFile, stateFile        = "ram", "state"
	errorFile                 = "error"
	firstFD                   = 3 // of a process, after its standard ones
	linkPort, consoleName     = link.Port, "rundlet.console"
	launchTime, answerTime    = 20 * time.Second, 5 * time.Second
	adoptTime                 = 3 * time.Second // of Adopt, for one machine
	connectFirst, connectLast = time.Millisecond, 20 * time.Millisecond
)

// launch starts the process of QEMU, whose guest stands still. The machine's directories and group are there.
func (d *Driver) launch(ctx context.Context, m *machine) (err error) {
	dir := d.dirs.machine(m.Key)
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
	args := machineArguments(m)
	ram, err := d.memory(m, &kept)
	if err != nil {
		return err
	}
	share := "on"
	if m.restored {
		share = "off"
	}
	args = append(args, "-object", fmt.Sprintf("memory-backend-file,id=ram0,size=%dM,mem-path=%s,share=%s", memoryMiB(m.spec), ram, share))
	root, err := open(m.spec.Rootfs, os.O_RDONLY)
	if err != nil {
		return err
	}
	args = append(args, "-add-fd", fdSet(1, root), "-drive", "id=base,if=none,file=/dev/fdset/1,format=raw,readonly=on,file.locking=off",
		"-device", "virtio-blk-device,drive=base,serial=base")
	if !m.spec.RootfsReadOnly {
		disk, err := open(filepath.Join(d.dirs.disk(m.Key), diskFile), os.O_RDWR)
		if err != nil {
			return err
		}
		args = append(args, "-add-fd", fdSet(2, disk), "-drive", "id=disk,if=none,file=/dev/fdset/2,format=raw,readonly=off,auto-read-only=off,file.locking=off,discard=unmap,detect-zeroes=unmap",
			"-device", "virtio-blk-device,drive=disk,serial=disk")
	}
	if m.restored {
		state, err := open(filepath.Join(d.dirs.disk(m.Key), stateFile), os.O_RDONLY)
		if err != nil {
			return err
		}
		// What was saved has no section of the configuration: see save.
		args = append(args, "-global", "migration.send-configuration=off", "-incoming", "fd:"+strings.TrimPrefix(state, "/dev/fd/"))
	} else {
		kernel, initramfs, err := d.bootFiles()
		if err != nil {
			return err
		}
		args = append(args, "-kernel", kernel, "-initrd", initramfs, "-append", kernelArguments())
	}
	start := func() error {
		if m.spec.NetNS != "" {
			file, network, err := tap.Open()
			if err != nil {
				return err
			}
			kept, m.network = append(kept, file), &network
			args = append(args, "-netdev", fmt.Sprintf("tap,id=net,fd=%d,vhost=off", firstFD+len(kept)-1), "-device", "virtio-net-device,netdev=net,mac="+network.MAC)
		}
		return d.start(m, dir, args, kept)
	}
	if m.spec.NetNS != "" {
		err = tap.In(m.spec.NetNS, start)
	} else {
		err = start()
	}
	if err != nil {
		return err
	}
	return d.connect(ctx, m)
}

func fdSet(set int, path string) string {
	return fmt.Sprintf("fd=%s,set=%d", strings.TrimPrefix(path, "/dev/fd/"), set)
}

// start starts the program with its files, in the present network namespace.
func (d *Driver) start(m *machine, dir string, args []string, kept []*os.File) error {
	cmd := exec.Command(d.program, append(args, "-chroot", dir, "-runas", fmt.Sprintf("%d:%d", m.uid, m.uid))...)
	complaints, err := os.OpenFile(filepath.Join(dir, errorFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer complaints.Close()
	cmd.Dir, cmd.Env, cmd.ExtraFiles, cmd.Stderr = dir, []string{"PATH=/usr/bin:/bin"}, kept, complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		// It begins as root, to open what it is given and to enter its root.
		UidMappings: ids(m.uid), GidMappings: ids(m.uid), GidMappingsEnableSetgroups: true,
	}
	if m.spec.NetNS == "" {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d.program, err)
	}
	if m.process, err = process.Open(cmd.Process.Pid, 0); err != nil {
		return err
	}
	for _, file := range m.group.ProcsFiles() {
		if err := os.WriteFile(file, []byte(strconv.Itoa(m.process.PID)), 0); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// ids are those of the user namespace of a process.
func ids(id int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: id, HostID: id, Size: 1}}
}

// memory returns the path of the guest's memory, and keeps the file open: that of the snapshot, which the process maps for itself alone, or
// one without a name that is all zeros.
func (d *Driver) memory(m *machine, kept *[]*os.File) (string, error) {
	var file *os.File
	if m.restored {
		// QEMU opens it for writing; a private mapping writes nothing to it.
		f, err := os.OpenFile(filepath.Join(d.dirs.disk(m.Key), ramFile), os.O_RDWR, 0)
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
		if err := file.Truncate(int64(memoryMiB(m.spec)) << 20); err != nil {
			file.Close()
			return "", err
		}
	}
	*kept = append(*kept, file)
	return fmt.Sprintf("/proc/self/fd/%d", firstFD+len(*kept)-1), nil
}

// machineArguments are those that a restored machine needs as the saved one had them.
func machineArguments(m *machine) []string {
	socket := func(id, path string) string { return "socket,id=" + id + ",path=" + path + ",server=on,wait=off" }
	return []string{
		"-M", "microvm,acpi=on,x-option-roms=off,rtc=on,isa-serial=off,memory-backend=ram0",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
		"-accel", "tcg,thread=multi,tb-size=64", "-cpu", "EPYC,-smap,-smep", "-smp", strconv.Itoa(vcpus(m.spec)), "-m", strconv.Itoa(memoryMiB(m.spec)) + "M",
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
	if khz := hostKHz(); khz > 0 {
		clock = fmt.Sprintf(" tsc_early_khz=%d tsc=reliable", khz)
	}
	return "quiet reboot=t panic=-1 no_timer_check random.trust_cpu=on mitigations=off cgroup_no_v1=all net.ifnames=0" + clock
}

// hostKHz is the frequency of this host's processor, which an emulated one has, too; 0 if the host does not say.
func hostKHz() int {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(data) {
		name, value, _ := strings.Cut(string(line), ":")
		if strings.TrimSpace(name) != "cpu MHz" {
			continue
		}
		if mhz, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return int(mhz * 1000)
		}
	}
	return 0
}

// connect waits until QEMU answers.
func (d *Driver) connect(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	for pause := connectFirst; ; pause = min(2*pause, connectLast) {
		client, err := qmp.Dial(ctx, filepath.Join(d.dirs.machine(m.Key), qmpSocket))
		if err == nil {
			m.mu.Lock()
			m.qmp = client
			m.mu.Unlock()
			return nil
		}
		select {
		case <-m.process.Ended:
			return fmt.Errorf("qemu: %s: %s", m.process.Reason, d.complaint(m))
		case <-ctx.Done():
			return fmt.Errorf("qemu does not answer: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

// complaint is what QEMU has written of an error, in one line.
func (d *Driver) complaint(m *machine) string {
	f, err := os.Open(filepath.Join(d.dirs.machine(m.Key), errorFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, 4<<10)
	n, _ := f.Read(buf)
	lines := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	for _, line := range lines {
		if !strings.Contains(line, "warning:") {
			return strings.ToValidUTF8(line, "")
		}
	}
	return ""
}
