//go:build linux

package netns

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// another is a network namespace that exists as long as the test.
func another(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var f *os.File
	if err := InNew(func() (err error) { f, err = os.Open(Own); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func own(t *testing.T) os.FileInfo {
	t.Helper()
	info, err := os.Stat(Own)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestInRunsInside(t *testing.T) {
	f := another(t)
	want, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	for range 100 {
		var got os.FileInfo
		if err := In(f, func() error { got = own(t); return failed }); !errors.Is(err, failed) || !os.SameFile(got, want) {
			t.Fatalf("it ran elsewhere, or %v", err)
		}
		if os.SameFile(own(t), want) {
			t.Fatal("a thread stays there")
		}
	}
}

func TestInFailsWithoutANamespace(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := In(f, func() error { t.Error("it ran"); return nil }); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}

func TestAtFails(t *testing.T) {
	ran := false
	for _, path := range []string{t.TempDir() + "/none", "/proc/self/stat"} {
		if err := At(path, func() error { ran = true; return nil }); err == nil || ran || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, it ran: %v", path, err, ran)
		}
	}
	if want := errors.New("of f"); os.Geteuid() == 0 && !errors.Is(At("/proc/self/ns/net", func() error { return want }), want) {
		t.Error("its error is lost")
	}
}
