//go:build linux

package oci

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rundlet/rundlet/vm"
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

// Spec is the container that gVisor is asked to run. What may differ
// between a snapshot and its restore is only what gVisor allows to differ:
// limits are therefore not in it.
func Spec(spec vm.Spec, oneLayer bool) *specs.Spec {
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
	if IsImage(spec.Rootfs) {
		out.Root.Path, out.Annotations = "/", imageAnnotations(spec) // The path is not used.
	}
	_, own := Below(spec, oneLayer)
	for _, m := range own {
		if IsImage(m.Source) {
			out.Mounts = append(out.Mounts, specs.Mount{
				Destination: m.Target, Type: "erofs", Source: filepath.Clean(m.Source), Options: []string{"ro"}})
			continue
		}
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

// Below lists the mounts that a machine with oneLayer has in its root's layer, and the rest.
func Below(spec vm.Spec, oneLayer bool) (in, own []vm.Mount) {
	for _, m := range spec.Mounts {
		if oneLayer && m.Overlay {
			in = append(in, m)
		} else {
			own = append(own, m)
		}
	}
	// A mount comes after the one that it is in.
	slices.SortFunc(in, func(a, b vm.Mount) int { return cmp.Compare(a.Target, b.Target) })
	return in, own
}

// Flags are those of gVisor that decide how a machine runs, and part of every
// snapshot. Writable layers are files in layerDir, not memory: what a guest
// writes does not count against its memory limit then, since the host can take
// the page cache back. A snapshot is not bound to the directory, so its flags
// are those for the empty layerDir.
func Flags(spec vm.Spec, layerDir string) map[string]string {
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
		// The machine's processes join their control group themselves, or a creator makes them in it.
		"ignore-cgroups": "true",
		"host-settings":  "ignore",
	}
}

// Source is a file system of the host that a sandbox has: its root, or a mount.
type Source struct {
	Path  string
	Image bool // Else it is a directory.
	Layer bool // Whether the guest writes to a layer above it.
}

// Sources are those of a container's spec, in the order of gVisor: the root, and then the
// mounts that Spec has of the host.
func Sources(spec vm.Spec, oneLayer bool) []Source {
	all := []Source{{Path: filepath.Clean(spec.Rootfs), Image: IsImage(spec.Rootfs), Layer: !spec.RootfsReadOnly}}
	_, own := Below(spec, oneLayer)
	for _, m := range own {
		image := IsImage(m.Source)
		all = append(all, Source{Path: filepath.Clean(m.Source), Image: image, Layer: m.Overlay && !image})
	}
	return all
}
