package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// The functions of this file turn what was read elsewhere into findings.

// kernelFinding checks a release such as "6.1.0-18-amd64".
func kernelFinding(release string) Finding {
	f := Finding{Name: "kernel", Status: OK, Detail: release}
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		f.Status, f.Detail = Warn, fmt.Sprintf("cannot parse release %q", release)
		return f
	}
	switch {
	case major < 4 || major == 4 && minor < 15:
		f.Status, f.Hint = Fail, "the embedded driver needs Linux 4.15 or later"
	case major < 5 || major == 5 && minor < 10:
		f.Status, f.Hint = Warn, "older than the tested versions; 5.10 or later is recommended"
	}
	return f
}

// cgroupFinding checks /proc/self/mountinfo; v2Controllers is the content of
// cgroup.controllers at the root of the v2 hierarchy.
func cgroupFinding(mountinfo, v2Controllers string) Finding {
	var v1 []string
	v2 := false
	for line := range strings.Lines(mountinfo) {
		// The optional fields end with "-"; then type, source, super options.
		_, rest, ok := strings.Cut(line, " - ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 3 {
			continue
		}
		switch fields[0] {
		case "cgroup":
			for _, o := range strings.Split(fields[2], ",") {
				if o == "cpu" || o == "memory" || o == "pids" {
					v1 = append(v1, o)
				}
			}
		case "cgroup2":
			v2 = true
		}
	}
	f := Finding{Name: "cgroups", Status: OK}
	have := v1
	switch fields := strings.Fields(v2Controllers); {
	case len(v1) > 0 && v2:
		f.Detail = "hybrid: controllers in version 1"
	case len(v1) > 0:
		f.Detail = "version 1"
	case v2:
		f.Detail, have = "version 2", fields
	default:
		f.Status, f.Detail = Warn, "not mounted"
		f.Hint = "CPU and memory limits will not be enforced; mount cgroup2 on /sys/fs/cgroup"
		return f
	}
	var lack []string
	for _, c := range []string{"cpu", "memory"} {
		if !slices.Contains(have, c) {
			lack = append(lack, c)
		}
	}
	if lack != nil {
		f.Status, f.Hint = Warn, strings.Join(lack, " and ")+" limits will not be enforced"
		f.Detail += "; missing controllers: " + strings.Join(lack, ", ")
	}
	return f
}

const gib = 1 << 30

// memoryFinding checks /proc/meminfo.
func memoryFinding(m procfs.Meminfo, err error) Finding {
	f := Finding{Name: "memory", Status: OK}
	if err != nil || m.MemTotal == nil || m.MemAvailable == nil {
		f.Status, f.Detail = Warn, "cannot parse /proc/meminfo"
		if errors.Is(err, fs.ErrNotExist) {
			f.Detail = err.Error()
		}
		return f
	}
	// The library's values are in KiB.
	f.Detail = fmt.Sprintf("%.1f GiB, %.1f GiB available", float64(*m.MemTotal)/(1<<20), float64(*m.MemAvailable)/(1<<20))
	if *m.MemAvailable < 1<<20 {
		f.Status, f.Hint = Warn, "less than 1 GiB available: enough for a few small sandboxes only"
	}
	return f
}

// swapFinding checks /proc/swaps. Without swap the memory of idle sandboxes stays where it
// is, which is slow for no sandbox: it is not a fault. zram: the kernel has a device for
// compressed memory.
func swapFinding(areas []*procfs.Swap, err error, zram bool) Finding {
	f := Finding{Name: "swap", Status: Info}
	if err != nil {
		f.Detail = "cannot read /proc/swaps: " + err.Error()
		return f
	}
	var size, used float64
	var disks []string
	for _, a := range areas {
		size, used = size+float64(a.Size), used+float64(a.Used)
		if !strings.HasPrefix(a.Filename, "/dev/zram") {
			disks = append(disks, a.Filename)
		}
	}
	if size == 0 {
		f.Detail = "none: idle sandboxes keep their memory"
		f.Hint = "swap in compressed memory (zram) halves what an idle sandbox needs: "
		if !zram {
			f.Hint += "modprobe zram; "
		}
		f.Hint += "zramctl -f -s 8G -a lz4, then mkswap and swapon -p 100 the device that it prints"
		return f
	}
	f.Status, f.Detail = OK, fmt.Sprintf("%.1f GiB, %.1f GiB used; ", size/(1<<20), used/(1<<20))
	if disks == nil {
		f.Detail += "idle sandboxes are paged out"
		return f
	}
	f.Status = Info
	f.Detail += "idle sandboxes are paged out only when memory is short"
	f.Hint = strings.Join(disks, ", ") + ": from a disk a sandbox wakes up slowly; if all swap is in compressed memory (zram), idle sandboxes are paged out soon"
	return f
}

func diskFinding(dir string, free uint64) Finding {
	f := Finding{Name: "disk", Status: OK, Detail: fmt.Sprintf("%.1f GiB free for %s", float64(free)/gib, dir)}
	hint := "free space, or move the state directory to another disk with RUNDLET_STATE_DIR"
	switch {
	case free < gib:
		f.Status, f.Hint = Fail, hint
	case free < 5*gib:
		f.Status, f.Hint = Warn, hint
	}
	return f
}

// clockFinding checks the host's time. If it is far off, TLS certificates are invalid
// and the timeouts of stored sandboxes are meaningless.
func clockFinding(now time.Time, synchronised bool) Finding {
	f := Finding{Name: "clock", Status: OK, Detail: now.UTC().Format(time.RFC3339)}
	switch {
	case now.Year() < 2025:
		f.Status, f.Hint = Fail, "the clock is wrong: set it, for instance with timedatectl set-ntp true"
	case !synchronised:
		f.Status = Info
		f.Detail += ", not synchronised with a time server according to the kernel"
	}
	return f
}

// userNamespacesFinding checks /proc/sys/user/max_user_namespaces.
func userNamespacesFinding(content string) Finding {
	f := Finding{Name: "user namespaces", Status: OK}
	n, err := strconv.Atoi(strings.TrimSpace(content))
	switch {
	case err != nil:
		f.Status, f.Detail = Info, "not supported by this kernel"
	case n == 0:
		f.Status, f.Detail = Info, "disabled"
		f.Hint = "needed only to run without root: sysctl user.max_user_namespaces=10000"
	default:
		f.Detail = fmt.Sprintf("limit %d", n)
	}
	return f
}
