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

// Phase is a group of phase budgets: how the sandbox came about, or what is
// done to it.
type Phase string

// The phases.
const (
	PhaseHeadline    Phase = "headline"
	PhaseHot         Phase = "hot"
	PhaseResumed     Phase = "resume"
	PhaseWarm        Phase = "warm"
	PhaseDestroy     Phase = "destroy"
	PhaseMaintenance Phase = "maintenance"
)

// PhaseBudget is what one step of a phase may cost. Where a range is given, Low
// is its start and says what is expected; Max alone is the limit.
type PhaseBudget struct {
	Phase Phase
	Step  string
	Unit  Unit
	// Percentile is 0 where the budget is for each single time.
	Percentile int
	Low, Max   float64
	// Below: the limit itself is too much.
	Below bool
}

// Meets reports whether a value keeps the budget.
func (b PhaseBudget) Meets(value float64) bool {
	if b.Below {
		return value < b.Max
	}
	return value <= b.Max
}

// PhaseBudgets are how an objective is shared out: section B15, "Phase budgets".
func PhaseBudgets() []PhaseBudget { return slices.Clone(phaseBudgets) }

var phaseBudgets = []PhaseBudget{
	{Phase: PhaseHeadline, Step: "first_stdout", Unit: Milliseconds, Percentile: 50, Max: 25, Below: true},
	{Phase: PhaseHeadline, Step: "first_stdout", Unit: Milliseconds, Percentile: 95, Max: 75, Below: true},
	{Phase: PhaseHeadline, Step: "first_stdout", Unit: Milliseconds, Percentile: 99, Max: 150, Below: true},
	{Phase: PhaseHeadline, Step: "resume", Unit: Milliseconds, Percentile: 95, Max: 35, Below: true},

	{Phase: PhaseHot, Step: "lease", Unit: Milliseconds, Max: 1, Below: true},
	{Phase: PhaseHot, Step: "ping", Unit: Milliseconds, Max: 5, Below: true},
	{Phase: PhaseHot, Step: "workspace", Unit: Milliseconds, Max: 10, Below: true},
	{Phase: PhaseHot, Step: "probe", Unit: Milliseconds, Max: 5, Below: true},
	{Phase: PhaseHot, Step: "dispatch", Unit: Milliseconds, Low: 10, Max: 15},
	{Phase: PhaseHot, Step: "start", Unit: Milliseconds, Low: 10, Max: 15},
	{Phase: PhaseHot, Step: "stdout", Unit: Milliseconds, Low: 10, Max: 20},

	{Phase: PhaseResumed, Step: "restore", Unit: Milliseconds, Low: 10, Max: 15},
	{Phase: PhaseResumed, Step: "agent", Unit: Milliseconds, Low: 3, Max: 5},
	{Phase: PhaseResumed, Step: "ready", Unit: Milliseconds, Low: 3, Max: 5},
	{Phase: PhaseResumed, Step: "exec", Unit: Milliseconds, Low: 10, Max: 15},

	{Phase: PhaseWarm, Step: "lookup", Unit: Milliseconds, Low: 25, Max: 50},
	{Phase: PhaseWarm, Step: "boot", Unit: Milliseconds, Low: 200, Max: 250},
	{Phase: PhaseWarm, Step: "net", Unit: Milliseconds, Low: 25, Max: 50},
	{Phase: PhaseWarm, Step: "exec", Unit: Milliseconds, Low: 25, Max: 50},

	{Phase: PhaseDestroy, Step: "eight_sandboxes", Unit: Milliseconds, Max: 500, Below: true},

	{Phase: PhaseMaintenance, Step: "idle_memory_reclaim", Unit: Milliseconds, Max: 5000},
	{Phase: PhaseMaintenance, Step: "fstrim_queued", Unit: Milliseconds, Max: 30000},
	{Phase: PhaseMaintenance, Step: "sparse_bloat", Unit: Ratio, Max: 1.5},
	{Phase: PhaseMaintenance, Step: "fsync", Unit: Milliseconds, Percentile: 99, Max: 10, Below: true},
}
