package sentry

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

func TestWithLimits(t *testing.T) {
	got := withLimits([]string{"a", "boot", "id"}, launch.File{CPUs: 2, MemoryBytes: 5})
	if want := []string{"a", "boot", "--cpu-num=2", "--total-memory=5", "--total-host-memory=5", "id"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAnInheritedFileIsClosed(t *testing.T) {
	var fds [4]int
	for i := range fds {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY, 0) // Without close-on-exec.
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	unix.CloseOnExec(fds[3])
	// In the test binary the others must survive: they are donated.
	if err := closeForeign([]string{"runsc-gofer", "--spec-fd=3", fmt.Sprintf("--io-fds=%d", fds[1])}); err != nil {
		t.Fatal(err)
	}
	for i, open := range []bool{true, true, false, true} {
		if _, err := unix.FcntlInt(uintptr(fds[i]), unix.F_GETFD, 0); (err == nil) != open {
			t.Errorf("file %d: %v", i, err)
		}
	}
}
