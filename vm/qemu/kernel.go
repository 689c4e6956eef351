//go:build linux

package qemu

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/program"
)

// kernelHint is what to do without a kernel.
const kernelHint = "rundlet kernel install FILE, with a kernel package such as Debian's linux-image-cloud-amd64"

// installedKernel returns the kernel that the operator installed last, with the first files of a guest, which are made once for each boot
// of the host.
func (d *Driver) installedKernel() (image, initramfs string, err error) {
	k, err := kernel.Open(d.conf.Kernels)
	if err != nil {
		return "", "", &vm.Error{Op: "boot", Kind: vm.ErrUnsupported, Err: err, Hint: kernelHint}
	}
	d.booting.Lock()
	defer d.booting.Unlock()
	initramfs = filepath.Join(d.dirs.run, fmt.Sprintf("initramfs-%s-%.12s", k.ID, program.Digest()))
	if _, err := os.Stat(initramfs); err == nil {
		return k.Image, initramfs, nil
	}
	temp, err := os.MkdirTemp(d.dirs.run, ".initramfs-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(temp)
	path, err := program.Extract(temp)
	if err != nil {
		return "", "", err
	}
	first, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	made := filepath.Join(temp, "made")
	f, err := os.OpenFile(made, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", "", err
	}
	err = kernel.Initramfs(f, k, first)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", "", err
	}
	return k.Image, initramfs, os.Rename(made, initramfs)
}
