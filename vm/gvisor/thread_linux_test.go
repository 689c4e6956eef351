package gvisor

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMainThreadIsNeverUsed needs more threads at once than are idle, so that
// each that may be used is.
func TestMainThreadIsNeverUsed(t *testing.T) {
	const n = 64
	var started, ended sync.WaitGroup
	started.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			started.Done()
			started.Wait()
			if unix.Gettid() == unix.Getpid() {
				t.Error("a goroutine runs on the main thread")
			}
		})
	}
	ended.Wait()
}

// checkNamespaces fails if a thread of this process stays in a network
// namespace of a sandbox.
func checkNamespaces(t *testing.T, ctx context.Context) {
	t.Helper()
	want, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	astray := func() (tasks []string) {
		all, _ := filepath.Glob("/proc/self/task/*/ns/net")
		for _, task := range all {
			if ns, err := os.Readlink(task); err == nil && ns != want {
				tasks = append(tasks, task+" is in "+ns)
			}
		}
		return tasks
	}
	// A thread may be on its way back.
	for len(astray()) > 0 && ctx.Err() == nil {
		runtime.Gosched()
	}
	if tasks := astray(); len(tasks) > 0 {
		t.Errorf("%d threads are not in %s: %q", len(tasks), want, tasks)
	}
}
