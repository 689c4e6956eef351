package e2e

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/host"
)

// TestTheDaemonAndItsSandboxesHaveShortTimeSlices: sandboxes get theirs from the daemon.
func TestTheDaemonAndItsSandboxesHaveShortTimeSlices(t *testing.T) {
	srv, api, _ := newServer(t)
	sb := createMany(t, api, 1)[0]
	for what, pid := range map[string]int{"daemon": srv.cmd.Process.Pid, "sandbox": sentry(t, sb.ID)} {
		attr, err := unix.SchedGetAttr(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		if attr.Runtime == 0 || attr.Policy != unix.SCHED_NORMAL {
			t.Skipf("no slices can be set here: it needs Linux 6.12 and the ordinary scheduler: %+v", attr)
		}
		if attr.Runtime != uint64(host.Slice) {
			t.Errorf("the %s has a slice of %d ns, want %d", what, attr.Runtime, host.Slice)
		}
	}
	srv.stop(t)
}
