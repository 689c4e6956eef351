//go:build linux

package gvisor

import (
	"os"
	"strconv"
)

// Who goes first when memory is short, of a sandbox or of the host: the guest's
// processes, then sandboxes, and then the rest of the host. A stub that dies is a
// guest process that dies, a sentry that dies is a whole sandbox.
const (
	oomScoreStub    = 900
	oomScoreSandbox = 500
)

// setStubScore is called by a sandbox process before it makes its first stub.
// Stubs inherit the score; the creator then gives the sandbox process its own.
func setStubScore() error { return setOOMScore("self", oomScoreStub) }

func setOOMScore(pid string, score int) error {
	return os.WriteFile("/proc/"+pid+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
}

// setSandboxScore must be called when the sandbox can make stubs already.
func (m *machine) setSandboxScore() error {
	if err := setOOMScore(strconv.Itoa(m.sandbox.pid), oomScoreSandbox); err != nil {
		return err
	}
	if m.gofer == nil {
		return nil
	}
	return setOOMScore(strconv.Itoa(m.gofer.pid), oomScoreSandbox)
}
