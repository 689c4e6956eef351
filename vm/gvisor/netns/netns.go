//go:build linux

// Package netns runs functions in the network namespaces of sandboxes. It imports the
// standard library and golang.org/x/sys only.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs f on a thread that is in the network namespace of a file, and returns when f has.
// Sockets that f opens, and processes that it starts, are in that namespace. f must not start
// goroutines that rely on it, and the thread of f ends if it cannot leave the namespace.
func Do(namespace *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := enter(namespace, f)
		if back {
			runtime.UnlockOSThread()
		} // Else the thread ends with this goroutine.
		done <- err
	}()
	return <-done
}

// enter is Do on a locked thread, and reports whether the thread is where it was.
func enter(namespace *os.File, f func() error) (back bool, err error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return true, err
	}
	defer own.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("enter the network namespace %s: %w", namespace.Name(), err)
	}
	defer func() { back = unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil }()
	return false, f()
}
