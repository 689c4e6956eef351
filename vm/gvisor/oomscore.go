//go:build linux

package gvisor

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The order of OOM kills, in a sandbox and on the host: the guest's
// processes, then sandboxes with what serves their files, and then the rest of the
// host; of that the daemon last, with what it asks for itself. A stub that dies is a
// guest process that dies, a sentry that dies is a whole sandbox.
const (
	oomScoreStub    = 900
	oomScoreSandbox = 500
	oomScoreGofer   = 400
)

func setOOMScore(pid, score int) error {
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}

// dropScore gives up the score that a sandbox process inherits from a creator that
// is protected, so that its stubs do not inherit it. It leaves a shorter one as it
// is: gVisor reads the score of a process that it has just started in two steps,
// and would take the rest of a longer new one for a second number.
func dropScore() error {
	old, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || len(old) <= len(strconv.Itoa(oomScoreStub)) {
		return err
	}
	return setOOMScore(os.Getpid(), oomScoreStub)
}

// setScores is called when the sandbox has made the stub that all others are
// forks of, and before it runs a guest. Which processes are stubs only a control
// group says; without one they have the score of the creator, or dropScore's.
func (m *machine) setScores() error {
	pids, err := m.group.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := setOOMScore(pid, oomScoreStub); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	if err := setOOMScore(m.sandbox.pid, oomScoreSandbox); err != nil {
		return err
	}
	if m.gofer == nil {
		return nil
	}
	return setOOMScore(m.gofer.pid, oomScoreGofer)
}
