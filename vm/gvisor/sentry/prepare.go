//go:build linux

package sentry

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/hooks"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/imagelayer"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/likelinux"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/memory"
)

// setUp makes the process what the file in its bundle says, or executes another engine,
// which does.
func setUp(command, bundle string) error {
	data, err := os.ReadFile(filepath.Join(bundle, launch.FileName))
	if os.IsNotExist(err) {
		return nil // Not one of ours: runsc on the command line.
	}
	if err != nil {
		return err
	}
	var l launch.File
	if err := json.Unmarshal(data, &l); err != nil {
		return fmt.Errorf("read %s: %w", launch.FileName, err)
	}
	if err := enterEngine(l.Engine); err != nil {
		return err
	}
	tuneCollector()
	return prepareProcess(command, l)
}

// prepareProcess joins the machine's control groups, takes the machine's
// console as the guest's standard streams and sets what the guest sees of
// processors and memory.
func prepareProcess(command string, l launch.File) (err error) {
	// The kernel has the last part of the program's path, which is a number (engine.Use).
	_ = os.WriteFile("/proc/self/comm", []byte(os.Args[0]), 0)
	if err := closeForeign(os.Args); err != nil {
		return fmt.Errorf("close inherited files: %w", err)
	}
	if err := cgroups.Join(l.Join); err != nil {
		return err
	}
	if err := dropScore(); err != nil {
		return fmt.Errorf("set oom score: %w", err)
	}
	if command != "boot" {
		return mountBelow(l.Rootfs, l.Mounts)
	}
	if err := takeConsole(l.Console, stdioFDs(os.Args)); err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	if l.StartHeap > startHeap {
		debug.SetMemoryLimit(l.StartHeap)
	}
	if os.Args, err = imagelayer.WithFiles(withLimits(os.Args, l), l.LayerDir); err != nil {
		return err
	}
	h := hooks.Hooks{Made: keepProcessors, Executed: likelinux.Executed}
	if len(l.SetUID) > 0 {
		h.Enter = hooks.SetUIDOnce(l.SetUID)
	}
	if l.MemoryBytes > 0 {
		g := memory.New(budget.New(l.MemoryBytes))
		if err := g.CountTasks(l.TasksFile, l.Tasks); err != nil {
			return fmt.Errorf("open the count of tasks: %w", err)
		}
		memory.Install(g)
		h.Left = g.Passed
	}
	return hooks.Install(h)
}

// closeForeign closes the descriptors that were inherited by accident. gVisor's
// protocol makes event descriptors without the close-on-exec flag, so that a process
// started meanwhile for another machine gets them; a sandbox must never hold a descriptor
// of another one. What was meant for this process has the numbers up to the
// highest in its arguments, and what it opened itself has the flag.
func closeForeign(args []string) error {
	last := 2
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || !strings.HasSuffix(name, "-fd") && !strings.HasSuffix(name, "-fds") {
			continue
		}
		if fd, err := strconv.Atoi(value); err == nil {
			last = max(last, fd)
		}
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= last {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// stdioFDs returns the descriptors that boot uses as the guest's streams.
func stdioFDs(args []string) (fds []int) {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--stdio-fds="); ok {
			if fd, err := strconv.Atoi(value); err == nil {
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

func takeConsole(path string, fds []int) error {
	if len(fds) != 3 {
		return fmt.Errorf("%d standard streams", len(fds))
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	// For reading too: a pipe whose only reader was a daemon that died would
	// kill the guest with SIGPIPE.
	console, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(console)
	for i, from := range []int{null, console, console} {
		if err := unix.Dup3(from, fds[i], 0); err != nil {
			return err
		}
	}
	return nil
}

// withLimits inserts boot's flags before its only argument, the machine's key.
// The last value of a flag counts.
func withLimits(args []string, l launch.File) []string {
	last := len(args) - 1
	out := append([]string{}, args[:last]...)
	if l.CPUs > 0 {
		out = append(out, "--cpu-num="+strconv.Itoa(l.CPUs))
	}
	if l.MemoryBytes > 0 {
		memory := strconv.FormatInt(l.MemoryBytes, 10)
		// A tmpfs holds half of this, as it holds half of a machine's memory.
		out = append(out, "--total-memory="+memory, "--total-host-memory="+memory)
	}
	return append(out, args[last])
}

// dropScore gives up the score that a sandbox process inherits from a creator that
// is protected, so that its stubs do not inherit it. It leaves a shorter one as it
// is: gVisor reads the score of a process that it has just started in two steps,
// and would take the rest of a longer new one for a second number.
func dropScore() error {
	old, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || len(old) <= len(strconv.Itoa(launch.StubScore)) {
		return err
	}
	return launch.SetScore(os.Getpid(), launch.StubScore)
}
