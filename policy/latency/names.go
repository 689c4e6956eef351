package latency

import "slices"

// The sample names. They are part of the contract with operators and with the
// benchmark: never rename one. A sample is recorded only for what succeeded.
const (
	WarmSnapshotRestore = "warm_snapshot_restore"
	ReadyProbe          = "ready_probe"
	CommandStart        = "command_start"
	FirstStdoutByte     = "first_stdout_byte"
	KillDelete          = "kill_delete"
	SnapshotSave        = "snapshot_save"
	ColdTemplateBuild   = "cold_template_build"
	WarmPoolCheckout    = "warm_pool_checkout"
	// ResumeToFirstStdout is for the first non-interactive command after a
	// restore, which is of a prepared template or of what a pause saved: start of
	// the restore to first byte of output, once per restore.
	ResumeToFirstStdout = "sandbox.start.resume_snapshot_to_first_stdout_ms"
	// ResumeToFirstStdoutAlias is a newer name of ResumeToFirstStdout that some
	// dashboards use. What is recorded or asked under it goes under the other.
	ResumeToFirstStdoutAlias = "start.resume_to_first_stdout_ms"
)

// The whole calls, from the request's arrival at the runtime to its answer. A
// resume begins when a pause that was under way has ended; a fork is one sample
// for all children, if all were made.
const (
	Create = "create"
	Pause  = "pause"
	Resume = "resume"
	Fork   = "fork"
)

// The stages of a create that have no older name. WarmSnapshotRestore and
// ReadyProbe, which is the delivery of what is per sandbox, come between
// CreateSlot and CreateStore.
const (
	CreateAdmit  = "create_admit"
	CreateSlot   = "create_slot"
	CreateStore  = "create_store"
	CreateExpose = "create_expose"
)

// The names of finer samples.
const (
	FreshnessSync          = "freshness_sync"
	ReadyCertificateCheck  = "ready_certificate_check"
	ExecDirectCommandStart = "exec.direct_command_start_ms"
	ExecDirectFirstStdout  = "exec.direct_first_stdout_byte_ms"
	FirstExecCommandStart  = "debug.exec.sandbox_first_command_start_ms"
	FirstExecFirstStdout   = "debug.exec.sandbox_first_first_stdout_byte_ms"
	ShellExecCommandStart  = "debug.exec.shell_command_start_ms"
	ShellExecFirstStdout   = "debug.exec.shell_first_stdout_byte_ms"
	ExecStdinWrite         = "sandbox.exec.stdin_write_latency_ms"
)

// The names of what a benchmark measures from outside.
const (
	StartHotToFirstStdout  = "start.hot_to_first_stdout_ms"
	StartHotToReady        = "start.hot_to_ready_ms"
	StartWarmToFirstStdout = "start.warm_to_first_stdout_ms"
	StartAgentTaskReady    = "start.agent_task_ready_ms"
	PoolLease              = "pool.lease_ms"
	ExecBatch100           = "exec.batch_100_small_commands_ms"
	ConcurrentCreate       = "concurrent_create"
)

var names = []string{
	WarmSnapshotRestore, ReadyProbe, CommandStart, FirstStdoutByte, KillDelete, SnapshotSave, ColdTemplateBuild,
	WarmPoolCheckout, ResumeToFirstStdout,
	Create, Pause, Resume, Fork,
	CreateAdmit, CreateSlot, CreateStore, CreateExpose,
	FreshnessSync, ReadyCertificateCheck, ExecDirectCommandStart, ExecDirectFirstStdout, FirstExecCommandStart,
	FirstExecFirstStdout, ShellExecCommandStart, ShellExecFirstStdout, ExecStdinWrite,
	StartHotToFirstStdout, StartHotToReady, StartWarmToFirstStdout, StartAgentTaskReady, PoolLease, ExecBatch100,
	ConcurrentCreate,
}

// Names returns every name under which a sample is kept, without aliases.
func Names() []string { return slices.Clone(names) }

// Canonical is the name under which samples of that name are kept.
func Canonical(name string) string {
	if name == ResumeToFirstStdoutAlias {
		return ResumeToFirstStdout
	}
	return name
}
