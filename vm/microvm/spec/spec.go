//go:build linux

// Package spec checks what a virtual machine is asked to be, before any effect, and says what it has. Its functions are pure but for looking at the
// paths in a spec. It may import vm; drivers import it.
package spec

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rundlet/rundlet/vm"
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", vm.ErrInvalid, fmt.Sprintf(format, args...))
}

func unsupported(what string) error { return fmt.Errorf("%w: %s", vm.ErrUnsupported, what) }

// Check refuses fields that cannot be honoured, before any effect. maxVCPUs is the most processors that the hypervisor gives a guest.
func Check(spec vm.Spec, maxVCPUs int) error {
	switch {
	case spec.VCPUs < 0 || spec.VCPUs > maxVCPUs:
		return invalid("%d vcpus; at most %d are possible", spec.VCPUs, maxVCPUs)
	case spec.Weight < 0 || spec.Weight > vm.MaxWeight:
		return invalid("a weight of %d", spec.Weight)
	case spec.MemoryMiB < 0 || spec.MemoryMiB > 1<<20 || spec.MemoryMiB > 0 && spec.MemoryMiB < 64:
		return invalid("%d MiB of memory; at least 64 are needed", spec.MemoryMiB)
	case spec.NetNS != "" && !filepath.IsAbs(spec.NetNS):
		return invalid("network namespace %.100q is not an absolute path", spec.NetNS)
	case spec.NetNS != "" && !exists(spec.NetNS):
		return invalid("no network namespace at %.100q", spec.NetNS)
	case len(spec.Hostname) > 64 || strings.ContainsAny(spec.Hostname, "\x00/\n"):
		return invalid("host name %.100q", spec.Hostname)
	}
	if ref := spec.RestoreFrom; ref != nil {
		if len(ref.NetworkOverrides) > 0 {
			return unsupported("network overrides; give a network namespace")
		}
		if len(spec.Mounts) > 0 {
			return unsupported("mounts: the root must be one image")
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
	switch {
	case len(spec.Mounts) > 0:
		return unsupported("mounts: the root must be one image")
	case spec.Kernel != "" || spec.BootArgs != "":
		return unsupported("a guest kernel of the spec; install one")
	case len(spec.Interfaces) > 0:
		return unsupported("network interfaces; give a network namespace")
	case len(spec.Drives) > 0 || spec.RootfsRateLimit != nil:
		return unsupported("drives and their rate limits")
	case spec.Vsock != nil:
		return unsupported("vsock")
	case spec.TrackDirtyPages:
		return unsupported("dirty page tracking; what a snapshot shares is found without it")
	case spec.DiskMiB < 0 || spec.DiskMiB > 1<<30 || spec.DiskMiB > 0 && spec.DiskMiB < 16:
		return invalid("%d MiB of disk; at least 16 are needed", spec.DiskMiB)
	case spec.MaxProcesses < 0:
		return invalid("%d processes", spec.MaxProcesses)
	case spec.Rootfs == "":
		return invalid("no root file system")
	case len(spec.Args) == 0:
		return invalid("no program to run: args is empty")
	case !filepath.IsAbs(spec.Rootfs):
		return invalid("root file system %.100q is not an absolute path", spec.Rootfs)
	case spec.Cwd != "" && !filepath.IsAbs(spec.Cwd):
		return invalid("working directory %.100q is not an absolute path", spec.Cwd)
	case slices.ContainsFunc(spec.Env, func(e string) bool { return !strings.Contains(e, "=") || strings.Contains(e, "\x00") }):
		return invalid("an environment variable is not of the form KEY=VALUE")
	}
	info, err := os.Stat(spec.Rootfs)
	switch {
	case err != nil:
		return invalid("root file system %.100q: %v", spec.Rootfs, err)
	case info.IsDir():
		return unsupported("a directory as the root file system; an EROFS file is needed")
	case !info.Mode().IsRegular() || !isImage(spec.Rootfs):
		return invalid("root file system %.100q is no EROFS image", spec.Rootfs)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// isImage looks for the magic number of EROFS, which is 1,024 bytes from the beginning (include/uapi/linux/magic.h).
func isImage(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = f.ReadAt(magic[:], 1024)
	return err == nil && magic == [4]byte{0xe2, 0xe1, 0xf5, 0xe0}
}

// What a machine has whose spec does not say: hardware has some memory, and a disk takes what is written to it.
const (
	DefaultMemoryMiB = 512
	DefaultDiskMiB   = 10 << 10
)

// MemoryMiB and the others are what a machine has, also if its spec does not say.
func MemoryMiB(spec vm.Spec) int { return cmp.Or(spec.MemoryMiB, DefaultMemoryMiB) }
func DiskMiB(spec vm.Spec) int   { return cmp.Or(spec.DiskMiB, DefaultDiskMiB) }
func VCPUs(spec vm.Spec) int     { return cmp.Or(spec.VCPUs, 1) }

const cpuPeriodMicros = 100_000

// Limits are those of a machine from outside. A restored machine has the hardware of its snapshot, and its own limits.
type Limits struct {
	VCPUs     int `json:"vcpus"`
	MemoryMiB int `json:"memory_mib"`
}

// Overhead is what a process of the hypervisor takes beside the guest: memory, and threads beside one for each processor.
type Overhead struct{ MemoryMiB, Threads int }

// Resources are the limits of the control group of a machine with a number of processors. A process that can make no thread may end itself: that limit
// is of what a guest can make it do elsewhere.
func (l Limits) Resources(processors int, over Overhead) *specs.LinuxResources {
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: int64(over.Threads + processors)}}
	quota, period := int64(l.VCPUs)*cpuPeriodMicros, uint64(cpuPeriodMicros)
	res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	limit := l.MemoryBytes(over)
	res.Memory = &specs.LinuxMemory{Limit: &limit}
	return res
}

// MemoryBytes is the most memory that the machine can take from the host.
func (l Limits) MemoryBytes(over Overhead) int64 { return int64(l.MemoryMiB+over.MemoryMiB) << 20 }

// Own copies what the caller may change later.
func Own(spec vm.Spec) vm.Spec {
	spec.Args, spec.Env, spec.Mounts = slices.Clone(spec.Args), slices.Clone(spec.Env), slices.Clone(spec.Mounts)
	if spec.RestoreFrom != nil {
		from := *spec.RestoreFrom
		spec.RestoreFrom = &from
	}
	return spec
}
