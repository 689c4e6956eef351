//go:build linux

// Package oci checks what a machine is asked to be, and translates it for gVisor: into
// the specification of a container, and flags of its command line. Its functions are
// pure but for looking at the paths in a spec. It imports vm, OCI's types and the
// standard library only.
package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// Check refuses fields that cannot be honoured, before any effect.
func Check(spec vm.Spec) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", vm.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case spec.VCPUs < 0 || spec.VCPUs > 4096:
		return invalid("%d vcpus", spec.VCPUs)
	case spec.Weight < 0 || spec.Weight > vm.MaxWeight:
		return invalid("a weight of %d", spec.Weight)
	case spec.MemoryMiB < 0 || spec.MemoryMiB > 1<<30:
		return invalid("%d MiB of memory", spec.MemoryMiB)
	case spec.DiskMiB < 0 || spec.DiskMiB > 1<<40:
		return invalid("%d MiB of disk", spec.DiskMiB)
	case spec.MaxProcesses < 0:
		return invalid("%d processes", spec.MaxProcesses)
	case spec.NetNS != "" && !filepath.IsAbs(spec.NetNS):
		return invalid("network namespace %.100q is not an absolute path", spec.NetNS)
	case spec.NetNS != "" && !exists(spec.NetNS):
		return invalid("no network namespace at %.100q", spec.NetNS)
	case len(spec.Hostname) > 64 || strings.ContainsAny(spec.Hostname, "\x00/\n"):
		return invalid("host name %.100q", spec.Hostname)
	}
	if err := CheckMounts(spec.Mounts); err != nil {
		return err
	}
	if ref := spec.RestoreFrom; ref != nil {
		if len(ref.NetworkOverrides) > 0 {
			return unsupported("network overrides")
		}
		if err := vm.ValidateID(ref.VMID); err != nil {
			return err
		}
		return vm.ValidateSnapshotID(ref.SnapshotID)
	}
	return CheckCold(spec)
}

// CheckCold checks the fields that count on a cold boot only.
func CheckCold(spec vm.Spec) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", vm.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case spec.Kernel != "" || spec.BootArgs != "":
		return unsupported("a guest kernel")
	case len(spec.Interfaces) > 0:
		return unsupported("network interfaces; give a network namespace")
	case len(spec.Drives) > 0 || spec.RootfsRateLimit != nil:
		return unsupported("drives and their rate limits")
	case spec.Vsock != nil:
		return unsupported("vsock")
	case spec.TrackDirtyPages:
		return unsupported("dirty page tracking")
	case spec.Rootfs == "":
		return invalid("no root file system")
	case len(spec.Args) == 0:
		return invalid("no program to run: args is empty")
	case !filepath.IsAbs(spec.Rootfs):
		return invalid("root file system %.100q is not an absolute path", spec.Rootfs)
	case !dirExists(spec.Rootfs) && !IsImage(spec.Rootfs):
		return invalid("root file system %.100q is neither a directory nor an EROFS image", spec.Rootfs)
	}
	if err := CheckImages(spec); err != nil || !dirExists(spec.Rootfs) {
		return err // The places in an image are not looked at: gVisor makes them in the guest's layer.
	}
	return checkMountPoints(spec)
}

func unsupported(what string) error {
	return fmt.Errorf("%w: gvisor has no %s", vm.ErrUnsupported, what)
}

// CheckMounts checks the mounts of a machine, but not whether their targets are there.
func CheckMounts(mounts []vm.Mount) error {
	seen := map[string]bool{}
	for _, m := range mounts {
		switch {
		case !filepath.IsAbs(m.Source) || !exists(m.Source):
			return fmt.Errorf("%w: mount source %.100q does not exist", vm.ErrInvalid, m.Source)
		case !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) != m.Target || m.Target == "/":
			return fmt.Errorf("%w: mount target %.100q is not a clean absolute path", vm.ErrInvalid, m.Target)
		case seen[m.Target]:
			return fmt.Errorf("%w: mount target %.100q is given twice", vm.ErrInvalid, m.Target)
		}
		seen[m.Target] = true
	}
	return nil
}

// checkMountPoints refuses a mount whose target is not there. gVisor would make
// it, in the root directory on the host, which is the caller's.
func checkMountPoints(spec vm.Spec) error {
	for _, m := range spec.Mounts {
		place := filepath.Join(spec.Rootfs, m.Target)
		outer := ""
		for _, o := range spec.Mounts {
			if rest, in := strings.CutPrefix(m.Target, o.Target+"/"); in && len(o.Target) > len(outer) {
				place, outer = filepath.Join(o.Source, rest), o.Target
			}
		}
		source, err := os.Stat(m.Source)
		if err != nil {
			return fmt.Errorf("%w: mount source %.100q: %w", vm.ErrInvalid, m.Source, err)
		}
		isDir := source.IsDir() || IsImage(m.Source)
		target, err := os.Stat(place)
		switch {
		case err != nil:
			return fmt.Errorf("%w: mount target %.100q does not exist in the root file system or the mount that it is in", vm.ErrInvalid, m.Target)
		case isDir != target.IsDir():
			return fmt.Errorf("%w: one of mount target %.100q and source %.100q is a directory", vm.ErrInvalid, m.Target, m.Source)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
