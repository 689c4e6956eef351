//go:build linux

package gvisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// process is a host process of a machine, held by a pidfd: what is signalled
// and waited for is always the process that was identified, never a later one
// with its number. A goroutine waits for its end and reaps it if it is a child.
type process struct {
	pid    int
	start  uint64 // Field 22 of /proc/<pid>/stat.
	file   *os.File
	raw    func(func(uintptr) bool) error
	ended  chan struct{} // Closed when the process has ended.
	joined chan struct{} // Closed when the goroutine has returned.
	once   sync.Once

	// Valid after ended is closed.
	reason string // "exited: 1", "signal: killed", or "" if the end was not seen by a parent.
}

var errProcessGone = errors.New("process is gone")

// openProcess takes hold of a process. start is what its start time must be,
// or 0 if pid is an unreaped child, whose number is not reused.
func openProcess(pid int, start uint64) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, errProcessGone
	} else if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", pid, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	state, began, err := processState(pid)
	if err != nil || start != 0 && (began != start || state == 'Z') {
		if err == nil && began == start {
			// The first thread has ended, others may still be ending.
			awaitEnd(fd)
			reap(fd)
		}
		file.Close()
		return nil, errProcessGone
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	p := &process{pid: pid, start: began, file: file, raw: conn.Read,
		ended: make(chan struct{}), joined: make(chan struct{})}
	go p.wait()
	return p, nil
}

// endTime is how long a process that was killed, or whose first thread has
// ended, may take to end.
const endTime = 10 * time.Second

func awaitEnd(pidfd int) {
	ready := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(endTime); ; {
		// Signals of the Go runtime interrupt the wait.
		_, err := unix.Poll(ready, int(max(0, time.Until(deadline).Milliseconds())))
		if err != unix.EINTR {
			return
		}
	}
}

// processState reads the state letter and the start time of a process.
func processState(pid int) (state byte, start uint64, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name may contain anything; the fields begin after its last bracket.
	rest := string(data[strings.LastIndexByte(string(data), ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("stat of %d has %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0][0], start, err
}

func (p *process) wait() {
	defer close(p.joined)
	err := p.raw(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		if n != 1 || err != nil {
			return false
		}
		p.reason = reap(int(fd))
		return true
	})
	if err == nil {
		close(p.ended)
	}
}

// reap collects an ended child and says how it ended, or returns "" for a
// process that is not a child or was collected already.
func reap(pidfd int) string {
	var info struct { // siginfo_t of SIGCHLD on 64-bit Linux.
		signo, errno, code, _ int32
		pid, uid, status      int32
		_                     [100]byte
	}
	err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG, nil)
	const cldExited = 1
	switch {
	case err != nil || info.pid == 0:
		return ""
	case info.code == cldExited:
		return fmt.Sprintf("exited: %d", info.status)
	default:
		return "signal: " + unix.Signal(info.status).String()
	}
}

// kill ends the process and waits until it has ended. A nil process is no
// process. It fails for one that waits for a disk or the like and cannot end.
func (p *process) kill() error {
	if p == nil {
		return nil
	}
	p.signalKill()
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case <-p.joined:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: process %d was killed and does not end", vm.ErrUnavailable, p.pid)
	}
}

func (p *process) signalKill() {
	if p == nil {
		return
	}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
}

// release stops watching and leaves the process alone.
func (p *process) release() {
	if p == nil {
		return
	}
	p.once.Do(func() { p.file.Close() })
	<-p.joined
}

// strays finds processes that were started for the given bundles, by the
// bundle in their command line: its name is random, so it is unique.
func strays(bundles map[string]bool) map[string][]int {
	found := map[string][]int{}
	if len(bundles) == 0 {
		return found
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return found
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if bundle := bundleOf(pid); bundles[bundle] {
			found[bundle] = append(found[bundle], pid)
		}
	}
	return found
}

func bundleOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || !strings.HasPrefix(string(data), launch.ProcessPrefix) {
		return ""
	}
	_, bundle := launch.Command(strings.Split(string(data), "\x00"))
	return bundle
}

// killRecorded ends the process with this number and start time, if there is
// one.
func killRecorded(pid int, start uint64) {
	if pid == 0 {
		return
	}
	if p, err := openProcess(pid, start); err == nil {
		_ = p.kill()
		p.release()
	}
}

// killStray ends a process found by strays, if it still is that process.
func killStray(pid int, bundle string) {
	p, err := openProcess(pid, 0)
	if err != nil {
		return
	}
	defer p.release()
	if bundleOf(pid) == bundle {
		_ = p.kill()
	}
}
