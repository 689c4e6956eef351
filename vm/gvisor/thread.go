//go:build linux

package gvisor

import "runtime"

// Threads of this process enter network namespaces of sandboxes. /proc/self shows the namespace
// of the main thread as that of the whole process, and the main thread cannot end where it could
// not come back. So it must never be used for that: the main goroutine keeps it, which can be had in an init
// function only, and other goroutines do it (package netns).
func init() { runtime.LockOSThread() }
