//go:build linux

package qemu

import "errors"

// installedKernel returns the kernel that the operator installed last.
func (d *Driver) installedKernel() (kernel, initramfs string, err error) {
	return "", "", errors.New("no guest kernel is installed")
}
