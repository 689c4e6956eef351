// Package objectives says what a run of the bench is judged by. It may import bench/report and
// policy/latency; bench takes the names of rows from it.
package objectives

import (
	"slices"

	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/policy/latency"
)

// The rows that objectives are about.
const (
	Ready        = "create to ready (REST)"
	FirstStdout  = "create to first stdout (REST)"
	CommandStart = "start reported (API)"
	ExecStdout   = "first stdout (API)"
	Batch        = "100 commands (API)"
	IdleCPU      = "this process, idle: processor"
	IdleRSS      = "this process, idle: resident memory"
	PSS          = "one sandbox after use: PSS"
	Download     = "download from a port (proxy)"
	SmallRequest = "one small request over a kept connection (proxy)"
	ManyRequests = "requests of 16 clients (proxy)"
)

// The most that the times of rows of group ingress may be of those of their bare mechanism: 1 / 0.8 and 1 / 0.7 of its throughput.
const (
	DownloadRatio = 1 / 0.8
	ManyRatio     = 1 / 0.7
)

// All are what a run is judged by: those of this product, and those of
// the reference systems, of which some have no counterpart here.
func All() report.Objectives {
	place := func(group, row string) report.Place { return report.Place{Group: group, Row: row} }
	checkout := place("warm", latency.WarmPoolCheckout)
	return report.Objectives{
		SLOs: slices.Concat(latency.LifecycleSLOs(), latency.OverheadSLOs()),
		Places: map[string]report.Place{
			latency.StartHotToFirstStdout:    place("warm", FirstStdout),
			latency.StartHotToReady:          place("warm", Ready),
			latency.ResumeToFirstStdoutAlias: place("clone", latency.ResumeToFirstStdout),
			latency.StartWarmToFirstStdout:   place("cold", "resume without memory to first stdout (REST)"),
			latency.PoolLease:                checkout,
			latency.ExecDirectCommandStart:   place("exec", CommandStart),
			latency.ExecDirectFirstStdout:    place("exec", ExecStdout),
			latency.ExecBatch100:             place("batch", Batch),
			"control_plane_cpu_idle":         place("density", IdleCPU),
			"control_plane_rss_idle":         place("density", IdleRSS),
			"per_sandbox_host_rss":           place("density", PSS),
		},
		Absent: map[string]string{
			latency.StartAgentTaskReady: "no tier prepares a workspace and a session for an agent's task",
			"disk_metadata_growth":      "the reference's metadata files have no counterpart; the database keeps killed sandboxes for seven days",
			"idle_wakeup_rate":          "the network is looked at each second by design; group idle has the rate",
		},
		Limits: []report.Limit{
			{Place: checkout, Name: "warm checkout, server side", Percentile: 50, Max: 0.5, Below: true},
			{Place: checkout, Name: "warm checkout, server side", Percentile: 99, Max: 2, Below: true},
			{Place: place("warm", FirstStdout), Name: "create to first stdout out of the pool", Percentile: 50, Max: 25, Below: true},
			{Place: place("prepared", Ready), Name: "pool miss with a prepared machine", Max: 1.25},
			{Place: place("clone", Ready), Name: "pool miss with a restore", Max: 1.25},
			{Place: place("exec", ExecStdout), Name: "command to first stdout", Max: 0.6},
			{Place: place("ingress", Download), Name: "time of a download from a port", Max: DownloadRatio},
			{Place: place("ingress", SmallRequest), Name: "small request to a port", Added: true, Max: 0.2, Below: true},
			{Place: place("ingress", ManyRequests), Name: "time of the requests of 16 clients", Max: ManyRatio},
		},
	}
}
