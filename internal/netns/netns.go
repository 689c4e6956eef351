//go:build linux

// Package netns runs functions in network namespaces. It imports the standard library and golang.org/x/sys only.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Own is the path of the calling thread's network namespace.
const Own = "/proc/thread-self/ns/net"

// In runs f on a thread that is in the network namespace of a file, and returns when f has. Sockets that f opens, and processes that it
// starts, are in that namespace. f must not start goroutines that rely on it.
func In(namespace *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", namespace.Name(), err)
		}
		return nil
	}, f)
}

// At is In for the namespace that a path names.
func At(path string, f func() error) error {
	namespace, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer namespace.Close()
	return In(namespace, f)
}

// InNew runs f on a thread that is in a new network namespace, which ends when nothing refers to it any more.
func InNew(f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		return nil
	}, f)
}

// onThread moves a thread with enter, runs f and moves the thread back. One that cannot go back ends with its goroutine, instead of
// running others in the wrong namespace.
func onThread(enter, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := there(enter, f)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// there is onThread on a locked thread, and reports whether the thread is where it was.
func there(enter, f func() error) (back bool, err error) {
	own, err := os.Open(Own)
	if err != nil {
		return true, fmt.Errorf("own network namespace: %w", err)
	}
	defer own.Close()
	if err := enter(); err != nil {
		return true, err
	}
	defer func() { back = unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil }()
	return false, f()
}
