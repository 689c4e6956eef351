//go:build linux

package gvisor

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// The order of OOM kills, in a sandbox and on the host: the guest's
// processes, then sandboxes with what serves their files, and then the rest of the
// host; of that the daemon last, with what it asks for itself. A stub that dies is a
// guest process that dies, a sentry that dies is a whole sandbox.
const (
	oomScoreStub    = launch.StubScore
	oomScoreSandbox = 500
	oomScoreGofer   = 400
)

// setScores is called when the sandbox has made the stub that all others are
// forks of, and before it runs a guest. Which processes are stubs only a control
// group says; without one they have the score of the creator, or dropScore's.
func (m *machine) setScores() error {
	pids, err := m.group.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := launch.SetScore(pid, oomScoreStub); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	if err := launch.SetScore(m.sandbox.PID, oomScoreSandbox); err != nil {
		return err
	}
	if m.gofer == nil {
		return nil
	}
	return launch.SetScore(m.gofer.PID, oomScoreGofer)
}
