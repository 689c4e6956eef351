//go:build linux

package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/program"
)

// KernelHint is what to do without a kernel.
const KernelHint = "rundlet kernel install FILE, with a kernel package such as Debian's linux-image-cloud-amd64"

// bootFiles makes the first files of guests, once for each kernel and each boot of the host.
type bootFiles struct {
	kernels, dir string

	mu sync.Mutex
}

// latest returns the kernel that the operator installed last, with the first files of a guest.
func (b *bootFiles) latest() (k kernel.Kernel, initramfs string, err error) {
	k, err = kernel.Open(b.kernels)
	if err != nil {
		return k, "", &vm.Error{Op: "boot", Kind: vm.ErrUnsupported, Err: err, Hint: KernelHint}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	initramfs = filepath.Join(b.dir, fmt.Sprintf("initramfs-%s-%.12s", k.ID, program.Digest()))
	if _, err := os.Stat(initramfs); err == nil {
		return k, initramfs, nil
	}
	temp, err := os.MkdirTemp(b.dir, ".initramfs-")
	if err != nil {
		return k, "", err
	}
	defer os.RemoveAll(temp)
	path, err := program.Extract(temp)
	if err != nil {
		return k, "", err
	}
	first, err := os.ReadFile(path)
	if err != nil {
		return k, "", err
	}
	made := filepath.Join(temp, "made")
	f, err := os.OpenFile(made, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return k, "", err
	}
	err = kernel.Initramfs(f, k, first)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return k, "", err
	}
	return k, initramfs, os.Rename(made, initramfs)
}
