//go:build linux

package gvisor

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gvisor.dev/gvisor/runsc/config"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/cgroups"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// capabilities is every capability: root in the guest is root of the guest's
// own kernel, and that kernel separates it from the host.
var capabilities = []string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_CHOWN",
	"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN",
	"CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
	"CAP_NET_RAW", "CAP_SETGID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN",
	"CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT",
	"CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG",
	"CAP_SYSLOG", "CAP_WAKE_ALARM",
}

// checkSpec refuses fields that cannot be honoured, before any effect.
func checkSpec(spec vm.Spec) error {
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
	if err := checkMounts(spec.Mounts); err != nil {
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
	return checkCold(spec)
}

// checkCold checks the fields that count on a cold boot only.
func checkCold(spec vm.Spec) error {
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
	case !dirExists(spec.Rootfs):
		return invalid("root file system %.100q is not a directory", spec.Rootfs)
	}
	return checkMountPoints(spec)
}

func unsupported(what string) error {
	return fmt.Errorf("%w: gvisor has no %s", vm.ErrUnsupported, what)
}

func checkMounts(mounts []vm.Mount) error {
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
		target, err := os.Stat(place)
		switch {
		case err != nil:
			return fmt.Errorf("%w: mount target %.100q does not exist in the root file system or the mount that it is in", vm.ErrInvalid, m.Target)
		case source.IsDir() != target.IsDir():
			return fmt.Errorf("%w: one of mount target %.100q and source %.100q is a directory", vm.ErrInvalid, m.Target, m.Source)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ociSpec is the container that gVisor is asked to run. What may differ
// between a snapshot and its restore is only what gVisor allows to differ:
// limits are therefore not in it.
func ociSpec(spec vm.Spec, oneLayer bool) *specs.Spec {
	caps := &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities,
		Inheritable: capabilities, Permitted: capabilities}
	out := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: filepath.Clean(spec.Rootfs), Readonly: spec.RootfsReadOnly},
		Process: &specs.Process{
			Args: spec.Args, Env: spec.Env, Cwd: spec.Cwd, Capabilities: caps,
			// Setuid programs (sudo, su) must work in the guest.
			NoNewPrivileges: false,
		},
		Hostname: spec.Hostname,
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}},
		},
		Linux: &specs.Linux{},
	}
	if out.Process.Cwd == "" {
		out.Process.Cwd = "/"
	}
	if n := uint64(spec.MaxProcesses); n > 0 {
		out.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NPROC", Soft: n, Hard: n}}
	}
	_, own := below(spec, oneLayer)
	for _, m := range own {
		options := []string{"ro"}
		if m.Overlay {
			options = []string{"rw"}
		}
		out.Mounts = append(out.Mounts, specs.Mount{
			Destination: m.Target, Type: "bind", Source: filepath.Clean(m.Source), Options: options})
	}
	if spec.NetNS != "" {
		out.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.NetworkNamespace, Path: spec.NetNS}}
	}
	return out
}

// runscFlags are the flags that decide how a machine runs, and part of every
// snapshot. Writable layers are files in layerDir, not memory: what a guest
// writes does not count against its memory limit then, since the host can take
// the page cache back. A snapshot is not bound to the directory, so its flags
// are those for the empty layerDir.
func runscFlags(spec vm.Spec, layerDir string) map[string]string {
	overlay := "all:dir=" + layerDir
	if spec.DiskMiB > 0 {
		overlay += fmt.Sprintf(",size=%dm", spec.DiskMiB)
	}
	network := "none"
	if spec.NetNS != "" {
		network = "sandbox"
	}
	return map[string]string{
		"platform":   "systrap",
		"overlay2":   overlay,
		"network":    network,
		"allow-suid": "true",
		// The program itself is the sentry: there are no other files to find.
		"sidecar-usage-policy": "LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK",
		// The machine's processes join their control group themselves.
		"ignore-cgroups": "true",
		"host-settings":  "ignore",
	}
}

func runscConfig(dirs files.Dirs, debug bool, spec vm.Spec, bundle string) (*config.Config, error) {
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(fs)
	flags := runscFlags(spec, dirs.Pending())
	flags["root"] = dirs.Root()
	if debug {
		flags["debug"] = "true"
		flags["debug-log"] = filepath.Join(bundle, "log-%COMMAND%")
	}
	for name, value := range flags {
		if err := fs.Set(name, value); err != nil {
			return nil, fmt.Errorf("flag %s=%s: %w", name, value, err)
		}
	}
	return config.NewFromFlags(fs)
}

// guestCPUs is how many processors the guest sees. Not less than two where the
// host has them: threads of a guest run truly at the same time even under a
// limit of one, and programs on one processor may leave out locked instructions.
func guestCPUs(vcpus int) int {
	if vcpus == 0 {
		return 0
	}
	return min(max(vcpus, 2), runtime.NumCPU())
}

// writeBundle writes the files that the sandbox's processes read.
func writeBundle(bundle string, spec vm.Spec, g *cgroups.Group, tasks int64, images string, setUID []string, oneLayer bool) error {
	l := launch{
		Console:     filepath.Join(bundle, consoleFile),
		CPUs:        guestCPUs(spec.VCPUs),
		MemoryBytes: int64(spec.MemoryMiB) << 20,
		CgroupProcs: g.ProcsFiles(),
		SetUID:      setUID,
		Rootfs:      spec.Rootfs,
	}
	l.Mounts, _ = below(spec, oneLayer)
	if g != nil {
		l.Tasks, l.TasksFile = tasks, g.TasksFile("pids.current")
	}
	if images != "" {
		l.StartHeap = restoreHeadroom(images)
	}
	return errors.Join(
		files.WriteJSON(filepath.Join(bundle, "config.json"), ociSpec(spec, oneLayer)),
		files.WriteJSON(filepath.Join(bundle, launchFile), l))
}

const cpuPeriodMicros = 100_000

// resources are the limits of a machine's control group, with host tasks.
func resources(spec vm.Spec, tasks int64) *specs.LinuxResources {
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: tasks}}
	if spec.VCPUs > 0 {
		quota, period := int64(spec.VCPUs)*cpuPeriodMicros, uint64(cpuPeriodMicros)
		res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if spec.MemoryMiB > 0 {
		limit := newGuestBudget(int64(spec.MemoryMiB) << 20).hostLimit()
		res.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	return res
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
