package telemetry

import (
	"slices"
	"strings"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
)

// other is the label of unknown values: each value of a label is a time
// series that is kept for long, and guests must not make any.
const other = "other"

var (
	stageLabels  = latency.Names()
	stateLabels  = liveStates()
	refusals     = []string{"oversized", "queue_full", "deadline", "pressure", "disk", "canceled"}
	reconciled   = []string{"recover", "cleanup", "quarantine", "preserve", "failed"}
	reasonLabels = []string{"request", "timeout", "oom", "exited", "signal", "create_failed", "shutdown", "lost", "stuck"}
	asideLabels  = []string{"snapshot", "machine", "sandbox"}
	pressures    = []string{"nominal", "watch", "shrink", "critical", "recovery"}
	kinds        = []string{"snapshot", "pause", "filesystem_pause", "continuation", "fork"}
)

// liveStates are the states but killed: a killed sandbox is counted by its reason.
func liveStates() (labels []string) {
	for _, s := range sandbox.States {
		if s != sandbox.StateKilled {
			labels = append(labels, string(s))
		}
	}
	return labels
}

// known returns the value if it is one of those allowed.
func known(value string, allowed []string) string {
	if slices.Contains(allowed, value) {
		return value
	}
	return other
}

func stageLabel(name string) string { return known(latency.Canonical(name), stageLabels) }

// ReasonClass is the class of a reason for which a sandbox was killed: request,
// timeout, oom, exited, signal, create_failed, shutdown, lost, stuck or other. A class
// is its own class.
func ReasonClass(reason string) string {
	switch reason {
	case "killed by request":
		return "request"
	case "create failed":
		return "create_failed"
	case "the daemon was shut down":
		return "shutdown"
	}
	class, _, _ := strings.Cut(reason, ":") // "exited: 1", "signal: killed", "lost: host rebooted"
	return known(class, reasonLabels)
}

// maxText is how many bytes of a text are exported.
const maxText = 256

// text makes a text short and valid: one that is not spoils the whole message
// that it is in.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}
