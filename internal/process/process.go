//go:build linux

// Package process holds processes of the host such that what is signalled and waited for is always the process that was
// identified, never a later one with its number. Drivers import it. It may import vm and golang.org/x/sys.
package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
)

// Process is a process of the host, held by a pidfd. A goroutine waits for its end and reaps it if it is a child. A nil Process stands
// for none: its methods do nothing.
type Process struct {
	PID   int
	Start uint64 // Field 22 of /proc/<pid>/stat.
	// Ended is closed when the process has ended, and Joined when it is not watched any more.
	Ended, Joined <-chan struct{}

	file *os.File
	raw  func(func(uintptr) bool) error
	once sync.Once

	// Reason is valid after Ended is closed: "exited: 1", "signal: killed", or "" if the end was not seen by a parent.
	Reason string
}

// ErrGone says that a process has ended, or that its number is another one's.
var ErrGone = errors.New("process is gone")

// Open takes hold of the process of a record, with its number and its start time. A record that lacks one of them names no process:
// ErrGone, as for one that has ended. The caller releases it.
func Open(pid int, start uint64) (*Process, error) {
	if pid <= 0 || start == 0 {
		return nil, ErrGone
	}
	return hold(pid, start)
}

// OpenChild is Open of an unreaped child, whose number is not reused.
func OpenChild(pid int) (*Process, error) { return hold(pid, 0) }

// hold takes hold of a process whose start time is start, if that is not 0.
func hold(pid int, start uint64) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	} else if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", pid, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	state, began, err := State(pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		file.Close()
		return nil, err // Nothing is known of it.
	}
	if err != nil || start != 0 && (began != start || state == 'Z') {
		if err == nil && began == start {
			// The first thread has ended, others may still be ending.
			awaitEnd(fd)
			reap(fd)
		}
		file.Close()
		return nil, ErrGone
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	ended, joined := make(chan struct{}), make(chan struct{})
	p := &Process{PID: pid, Start: began, file: file, raw: conn.Read, Ended: ended, Joined: joined}
	go p.wait(ended, joined)
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

// State reads the state letter and the start time of a process.
func State(pid int) (state byte, start uint64, err error) {
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

func (p *Process) wait(ended, joined chan struct{}) {
	defer close(joined)
	err := p.raw(func(fd uintptr) bool {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, 0)
		if n != 1 || err != nil {
			return false
		}
		p.Reason = reap(int(fd))
		return true
	})
	if err == nil {
		close(ended)
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

// Wait returns when the process has ended or is released, and reports whether it has ended.
func (p *Process) Wait() bool {
	if p == nil {
		return false
	}
	<-p.Joined
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// Kill ends the process and waits until it has ended. It fails: vm.ErrUnavailable, for one that waits for a disk or the like and cannot end.
func (p *Process) Kill() error {
	if p == nil {
		return nil
	}
	p.SignalKill()
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case <-p.Joined:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: process %d was killed and does not end", vm.ErrUnavailable, p.PID)
	}
}

// SignalKill ends the process, and waits for nothing.
func (p *Process) SignalKill() {
	if p == nil {
		return
	}
	conn, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
}

// Release stops watching and leaves the process alone.
func (p *Process) Release() {
	if p == nil {
		return
	}
	p.once.Do(func() { p.file.Close() })
	<-p.Joined
}
