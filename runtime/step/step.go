// Package step declares the steps of lifecycle operations. A step is the fail
// point of tests, and a Recorder turns stages into spans and latency samples. It
// may import policy/latency only; the parts of the runtime use it.
package step

// Step names a point in a lifecycle operation, right after the step of that name was
// done. A daemon that dies at any of them loses no sandbox and leaks nothing:
// the crash matrix in e2e goes through all of them.
type Step string

// None is the step of an operation that has no fail point there.
const None Step = ""

// The steps, in the order in which an operation passes them.
const (
	CreateReserved  Step = "create.reserved"
	CreateIntent    Step = "create.intent"
	CreateNetwork   Step = "create.network"
	CreateMachine   Step = "create.machine"
	CreateDelivered Step = "create.delivered"
	CreateOutcome   Step = "create.outcome"

	PauseIntent  Step = "pause.intent"
	PauseStopped Step = "pause.stopped"
	PauseSaved   Step = "pause.saved"
	PauseClaimed Step = "pause.claimed"
	PauseEnded   Step = "pause.ended"
	PauseFreed   Step = "pause.freed"
	PauseOutcome Step = "pause.outcome"

	ResumeReserved  Step = "resume.reserved"
	ResumeIntent    Step = "resume.intent"
	ResumeNetwork   Step = "resume.network"
	ResumeMachine   Step = "resume.machine"
	ResumeDelivered Step = "resume.delivered"
	ResumeOutcome   Step = "resume.outcome"
	ResumeDropped   Step = "resume.dropped"

	SnapshotIntent  Step = "snapshot.intent"
	SnapshotSaved   Step = "snapshot.saved"
	SnapshotOutcome Step = "snapshot.outcome"
	SnapshotDropped Step = "snapshot.dropped"
	SnapshotDeleted Step = "snapshot.deleted"

	ForkSaved    Step = "fork.saved"
	ForkChildren Step = "fork.children"

	KillIntent  Step = "kill.intent"
	KillEnded   Step = "kill.ended"
	KillFreed   Step = "kill.freed"
	KillDropped Step = "kill.dropped"
	KillOutcome Step = "kill.outcome"

	// Those of a build are passed in the background. They are those of Builds.
	BuildBegun   Step = "build.begun"
	BuildMachine Step = "build.machine"
	BuildStep    Step = "build.step"
	BuildLayer   Step = "build.layer"
	BuildFolded  Step = "build.folded" // Only of a build whose files are folded; not among Builds.
	BuildSaved   Step = "build.saved"
	BuildOutcome Step = "build.outcome"

	// Those of a sync are passed in the background. They are those of Syncs.
	SyncBegun   Step = "sync.begun"
	SyncDone    Step = "sync.done"
	SyncOutcome Step = "sync.outcome"

	// WarmRetained is passed in the background, by each machine that comes into the
	// warm pool. It is not one of All: there is no row that a crash there could lose.
	WarmRetained Step = "warm.retained"
)

// Builds returns the steps that the build of a template passes.
func Builds() []Step {
	return []Step{BuildBegun, BuildMachine, BuildStep, BuildLayer, BuildSaved, BuildOutcome}
}

// Syncs returns the steps that the sync of a checkout passes.
func Syncs() []Step { return []Step{SyncBegun, SyncDone, SyncOutcome} }

// All returns the steps that operations pass.
func All() []Step {
	return []Step{
		CreateReserved, CreateIntent, CreateNetwork, CreateMachine, CreateDelivered, CreateOutcome,
		PauseIntent, PauseStopped, PauseSaved, PauseClaimed, PauseEnded, PauseFreed, PauseOutcome,
		ResumeReserved, ResumeIntent, ResumeNetwork, ResumeMachine, ResumeDelivered, ResumeOutcome,
		ResumeDropped,
		SnapshotIntent, SnapshotSaved, SnapshotOutcome, SnapshotDropped, SnapshotDeleted,
		ForkSaved, ForkChildren,
		KillIntent, KillEnded, KillFreed, KillDropped, KillOutcome,
	}
}
