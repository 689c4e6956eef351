package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// Host resources that a sandbox uses. Measured: an idle sandbox has 31 host threads,
// and one of 512 MiB that starts as many processes as it can about 2,100. The daemon
// holds six files open per sandbox, and more while it creates one. All sandboxes
// together may use three quarters of the threads.
const (
	threadsOfIdle        = 40
	threadsOfSandbox     = 2200
	descriptorsOfSandbox = 8
	descriptorsOfDaemon  = 64
)

// descriptorsFinding checks the hard limit on open files. Three eighths of them are
// for the daemon itself; the rest is for connections.
func descriptorsFinding(limit int64) Finding {
	f := Finding{Name: "file descriptors", Status: OK}
	sandboxes := max(0, (limit*3/8-descriptorsOfDaemon)/descriptorsOfSandbox)
	f.Detail = fmt.Sprintf("limit %d, enough for about %d sandboxes", limit, sandboxes)
	hint := "raise the service's hard limit: LimitNOFILE=1048576, or ulimit -Hn"
	switch {
	case sandboxes < 1:
		f.Status, f.Hint = Fail, hint
	case sandboxes < 200:
		f.Status, f.Hint = Warn, hint
	}
	return f
}

// processesFinding checks /proc/sys/kernel/pid_max and threads-max.
func processesFinding(pidMax, threadsMax string) Finding {
	f := Finding{Name: "processes", Status: OK}
	most, err := strconv.ParseInt(strings.TrimSpace(pidMax), 10, 64)
	if err != nil {
		f.Status, f.Detail = Warn, "cannot read pid_max"
		return f
	}
	if threads, err := strconv.ParseInt(strings.TrimSpace(threadsMax), 10, 64); err == nil {
		most = min(most, threads)
	}
	most -= most / 4
	sandboxes := most / threadsOfSandbox
	f.Detail = fmt.Sprintf("at most %d threads for sandboxes: enough for about %d idle ones, or %d that start as many processes as they can",
		most, most/threadsOfIdle, sandboxes)
	if sandboxes < 100 {
		f.Status, f.Hint = Warn, "a few sandboxes with many processes can exhaust them: sysctl kernel.pid_max=4194304 kernel.threads-max=4194304"
	}
	return f
}

// conntrackFinding checks /proc/sys/net/netfilter/nf_conntrack_max and _count.
func conntrackFinding(most, count string) Finding {
	f := Finding{Name: "connection tracking", Status: Info, Detail: "not in use"}
	n, err := strconv.ParseInt(strings.TrimSpace(most), 10, 64)
	if err != nil {
		return f
	}
	used, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
	if err != nil {
		used = 0
	}
	f.Status, f.Detail = OK, fmt.Sprintf("%d of %d entries in use", used, n)
	if n < 262144 || used > n/2 {
		f.Status, f.Hint = Warn, "a full table blocks all new connections of this host: sysctl net.netfilter.nf_conntrack_max=1048576"
	}
	return f
}
