//go:build linux

package driver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// Check returns what this host lacks for any hypervisor. own are the problems with one; they come after that of a missing kernel.
func Check(kernels string, own ...vm.Problem) (problems []vm.Problem) {
	fatal := func(what, hint string) { problems = append(problems, vm.Problem{Fatal: true, What: what, Hint: hint}) }
	if _, err := kernel.Open(kernels); err != nil {
		fatal(err.Error(), KernelHint)
	}
	problems = append(problems, own...)
	if !exists("/dev/net/tun") {
		fatal("/dev/net/tun is missing", "modprobe tun")
	}
	if !slices.ContainsFunc([]string{"/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"}, exists) {
		fatal("mkfs.ext4 is missing", "apt-get install e2fsprogs")
	}
	if err := cgroups.Usable(); err != nil {
		fatal("no usable control groups: "+err.Error(), "mount control groups (v1 or v2)")
	}
	return problems
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// AskVersion returns what a program says to --version.
func AskVersion(program string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	return string(out), nil
}
