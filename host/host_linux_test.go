package host

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/policy/disk"
)

var _ disk.Probe = Host{}

func TestThisMachineHasFigures(t *testing.T) {
	m, err := Host{}.Memory()
	if err != nil {
		t.Fatal(err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	if want := int64(info.Totalram) * int64(info.Unit); m.Total != want || m.Available <= 0 {
		t.Errorf("memory %+v, the system call says %d", m, want)
	}
	swap, err := Host{}.Swap()
	if want := int64(info.Totalswap) * int64(info.Unit); err != nil || swap.Total != want {
		t.Errorf("swap %+v, %v, the system call says %d", swap, err, want)
	}
	_, err = Host{}.Pressure()
	if _, stat := os.Stat("/proc/pressure/cpu"); stat == nil && err != nil {
		t.Errorf("pressure: %v", err)
	} else if stat != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("pressure without its files: %v", err)
	}
	if _, err := (Host{}).FreeBytes(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("free space of what does not exist: %v", err)
	}
}

// inNamespace is set in the process that may mount.
const inNamespace = "RUNDLET_TEST_IN_MOUNT_NAMESPACE"

// inMountNamespace runs the calling test once more, in a process with mounts of
// its own, and reports whether this is that process. An ordinary user gets a
// user namespace too.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // Makes what is mounted private too.
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a mount namespace: %v\n%s", err, out)
	}
	return false
}

func TestTheFloorHoldsOnAFileSystemThatReallyIsSmall(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	const mib = 1 << 20
	root := t.TempDir()
	if err := unix.Mount("none", root, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	guard := disk.Guard{Root: root, MinimumFree: 12 * mib}
	fill := func(bytes int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, "file"), make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if free, err := (Host{}).FreeBytes(root); err != nil || free != 16*mib {
		t.Fatalf("empty: %d free, %v", free, err)
	}
	fill(4 * mib)
	if report, err := guard.Check(Host{}); err != nil || report.Available != 12*mib {
		t.Errorf("exactly at the floor: %+v, %v", report, err)
	}
	fill(4*mib + 1)
	var below *disk.BelowError
	if _, err := guard.Check(Host{}); !errors.As(err, &below) || below.Available >= 12*mib || below.Available < 11*mib {
		t.Errorf("one byte more: %v", err)
	}
	fill(16 * mib)
	if free, err := (Host{}).FreeBytes(root); err != nil || free != 0 {
		t.Errorf("full: %d free, %v", free, err)
	}
}

func TestAbsurdFileSystemsDoNotOverflow(t *testing.T) {
	for _, tc := range []struct {
		blocks uint64
		bytes  int64
		want   int64
	}{
		{0, 4096, 0}, {3, 4096, 12288}, {1 << 51, 4096, math.MaxInt64}, {1 << 52, 4096, math.MaxInt64}, {math.MaxUint64, math.MaxInt64, math.MaxInt64},
		{math.MaxInt64, 1, math.MaxInt64}, {5, -1, 0},
	} {
		if got := size(tc.blocks, tc.bytes); got != tc.want {
			t.Errorf("%d blocks of %d: %d", tc.blocks, tc.bytes, got)
		}
	}
}
