//go:build linux

package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
)

// Check reports what prevents machines from running on this host (Fatal) or from
// running well. It changes nothing. runDir is Config.RunDir; it need not exist.
func Check(runDir string) []vm.Problem {
	var all []vm.Problem
	add := func(fatal bool, what, hint string) {
		all = append(all, vm.Problem{Fatal: fatal, What: what, Hint: hint})
	}

	if os.Geteuid() != 0 {
		add(true, "not running as root", "run as root")
	}
	if release, ok := kernelAtLeast(5, 10); !ok {
		add(true, "Linux "+release+" is older than 5.10", "use a newer kernel")
	}
	if data, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err != nil || strings.TrimSpace(string(data)) == "0" {
		add(true, "user namespaces are disabled", "sysctl user.max_user_namespaces=15000")
	}
	if data, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail"); err != nil || !strings.Contains(string(data), "trap") {
		add(true, "the kernel does not support seccomp filters", "use a kernel with CONFIG_SECCOMP_FILTER")
	}
	if err := cgroups.Usable(); err != nil {
		add(false, fmt.Sprintf("no usable cgroups: %v; CPU and memory limits will not be enforced", err),
			"mount cgroups (v1 or v2) with the cpu, memory and pids controllers; in a container, move its processes to a group below the root first")
	}
	if engine.Program.Digest() == "" {
		add(true, engine.ErrMissing.Error(), engine.HintMissing)
	}
	if !onTmpfs(runDir) {
		add(false, fmt.Sprintf("run directory %s is not on a tmpfs", runDir), "use one on a tmpfs, usually below /run")
	}
	var mem unix.Sysinfo_t
	const least = 256 << 20
	if unix.Sysinfo(&mem) == nil && uint64(mem.Freeram+mem.Bufferram)*uint64(mem.Unit) < least {
		add(false, "less than 256 MiB of memory free", "an idle machine needs about 30 MiB")
	}
	for fd, name := range []string{"input", "output", "error"} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			add(true, "standard "+name+" is closed", "open it, for example on /dev/null")
		}
	}
	return all
}

func kernelAtLeast(major, minor int) (release string, ok bool) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown", false
	}
	release = unix.ByteSliceToString(name.Release[:])
	var have [2]int
	if n, _ := fmt.Sscanf(release, "%d.%d", &have[0], &have[1]); n != 2 {
		return release, false
	}
	return release, have[0] > major || have[0] == major && have[1] >= minor
}

// onTmpfs reports whether dir, or its nearest existing parent, is on a tmpfs.
func onTmpfs(dir string) bool {
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) != nil {
		if up := filepath.Dir(dir); up != dir {
			dir = up
			continue
		}
		return false
	}
	return st.Type == unix.TMPFS_MAGIC
}
