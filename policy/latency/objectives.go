package latency

import "slices"

// LifecycleSLOs are the objectives for a sandbox's life: section B15 of the
// reference systems, "Lifecycle SLOs".
func LifecycleSLOs() []SLO { return slices.Clone(lifecycleSLOs) }

var lifecycleSLOs = []SLO{
	{Metric: StartHotToFirstStdout, Unit: Milliseconds, P50Max: 50, P95Max: 75},
	{Metric: StartHotToReady, Unit: Milliseconds, P50Max: 50, P95Max: 75},
	{Metric: ResumeToFirstStdoutAlias, Unit: Milliseconds, P50Max: 35, P95Max: 50},
	{Metric: StartWarmToFirstStdout, Unit: Milliseconds, P50Max: 350, P95Max: 500},
	{Metric: StartAgentTaskReady, Unit: Milliseconds, P50Max: 50, P95Max: 75},
	{Metric: PoolLease, Unit: Milliseconds, P50Max: 1, P95Max: 5},
	{Metric: ExecDirectCommandStart, Unit: Milliseconds, P50Max: 15, P95Max: 25},
	{Metric: ExecDirectFirstStdout, Unit: Milliseconds, P50Max: 20, P95Max: 35},
	{Metric: ExecBatch100, Unit: Milliseconds, P50Max: 2000, P95Max: 3000},
}

// OverheadSLOs are the objectives for what the node itself costs: section B15,
// "Overhead SLOs".
func OverheadSLOs() []SLO { return slices.Clone(overheadSLOs) }

var overheadSLOs = []SLO{
	{Metric: "control_plane_cpu_idle", Unit: Percent, P95Max: 1},
	{Metric: "control_plane_rss_idle", Unit: MiB, P95Max: 256},
	{Metric: "per_sandbox_host_rss", Unit: MiB, Family: FamilyDensity, P95Max: 128},
	{Metric: "disk_metadata_growth", Unit: Bytes, Family: FamilyDisk, P95Max: 1 << 20},
	{Metric: "idle_wakeup_rate", Unit: Hertz, P95Max: 1},
}
