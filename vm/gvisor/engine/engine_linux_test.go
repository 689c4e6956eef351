package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

const digestName = "rundlet-sandbox-0123456789abcdef"

// TestTheProgramOutlivesItsFile selects one, removes it, and starts it.
func TestTheProgramOutlivesItsFile(t *testing.T) {
	dir := t.TempDir()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	private, path := filepath.Join(dir, "private"), filepath.Join(dir, digestName)
	if err := errors.Join(os.WriteFile(private, self, 0o700), os.WriteFile(path, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := Use(private); err == nil {
		t.Errorf("a program that others may not execute: %v", err)
	}
	used, err := Use(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(used, "-test.run=^$").CombinedOutput(); err != nil {
		t.Errorf("it does not start: %v, %s", err, out)
	}
	startPassing(t, used)
	same := filepath.Join(t.TempDir(), digestName)
	if err := os.WriteFile(same, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if again, err := Use(same); err != nil || again != used {
		t.Errorf("the same program was selected anew: %q, %v", again, err)
	}
	// Without a digest the name says nothing of the contents.
	paths := map[string]bool{used: true}
	for range 2 {
		other := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(other, self, 0o755); err != nil {
			t.Fatal(err)
		}
		for range 2 { // The second time, it is the same.
			path, err := Use(other)
			if err != nil {
				t.Fatal(err)
			}
			paths[path] = true
		}
	}
	if len(paths) != 3 {
		t.Errorf("three programs are executed by the paths %v", paths)
	}
	if _, err := Use(filepath.Join(dir, "none")); err == nil {
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

// TestAMountThatForbidsExecutionIsRefused in a mount namespace of one thread, which ends with it.
func TestAMountThatForbidsExecutionIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	used := make(chan error)
	go func() {
		runtime.LockOSThread() // And never unlocked.
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, ""), os.WriteFile(filepath.Join(dir, "program"), []byte("x"), 0o755))
		if err == nil {
			_, err = Use(filepath.Join(dir, "program"))
		}
		used <- err
	}()
	if err := <-used; !errors.Is(err, errNoExec) || !strings.Contains(Hint(err), "noexec") {
		t.Errorf("%v, %q", err, Hint(err))
	}
}
