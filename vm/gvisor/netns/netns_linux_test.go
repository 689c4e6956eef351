package netns

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// another is a network namespace that exists as long as the test.
func another(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	opened := make(chan error)
	var f *os.File
	go func() {
		runtime.LockOSThread() // And never unlocked: the thread ends.
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		opened <- err
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func own(t *testing.T) os.FileInfo {
	t.Helper()
	info, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestDoRunsInside(t *testing.T) {
	f := another(t)
	want, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	for range 100 {
		var got os.FileInfo
		if err := Do(f, func() error { got = own(t); return failed }); !errors.Is(err, failed) || !os.SameFile(got, want) {
			t.Fatalf("it ran elsewhere, or %v", err)
		}
		if os.SameFile(own(t), want) {
			t.Fatal("a thread stays there")
		}
	}
}

func TestDoFailsWithoutANamespace(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Do(f, func() error { t.Error("it ran"); return nil }); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}
