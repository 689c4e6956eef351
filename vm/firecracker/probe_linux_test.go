package firecracker

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/firecracker/monitor"
	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// nestedEnv says that this is a machine of scripts/nested: it has a KVM that runs guests, and Firecracker in its search path.
const nestedEnv = "RUNDLET_TEST_FIRECRACKER"

func needsKVM(t *testing.T) {
	t.Helper()
	if os.Getenv(nestedEnv) == "" {
		t.Skip("needs Firecracker, and a KVM that runs guests: make microvm runs this test")
	}
}

// ownKernels is a directory with a kernel for a test that keeps answers in it.
func ownKernels(t *testing.T) (monitor.Programs, string) {
	t.Helper()
	needsKVM(t)
	programs, err := findPrograms()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "kernels")
	if err := os.CopyFS(dir, os.DirFS(drivertest.Kernels(t))); err != nil {
		t.Fatal(err)
	}
	return programs, dir
}

func noProbeIsLeft(t *testing.T, kernels string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(kernels, probeDir+"*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if strings.Contains(string(data), strings.TrimPrefix(probeDir, ".")) {
			t.Errorf("process %s is left: %q", entry.Name(), data)
		}
	}
}

// TestAGuestReallyBoots on a KVM that runs one, and a second question starts none.
func TestAGuestReallyBoots(t *testing.T) {
	programs, dir := ownKernels(t)
	if err := works(drivertest.Context(t), programs, dir, time.Minute, false); err != nil {
		t.Fatal(err)
	}
	noProbeIsLeft(t, dir)
	// A program that is not there would be found out.
	programs.Jailer = "/nonexistent"
	if err := works(drivertest.Context(t), programs, dir, time.Minute, true); err != nil {
		t.Errorf("the answer is not kept: %v", err)
	}
	programs.Version.Patch++
	if err := works(drivertest.Context(t), programs, dir, time.Minute, false); !errors.Is(err, os.ErrNotExist) && (err == nil || !strings.Contains(err.Error(), "/nonexistent")) {
		t.Errorf("the answer of another version is taken: %v", err)
	}
}

// TestAGuestThatDoesNotBootIsEnded, and its answer is kept until it is asked for again.
func TestAGuestThatDoesNotBootIsEnded(t *testing.T) {
	programs, dir := ownKernels(t)
	k, err := kernel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(k.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.Vmlinux, []byte("This is not a kernel."), 0o600); err != nil {
		t.Fatal(err)
	}
	err = works(drivertest.Context(t), programs, dir, time.Minute, false)
	if err == nil {
		t.Fatal("a guest has booted without a kernel")
	}
	noProbeIsLeft(t, dir)
	if err := os.WriteFile(k.Vmlinux, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if again := works(drivertest.Context(t), programs, dir, time.Minute, false); again == nil || again.Error() != err.Error() {
		t.Errorf("%v, want %v", again, err)
	}
	if err := works(drivertest.Context(t), programs, dir, time.Millisecond, true); err == nil {
		t.Error("a guest has booted within a millisecond")
	}
	noProbeIsLeft(t, dir)
	if err := works(drivertest.Context(t), programs, dir, time.Minute, true); err != nil {
		t.Errorf("asked again: %v", err)
	}
	ctx, cancel := context.WithCancel(drivertest.Context(t))
	cancel()
	if err := works(ctx, programs, dir, time.Minute, true); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	noProbeIsLeft(t, dir)
}

// TestAFailureThatProvesNothingIsForgotten: it can be one of a host that is busy, or short of something.
func TestAFailureThatProvesNothingIsForgotten(t *testing.T) {
	programs, dir := ownKernels(t)
	broken := programs
	broken.Jailer = "/nonexistent"
	if err := works(drivertest.Context(t), broken, dir, time.Minute, false); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	noProbeIsLeft(t, dir)
	if err := works(drivertest.Context(t), programs, dir, time.Minute, false); err != nil {
		t.Error(err)
	}
}

// TestAProbeWhoseProcessDiedIsEnded by the next one.
func TestAProbeWhoseProcessDiedIsEnded(t *testing.T) {
	_, dir := ownKernels(t)
	left, err := os.MkdirTemp(dir, probeDir)
	if err != nil {
		t.Fatal(err)
	}
	// It stands for the jailer: only its arguments count.
	sleeper := exec.CommandContext(drivertest.Context(t), "/bin/sh", "-c", "read line", "--id", strings.TrimPrefix(filepath.Base(left), "."), "--")
	in, err := sleeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := process.OpenChild(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if err := removeProbes(dir); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Ended:
	default:
		t.Error("the process runs")
		_ = unix.Kill(p.PID, unix.SIGKILL)
	}
	noProbeIsLeft(t, dir)
}

// TestKernelsThatAreMissing is a positive control: the order in which a probe looks says what is missing first.
func TestKernelsThatAreMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := works(drivertest.Context(t), monitor.Programs{}, t.TempDir(), time.Second, false); !errors.Is(err, kernel.ErrNone) {
		t.Error(err)
	}
}
