//go:build linux

package monitor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/machine"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/spec"
)

// The files in the jail. Those of drives and sockets are in snapshots, too: they have the same names in each jail.
const (
	apiSocket, guestSocket                = "api", "guest"
	baseFile, diskFile                    = "base", "disk"
	kernelFile, initramfsFile             = "kernel", "initramfs"
	savedState, savedMemory               = "state", "memory"
	programName                           = "firecracker"
	baseID, diskID, cardID                = "base", "disk", "eth0"
	readable                              = 0o444
	ownerOnly                 os.FileMode = 0o600
)

// id names the machine to its jailer, and is an argument that no other process has.
func id(m *machine.State) string { return filepath.Base(m.Dir) }

// jail is the root directory of the process, below that of the disk, with which it is removed. It must be in the file system of the disk and the
// images, which are linked into it.
func (m *VM) jail() string {
	return filepath.Join(m.Disks, programName, id(m.State), "root")
}

// makeJail makes the directory, and puts the files into it that the process opens.
func (m *VM) makeJail(boot machine.BootFiles) error {
	if err := m.makeRoot(); err != nil {
		return err
	}
	if err := m.share(m.Spec.Rootfs, baseFile); err != nil {
		return err
	}
	if !m.Spec.RootfsReadOnly {
		disk := filepath.Join(m.Disks, snapshots.DiskFile)
		if err := os.Link(disk, filepath.Join(m.jail(), diskFile)); err != nil {
			return err
		}
		if err := os.Chown(disk, m.UID, m.UID); err != nil {
			return err
		}
	}
	if m.Restored {
		if err := m.share(filepath.Join(m.Disks, snapshots.MemoryFile), savedMemory); err != nil {
			return err
		}
		return m.give(filepath.Join(m.Disks, snapshots.StateFile), savedState)
	}
	k, initramfs, err := boot()
	if err != nil {
		return err
	}
	return m.giveKernel(k, initramfs)
}

func (m *VM) makeRoot() error {
	if err := os.MkdirAll(m.jail(), 0o700); err != nil {
		return err
	}
	return os.Chown(m.jail(), m.UID, m.UID)
}

func (m *VM) giveKernel(k kernel.Kernel, initramfs string) error {
	if k.Vmlinux == "" {
		return &vm.Error{Op: "boot", Kind: vm.ErrUnsupported, Err: fmt.Errorf("the kernel is not an ELF file, and has none in it: %s", k.NoVmlinux),
			Hint: "install another kernel: rundlet kernel install FILE"}
	}
	return errors.Join(m.give(k.Vmlinux, kernelFile), m.give(initramfs, initramfsFile))
}

// share links a file that several machines read into the jail. All users may read it: the directories above its other names keep them away.
func (m *VM) share(from, name string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&readable != readable {
		if err := os.Chmod(from, mode|readable); err != nil {
			return err
		}
	}
	err = os.Link(from, filepath.Join(m.jail(), name))
	if errors.Is(err, unix.EXDEV) {
		return &vm.Error{Op: "create", Kind: vm.ErrUnsupported, Err: fmt.Errorf("%s is in another file system than %s", from, m.Disks), Hint: "keep images and state in one file system"}
	}
	return err
}

// give copies a file into the jail, for this machine alone.
func (m *VM) give(from, name string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(m.jail(), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, ownerOnly)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chown(m.UID, m.UID), out.Close())
}

// discard removes files from the jail that the process has read.
func (m *VM) discard(names ...string) {
	for _, name := range names {
		_ = os.Remove(filepath.Join(m.jail(), name))
	}
}

// largestFile is the limit of the size of files that the process writes, in bytes: its disk, and the memory that it saves.
func (m *VM) largestFile() (int64, error) {
	most := int64(spec.MemoryMiB(m.Spec)) << 20
	if !m.Spec.RootfsReadOnly {
		info, err := os.Stat(filepath.Join(m.Disks, snapshots.DiskFile))
		if err != nil {
			return 0, err
		}
		most = max(most, info.Size())
	}
	const other = 64 << 20 // more than each other file takes
	return most + other, nil
}
