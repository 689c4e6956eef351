package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/specutils"
)

// Both states of a build are right: with the program inside, and a clean clone.
func TestTheProgramIsInside(t *testing.T) {
	path, err := Program.Extract(t.TempDir())
	if Program.Digest() == "" {
		if !errors.Is(err, ErrMissing) {
			t.Fatalf("%q %v", path, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || string(out) != "rundlet-sandbox: only the gVisor driver starts this program\n" {
		t.Errorf("it says %q and ends with %v", out, err)
	}
}

// TestTheProgramOutlivesItsFile selects one, removes it, and starts it.
func TestTheProgramOutlivesItsFile(t *testing.T) {
	was := specutils.ExePath
	t.Cleanup(func() { specutils.ExePath = was })
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	private, path := filepath.Join(dir, "private"), filepath.Join(dir, "one")
	if err := errors.Join(os.WriteFile(private, self, 0o700), os.WriteFile(path, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := Use(private); err == nil || specutils.ExePath != was {
		t.Errorf("a program that others may not execute: %v", err)
	}
	if err := Use(path); err != nil {
		t.Fatal(err)
	}
	used := specutils.ExePath
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(used, "-test.run=^$").CombinedOutput(); err != nil {
		t.Errorf("it does not start: %v, %s", err, out)
	}
	startPassing(t, used)
	same := filepath.Join(t.TempDir(), "one")
	if err := os.WriteFile(same, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Use(same); err != nil || specutils.ExePath != used {
		t.Errorf("the same program was selected anew: %q, %v", specutils.ExePath, err)
	}
	if err := Use(filepath.Join(dir, "none")); err == nil {
		t.Error("a program that is not there was selected")
	}
}

// startPassing starts the program with many files, one of which has the highest number below
// the program's that a file can have: Go moves the others by way of the numbers above it.
func startPassing(t *testing.T, program string) {
	t.Helper()
	var high int
	if _, err := fmt.Sscanf(program, "/proc/self/fd/%d", &high); err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	free := high - 1
	for ; free > 2; free-- {
		if _, err := unix.FcntlInt(uintptr(free), unix.F_GETFD, 0); err == unix.EBADF {
			break
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), free, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	below := os.NewFile(uintptr(free), os.DevNull)
	defer below.Close()
	cmd := exec.Command(program, "-test.run=^$")
	cmd.ExtraFiles = []*os.File{below}
	for range 32 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.Stdin) // A lower number than it gets.
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("passing file %d, it does not start: %v, %s", free, err, out)
	}
}
