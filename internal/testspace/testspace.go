//go:build linux

// Package testspace runs a test binary again in separate namespaces, and ends what that run leaves: tests that are
// broken off, by a signal, a panic or their time limit, have no time for it. It may import golang.org/x/sys and the standard library;
// tests may import it.
package testspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long processes may take for their end after a run that was not killed.
const grace = 5 * time.Second

// Again runs this binary with its arguments and one more variable of the environment, in new network and mount namespaces, and returns
// its exit code. Processes that outlive it are killed, which is a failure. Control groups are removed whose names begin
// with group(pid), where pid is the id of its process. SIGINT and SIGTERM end it.
func Again(variable string, group func(pid int) string) int {
	runtime.LockOSThread() // Pdeathsig follows the thread that forked.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failed(err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec,noctx // It is this binary again, and signals end it.
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), variable)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGTERM}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	if err := cmd.Start(); err != nil {
		return failed(err)
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-signals:
			_ = cmd.Process.Kill()
		case <-ended:
		}
	}()
	err := wait(cmd.Process.Pid)
	close(ended)
	patience := grace
	if err != nil {
		patience = 0 // It did not end what it began.
	}
	if left := bury(time.Now().Add(patience)); left > 0 {
		err = errors.Join(err, fmt.Errorf("%d processes outlived the tests", left))
	}
	if err = errors.Join(err, removeGroups("/sys/fs/cgroup", group(cmd.Process.Pid))); err != nil {
		return failed(err)
	}
	return 0
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// wait returns when a process has ended. It waits for all that come to this one, too: the dead must not look alive to the tests.
func wait(main int) error {
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case pid == main && status.Signaled():
			return fmt.Errorf("the tests ended with %s", status.Signal())
		case pid == main && status.ExitStatus() != 0:
			return fmt.Errorf("exit status %d", status.ExitStatus())
		case pid == main:
			return nil
		}
	}
}

// bury waits until no process of the run is left, and kills those that are left at a time. It returns how many.
func bury(deadline time.Time) (killed int) {
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); {
		case errors.Is(err, unix.ECHILD):
			return killed
		case pid > 0:
			continue
		}
		if time.Now().After(deadline) {
			for _, pid := range children() {
				if unix.Kill(pid, unix.SIGKILL) == nil {
					killed++
				}
			}
			deadline = time.Now().Add(100 * time.Millisecond) // Their children become ours.
		}
		<-time.After(10 * time.Millisecond)
	}
}

// children are the processes that this one would wait for.
func children() (pids []int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// removeGroups removes the control groups below root whose names begin with a prefix, with all below them.
func removeGroups(root, prefix string) error {
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() && strings.Contains(path+"/", "/"+prefix) {
			found = append(found, path)
		}
		return err
	})
	for i := len(found) - 1; i >= 0; i-- { // Those below come later in the walk.
		if rmErr := unix.Rmdir(found[i]); rmErr != nil && !errors.Is(rmErr, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", found[i], rmErr))
		}
	}
	return err
}
