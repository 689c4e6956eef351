package runtime

// Step names a point in a lifecycle operation, right after what it says was
// done. A daemon that dies at any of them loses no sandbox and leaks nothing:
// the crash matrix in e2e goes through all of them.
type Step string

// The steps, in the order in which an operation passes them.
const (
	StepCreateReserved  Step = "create.reserved"
	StepCreateIntent    Step = "create.intent"
	StepCreateNetwork   Step = "create.network"
	StepCreateMachine   Step = "create.machine"
	StepCreateDelivered Step = "create.delivered"
	StepCreateOutcome   Step = "create.outcome"

	StepPauseIntent  Step = "pause.intent"
	StepPauseStopped Step = "pause.stopped"
	StepPauseSaved   Step = "pause.saved"
	StepPauseClaimed Step = "pause.claimed"
	StepPauseEnded   Step = "pause.ended"
	StepPauseFreed   Step = "pause.freed"
	StepPauseOutcome Step = "pause.outcome"

	StepResumeReserved  Step = "resume.reserved"
	StepResumeIntent    Step = "resume.intent"
	StepResumeNetwork   Step = "resume.network"
	StepResumeMachine   Step = "resume.machine"
	StepResumeDelivered Step = "resume.delivered"
	StepResumeOutcome   Step = "resume.outcome"
	StepResumeDropped   Step = "resume.dropped"

	StepSnapshotIntent  Step = "snapshot.intent"
	StepSnapshotSaved   Step = "snapshot.saved"
	StepSnapshotOutcome Step = "snapshot.outcome"
	StepSnapshotDropped Step = "snapshot.dropped"
	StepSnapshotDeleted Step = "snapshot.deleted"

	StepForkSaved    Step = "fork.saved"
	StepForkChildren Step = "fork.children"

	StepKillIntent  Step = "kill.intent"
	StepKillEnded   Step = "kill.ended"
	StepKillFreed   Step = "kill.freed"
	StepKillDropped Step = "kill.dropped"
	StepKillOutcome Step = "kill.outcome"

	// StepWarmRetained is passed in the background, by each machine that comes
	// into the warm pool. It is not one of Steps: there is no row that a crash
	// there could lose.
	StepWarmRetained Step = "warm.retained"
)

// Steps returns all of those that an operation passes.
func Steps() []Step {
	return []Step{
		StepCreateReserved, StepCreateIntent, StepCreateNetwork, StepCreateMachine, StepCreateDelivered, StepCreateOutcome,
		StepPauseIntent, StepPauseStopped, StepPauseSaved, StepPauseClaimed, StepPauseEnded, StepPauseFreed, StepPauseOutcome,
		StepResumeReserved, StepResumeIntent, StepResumeNetwork, StepResumeMachine, StepResumeDelivered, StepResumeOutcome,
		StepResumeDropped,
		StepSnapshotIntent, StepSnapshotSaved, StepSnapshotOutcome, StepSnapshotDropped, StepSnapshotDeleted,
		StepForkSaved, StepForkChildren,
		StepKillIntent, StepKillEnded, StepKillFreed, StepKillDropped, StepKillOutcome,
	}
}

// at passes a step. The error is an injected failure.
func (r *Runtime) at(step Step) error {
	if r.cfg.Failpoint == nil {
		return nil
	}
	return r.cfg.Failpoint(step)
}
