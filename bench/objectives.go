package bench

import (
	"slices"

	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/policy/latency"
)

// Objectives are what a run is judged by: those of this product, and those of
// the reference systems, of which some have no counterpart here.
func Objectives() report.Objectives {
	place := func(group, row string) report.Place { return report.Place{Group: group, Row: row} }
	checkout := place("warm", latency.WarmPoolCheckout)
	return report.Objectives{
		SLOs: slices.Concat(latency.LifecycleSLOs(), latency.OverheadSLOs()),
		Places: map[string]report.Place{
			latency.StartHotToFirstStdout:    place("warm", rowFirstStdout),
			latency.StartHotToReady:          place("warm", rowReady),
			latency.ResumeToFirstStdoutAlias: place("clone", latency.ResumeToFirstStdout),
			latency.StartWarmToFirstStdout:   place("cold", "resume without memory to first stdout (REST)"),
			latency.PoolLease:                checkout,
			latency.ExecDirectCommandStart:   place("exec", rowCommandStart),
			latency.ExecDirectFirstStdout:    place("exec", rowExecStdout),
			latency.ExecBatch100:             place("batch", rowBatch),
			"control_plane_cpu_idle":         place("density", rowIdleCPU),
			"control_plane_rss_idle":         place("density", rowIdleRSS),
			"per_sandbox_host_rss":           place("density", rowPSS),
		},
		Absent: map[string]string{
			latency.StartAgentTaskReady: "no tier prepares a workspace and a session for an agent's task",
			"disk_metadata_growth":      "the reference's metadata files have no counterpart; the database keeps killed sandboxes for seven days",
			"idle_wakeup_rate":          "needs a tracer of the host's scheduler",
		},
		Limits: []report.Limit{
			{Place: checkout, Name: "warm checkout, server side", Percentile: 50, Max: 0.5, Below: true},
			{Place: checkout, Name: "warm checkout, server side", Percentile: 99, Max: 2, Below: true},
			{Place: place("warm", rowFirstStdout), Name: "create to first stdout out of the pool", Percentile: 50, Max: 25, Below: true},
			{Place: place("prepared", rowReady), Name: "pool miss with a prepared machine", Max: 1.25},
			{Place: place("clone", rowReady), Name: "pool miss with a restore", Max: 1.25},
			{Place: place("exec", rowExecStdout), Name: "command to first stdout", Max: 0.6},
		},
	}
}
