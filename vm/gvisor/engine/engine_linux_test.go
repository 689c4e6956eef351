package engine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
