//go:build linux

package gvisor

import "runtime"

// gVisor enters network namespaces with a thread of this process and comes
// back to that of /proc/self, which is not the thread's own but the main
// thread's. If the main thread is itself in a sandbox's namespace at that
// moment, the other one stays there for ever, and whatever the program does
// with it later (sockets, processes) happens in that sandbox's network. So the
// main thread must never be used for that: the main goroutine keeps it, which
// can be had in an init function only, and loading is done by other goroutines.
func init() { runtime.LockOSThread() }

// offMain runs f on another thread than the main one.
func offMain(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}
