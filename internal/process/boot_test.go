//go:build linux

package process

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process/processtest"
)

// A machine whose record has another boot than this one is taken for lost and
// ended. A daemon that cannot read which boot it is must not come to that.
func TestADaemonWithoutDescriptorsKnowsTheBoot(t *testing.T) {
	BootID() // As it is read when the driver is opened.
	var known string
	processtest.WithDescriptors(t, 0, func() { known = BootID() })
	if known == "" || known != BootID() {
		t.Errorf("without descriptors the boot is %q, and %q with them", known, BootID())
	}
	if _, err := os.ReadFile("/"); err == nil || errors.Is(err, unix.EMFILE) {
		t.Errorf("the limit is not as it was: %v", err)
	}
}
