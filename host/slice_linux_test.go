package host

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// slice is that of a thread in nanoseconds; 0 on a kernel that has none.
func slice(t *testing.T, tid int) uint64 {
	t.Helper()
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return attr.Runtime
}

// TestEveryThreadAndChildHasAShortSlice runs in a separate process: the slices of the
// test's stay as they were.
func TestEveryThreadAndChildHasAShortSlice(t *testing.T) {
	const asChild = "RUNDLET_TEST_SLICES"
	if os.Getenv(asChild) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), asChild+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if bytes.Contains(out, []byte("--- SKIP")) {
			t.Skipf("%s", out)
		}
		return
	}
	runtime.LockOSThread()
	if attr, err := unix.SchedGetAttr(0, 0); err != nil || attr.Policy != unix.SCHED_NORMAL {
		t.Skipf("the tests are scheduled in another way than a daemon: %+v, %v", attr, err)
	}
	if before := slice(t, 0); before == uint64(Slice) {
		t.Fatal("the slice is short already")
	}
	if err := ShortenSlices(); err != nil {
		t.Fatal(err)
	}
	if slice(t, 0) == 0 {
		t.Skip("this kernel has no slices that a process can set: it needs Linux 6.12")
	}
	// Threads that Go makes from now on, because these are held.
	var all sync.WaitGroup
	hold := make(chan struct{})
	for range 20 {
		all.Add(1)
		go func() {
			runtime.LockOSThread()
			all.Done()
			<-hold
		}()
	}
	all.Wait()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) < 20 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		tid, _ := strconv.Atoi(thread.Name())
		if got := slice(t, tid); got != uint64(Slice) {
			t.Errorf("thread %d has a slice of %d ns, want %d", tid, got, Slice)
		}
	}
	close(hold)
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if got := slice(t, child.Process.Pid); got != uint64(Slice) {
		t.Errorf("a child has a slice of %d ns, want %d", got, Slice)
	}
	_ = child.Process.Kill()
	_ = child.Wait()
}
