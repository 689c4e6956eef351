package umount

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// other is the status of a process that is not the helper.
const other = 7

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "umount" {
		os.Exit(other)
	}
	os.Exit(m.Run())
}

// asHelper starts this test binary as gVisor starts the helper, in another mount
// namespace, and returns the exit status.
func asHelper(t *testing.T, send []byte, args ...string) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = args
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(send); err != nil {
		t.Error(err)
	}
	w.Close()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// TestTheHelper has the statuses of gVisor's command, and of a process that is not a helper.
func TestTheHelper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	argv := []string{"/proc/self/exe", "umount", "--sync-fd=3", "/proc"}
	if got := asHelper(t, []byte{0}, argv...); got != 0 {
		t.Errorf("it ended with %d", got)
	}
	if got := asHelper(t, nil, argv...); got != failed {
		t.Errorf("without a byte it ended with %d", got)
	}
	for name, args := range map[string][]string{
		"another name": {"runsc", "umount", "--sync-fd=3", "/proc"}, "another path": {"/proc/self/exe", "umount", "--sync-fd=3", "/sys"},
		"another descriptor": {"/proc/self/exe", "umount", "--sync-fd=4", "/proc"}, "more": append(argv[:4:4], "x"),
	} {
		if got := asHelper(t, []byte{0}, args...); got != other {
			t.Errorf("%s: it ended with %d", name, got)
		}
	}
}

func TestWhatIsNotMountedFails(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got := run(r, t.TempDir()); got != failed {
		t.Errorf("it returned %d", got)
	}
}
