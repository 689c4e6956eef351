//go:build linux

package process

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A machine whose record has another boot than this one is taken for lost and
// ended. A daemon that cannot read which boot it is must not come to that.
func TestADaemonWithoutDescriptorsKnowsTheBoot(t *testing.T) {
	BootID() // As it is read when the driver is opened.
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	known := BootID()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if known == "" || known != BootID() {
		t.Errorf("without descriptors the boot is %q, and %q with them", known, BootID())
	}
	if _, err := os.ReadFile("/"); err == nil || errors.Is(err, unix.EMFILE) {
		t.Errorf("the limit is not as it was: %v", err)
	}
}
