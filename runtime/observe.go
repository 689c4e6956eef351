package runtime

import (
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

// CommandStarted is called by the data plane when a command in a sandbox started,
// so long after its request came.
func (r *Runtime) CommandStarted(id string, took time.Duration) {
	r.steps.Latency.Record(latency.CommandStart, took)
}

// FirstStdout is called by the data plane when a command without a terminal wrote
// its first byte of standard output, so long after its request came. For the
// first such command of a sandbox it also records the time since its restore
// began.
func (r *Runtime) FirstStdout(id string, took time.Duration) {
	r.steps.Latency.Record(latency.FirstStdoutByte, took)
	sb, ok := r.live.Find(id)
	if !ok {
		return
	}
	if restored := sb.TakeRestored(); !restored.IsZero() {
		r.steps.Latency.Record(latency.ResumeToFirstStdout, time.Since(restored))
	}
}
