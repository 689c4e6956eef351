package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// What a sandbox takes of the host's bounded resources. Measured: an idle sandbox
// has 31 threads on the host, and one that starts as many processes as it can in
// 512 MiB some 2,100; the daemon holds six files for each, and needs more while it
// makes one. All sandboxes together have three quarters of the threads.
const (
	threadsOfIdle        = 40
	threadsOfSandbox     = 2200
	descriptorsOfSandbox = 8
	descriptorsOfDaemon  = 64
)

// descriptorsFinding judges the hard limit on files of a process. Three eighths
// of them are the daemon's own; the rest is for connections.
func descriptorsFinding(limit int64) Finding {
	f := Finding{Name: "file descriptors", Status: OK}
	sandboxes := max(0, (limit*3/8-descriptorsOfDaemon)/descriptorsOfSandbox)
	f.Detail = fmt.Sprintf("at most %d, enough for about %d sandboxes", limit, sandboxes)
	hint := "raise the hard limit of the service: LimitNOFILE=1048576, or ulimit -Hn"
	switch {
	case sandboxes < 1:
		f.Status, f.Hint = Fail, hint
	case sandboxes < 200:
		f.Status, f.Hint = Warn, hint
	}
	return f
}

// processesFinding judges /proc/sys/kernel/pid_max and threads-max.
func processesFinding(pidMax, threadsMax string) Finding {
	f := Finding{Name: "processes", Status: OK}
	most, err := strconv.ParseInt(strings.TrimSpace(pidMax), 10, 64)
	if err != nil {
		f.Status, f.Detail = Warn, "pid_max cannot be read"
		return f
	}
	if threads, err := strconv.ParseInt(strings.TrimSpace(threadsMax), 10, 64); err == nil {
		most = min(most, threads)
	}
	most -= most / 4
	sandboxes := most / threadsOfSandbox
	f.Detail = fmt.Sprintf("at most %d threads for sandboxes: enough for about %d idle ones, or for %d that start as many processes as they can",
		most, most/threadsOfIdle, sandboxes)
	if sandboxes < 100 {
		f.Status, f.Hint = Warn, "sandboxes that start many processes can use them up for all others: sysctl kernel.pid_max=4194304 kernel.threads-max=4194304"
	}
	return f
}

// conntrackFinding judges /proc/sys/net/netfilter/nf_conntrack_max and _count.
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
	f.Status, f.Detail = OK, fmt.Sprintf("%d of %d entries are in use", used, n)
	if n < 262144 || used > n/2 {
		f.Status, f.Hint = Warn, "when the table is full nothing on this host can connect: sysctl net.netfilter.nf_conntrack_max=1048576"
	}
	return f
}
