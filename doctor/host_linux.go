package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

func hostChecks(stateDir string) []CheckFunc {
	return []CheckFunc{
		one(func() Finding { return rootFinding(os.Geteuid()) }),
		one(kernel),
		one(cgroups),
		one(kvm),
		func(context.Context) []Finding { return usr("/") },
		one(memory),
		one(swap),
		one(func() Finding { return disk(stateDir) }),
		one(nfTables),
		one(ipForward),
		one(userNamespaces),
		one(clock),
		one(descriptors),
		one(func() Finding {
			return processesFinding(readProc("sys/kernel/pid_max"), readProc("sys/kernel/threads-max"))
		}),
		one(func() Finding {
			return conntrackFinding(readProc("sys/net/netfilter/nf_conntrack_max"), readProc("sys/net/netfilter/nf_conntrack_count"))
		}),
	}
}

// descriptors checks the limit of this process. A service manager may set another one
// for the daemon.
func descriptors() Finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Finding{Name: "file descriptors", Status: Warn, Detail: err.Error()}
	}
	return descriptorsFinding(int64(min(limit.Max, math.MaxInt64/8)))
}

// readProc returns a file of /proc, or "" if it cannot be read.
func readProc(name string) string {
	content, _ := os.ReadFile("/proc/" + name)
	return string(content)
}

func one(check func() Finding) CheckFunc {
	return func(context.Context) []Finding { return []Finding{check()} }
}

func rootFinding(euid int) Finding {
	f := Finding{Name: "privilege", Status: OK, Detail: "root"}
	if user, in := userNamespace(readProc("self/uid_map")); in {
		f.Detail = fmt.Sprintf("root of a user namespace; user %s on the host", user)
	}
	if euid != 0 {
		f.Status, f.Detail = Fail, fmt.Sprintf("user %d", euid)
		f.Hint = "run it with sudo, or mend what prevents user namespaces"
	}
	return f
}

// userNamespace returns who root is outside a user namespace.
func userNamespace(uidMap string) (user string, in bool) {
	fields := strings.Fields(uidMap)
	if len(fields) < 3 || fields[2] == "4294967295" {
		return "", false
	}
	return fields[1], true
}

func kernel() Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Finding{Name: "kernel", Status: Warn, Detail: err.Error()}
	}
	return kernelFinding(unix.ByteSliceToString(u.Release[:]))
}

func cgroups() Finding {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Finding{Name: "cgroups", Status: Warn, Detail: err.Error()}
	}
	controllers, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers") // Absent unless version 2.
	return cgroupFinding(string(mountinfo), string(controllers))
}

func kvm() Finding {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Finding{"kvm", Info, "not usable: " + err.Error(), "the embedded driver does not need it"}
	}
	f.Close()
	return Finding{Name: "kvm", Status: Info, Detail: "/dev/kvm can be opened; the embedded driver does not use it"}
}

func memory() Finding {
	var info procfs.Meminfo
	proc, err := procfs.NewDefaultFS()
	if err == nil {
		info, err = proc.Meminfo()
	}
	return memoryFinding(info, err)
}

func swap() Finding {
	var areas []*procfs.Swap
	proc, err := procfs.NewDefaultFS()
	if err == nil {
		areas, err = proc.Swaps()
	}
	_, noZram := os.Stat("/sys/class/block/zram0")
	return swapFinding(areas, err, noZram == nil)
}

// disk checks the nearest existing directory at or above stateDir.
func disk(stateDir string) Finding {
	var st unix.Statfs_t
	for dir := filepath.Clean(stateDir); ; dir = filepath.Dir(dir) {
		err := unix.Statfs(dir, &st)
		if err == nil {
			return diskFinding(stateDir, st.Bavail*uint64(st.Bsize))
		}
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return Finding{Name: "disk", Status: Fail, Detail: (&os.PathError{Op: "statfs", Path: dir, Err: err}).Error()}
		}
	}
}

// nfTables lists the kernel's tables, which also checks for permission.
func nfTables() Finding {
	c, err := nftables.New()
	if err == nil {
		_, err = c.ListTables()
	}
	if err != nil {
		return Finding{"nf_tables", Fail, "cannot list tables: " + err.Error(),
			"network policy needs nf_tables and root: modprobe nf_tables, or a kernel with CONFIG_NF_TABLES"}
	}
	return Finding{Name: "nf_tables", Status: OK, Detail: "available"}
}

func ipForward() Finding {
	content, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		return Finding{Name: "ip_forward", Status: Warn, Detail: err.Error()}
	}
	f := Finding{Name: "ip_forward", Status: Info, Detail: "off"}
	if strings.TrimSpace(string(content)) == "1" {
		f.Detail = "on"
	}
	return f
}

func userNamespaces() Finding {
	content, _ := os.ReadFile("/proc/sys/user/max_user_namespaces") // Absent: the kernel has none.
	return userNamespacesFinding(string(content))
}

func clock() Finding {
	var tx unix.Timex // Modes 0 reads only.
	state, err := unix.Adjtimex(&tx)
	return clockFinding(time.Now(), err == nil && state != unix.TIME_ERROR)
}
