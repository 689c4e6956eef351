//go:build linux

package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// member is a process of a session.
type member struct{ pid, group int }

// session lists the processes of a session.
func session(id int) (all []member) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if group, sid, ok := groupAndSession(pid); ok && sid == id {
			all = append(all, member{pid, group})
		}
	}
	return all
}

// groupAndSession reads them from /proc/PID/stat, behind the name of the
// process, which may hold anything.
func groupAndSession(pid int) (group, session int, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 4 {
		return 0, 0, false
	}
	group, err1 := strconv.Atoi(string(fields[2]))
	session, err2 := strconv.Atoi(string(fields[3]))
	return group, session, err1 == nil && err2 == nil
}

// hangUp sends SIGHUP to the groups of a session that are wanted, and SIGCONT,
// without which a stopped one would not take it.
func hangUp(leader int, wanted func(group int) bool) {
	for _, m := range session(leader) {
		if wanted(m.group) {
			_ = syscall.Kill(m.pid, syscall.SIGHUP)
			_ = syscall.Kill(m.pid, syscall.SIGCONT)
		}
	}
}

// hangUpJobs is the hang-up that a shell which is killed cannot pass on: its
// jobs have separate groups.
func (p *proc) hangUpJobs() {
	hangUp(int(p.pid), func(group int) bool { return group != int(p.pid) })
}

// hangUpForeground does what Linux does at the end of a session leader, and
// gVisor does not. The foreground group cannot be known there: it is that of a
// leader that exits, and most likely a job of one that was killed.
func (p *proc) hangUpForeground(ws syscall.WaitStatus) {
	hangUp(int(p.pid), func(group int) bool { return group == int(p.pid) || ws.Signaled() })
}
