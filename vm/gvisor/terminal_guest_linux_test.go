package gvisor

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func terminals(report func(string, any)) {
	master, name := openMaster(report)
	poll := []unix.PollFd{{Fd: int32(master), Events: unix.POLLIN}}
	_, err := unix.Poll(poll, 0)
	report("before", fmt.Sprint(poll[0].Revents, err))
	_, err = unix.Read(master, make([]byte, 10))
	report("read before", err)
	buf := make([]byte, 10)
	read := make(chan string)
	_ = unix.SetNonblock(master, false)
	go func() {
		n, err := unix.Read(master, buf)
		read <- fmt.Sprintf("%q %v", buf[:max(n, 0)], err)
	}()
	replica, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY, 0)
	report("open", err)
	second, _ := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY, 0)
	_, _ = unix.Write(replica, []byte("late"))
	report("read", <-read)
	_ = unix.SetNonblock(master, true)
	for _, fd := range []int{replica, second} {
		_ = unix.Close(fd)
		_, err = unix.Read(master, buf)
		report("read after a close", err)
	}
	_, _ = unix.Poll(poll, int(time.Second/time.Millisecond))
	report("after", poll[0].Revents)
	replica, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY, 0)
	report("open again", err)
	_, err = unix.Read(master, buf)
	report("read again", err)
	_ = unix.Close(replica)

	master, _ = openMaster(report)
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	report("peer", errno)
	_ = unix.Close(int(peer))
	_, err = unix.Read(master, buf)
	report("read after the peer", err)
}

// waitingTerminal is a master whose other side is not open yet.
var waitingTerminal struct {
	master int
	name   string
}

// terminalStep opens a master that waits over the steps, and opens its other side.
func terminalStep(w http.ResponseWriter, r *http.Request) {
	report := func(what string, result any) { fmt.Fprintf(w, "%s: %v\n", what, result) }
	if r.PathValue("step") == "open" {
		waitingTerminal.master, waitingTerminal.name = openMaster(report)
		return
	}
	buf := make([]byte, 10)
	_, before := unix.Read(waitingTerminal.master, buf)
	replica, err := unix.Open(waitingTerminal.name, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		report("open", err)
	}
	_, err = unix.Write(replica, []byte("late"))
	n, err2 := unix.Read(waitingTerminal.master, buf)
	_ = unix.Close(replica)
	_, after := unix.Read(waitingTerminal.master, buf)
	fmt.Fprintf(w, "%v %q %v %v", before, buf[:max(n, 0)], errors.Join(err, err2), after)
}

func openMaster(report func(string, any)) (fd int, name string) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		report("master", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		report("master", err)
	}
	return fd, fmt.Sprintf("/dev/pts/%d", n)
}

// signalFirst sends the first process a signal in each way.
func signalFirst(name string) string {
	signal := unix.SignalNum(name)
	fd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err.Error()
	}
	threads, err := os.ReadDir("/proc/1/task")
	if err != nil || len(threads) < 2 {
		return fmt.Sprint(threads, err)
	}
	var info [128]byte
	*(*int32)(unsafe.Pointer(&info[8])) = -1 // SI_QUEUE
	queue, at := uintptr(signal), uintptr(unsafe.Pointer(&info))
	var results []any
	for _, of := range []string{"1", threads[len(threads)-1].Name()} {
		id, _ := strconv.Atoi(of)
		_, _, queued := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(id), queue, at)
		_, _, threadQueued := unix.Syscall6(unix.SYS_RT_TGSIGQUEUEINFO, 1, uintptr(id), queue, at, 0, 0)
		_, _, thread := unix.Syscall(unix.SYS_TKILL, uintptr(id), queue, 0)
		results = append(results, unix.Kill(id, signal), unix.Tgkill(1, id, signal), thread, queued, threadQueued)
	}
	return fmt.Sprintln(append(results, unix.PidfdSendSignal(fd, signal, nil, 0))...)
}

// keys types ahead of a program that does not read, and interrupts it.
func keys(report func(string, any)) {
	for _, flags := range []uint32{0, unix.NOFLSH} {
		for name, typed := range map[string][]string{
			"alone": {"\x03"}, "after a line": {"line\n", "\x03"}, "after lines": {"one\n", "two\n", "\x03"},
			"at once": {"line\n\x03"}, "after part of a line": {"par", "\x03"}, "in between": {"a\n\x03b\n"},
			"another signal": {"line\n", "\x1c"}, "vector": {"line\n", "V\x03"},
		} {
			report(fmt.Sprint(name, " ", flags), typeAhead(flags, typed))
		}
	}
}

func typeAhead(flags uint32, typed []string) string {
	master, name := openMaster(func(string, any) {})
	defer unix.Close(master)
	replica, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err.Error()
	}
	defer replica.Close()
	fd := int(replica.Fd())
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err.Error()
	}
	settings.Lflag |= flags
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Stdin = []string{"/init", "hold"}, replica
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ready, _ := cmd.StdoutPipe()
	if err := errors.Join(unix.IoctlSetTermios(fd, unix.TCSETS, settings), cmd.Start()); err != nil {
		return err.Error()
	}
	_, _ = ready.Read(make([]byte, 1))
	for _, text := range typed {
		if rest, ok := strings.CutPrefix(text, "V"); ok {
			_, err = unix.Writev(master, [][]byte{{}, []byte(rest)})
		} else {
			var n int
			if n, err = unix.Write(master, []byte(text)); n != len(text) {
				err = errors.Join(err, fmt.Errorf("wrote %d", n))
			}
		}
		if err != nil {
			return err.Error()
		}
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	if err := unix.SetNonblock(fd, true); err != nil {
		return err.Error()
	}
	buf := make([]byte, 100)
	n, left := unix.Read(fd, buf)
	return fmt.Sprintf("%v %q %v", err, buf[:max(n, 0)], left)
}
