package gvisor

// The steps of the lifecycle that leave something on the host, or take
// something away, in the order in which a call reaches them. Those whose request
// the sentry has answered (create:running, start:running, stop:paused,
// snapshot:saved) come before anything is written about the answer.
const (
	stepCreateLinked   = "create:linked"   // The images that Start will load have a second name.
	stepCreateBundle   = "create:bundle"   // The machine's directory and console exist.
	stepCreateCgroup   = "create:cgroup"   // The control group exists.
	stepCreateRecord   = "create:record"   // The record exists, without processes.
	stepCreateSandbox  = "create:sandbox"  // The processes run.
	stepCreateRecorded = "create:recorded" // The record has the processes.
	stepCreateLoading  = "create:loading"  // The snapshot, or the guest's first process, comes next.
	stepCreateRunning  = "create:running"  // The guest runs; not reported yet.

	stepStartBegun   = "start:begun"   // Nothing done yet.
	stepStartRunning = "start:running" // The guest runs; not reported yet.
	stepStopPaused   = "stop:paused"   // The guest is frozen; not reported yet.

	stepSnapshotStaging   = "snapshot:staging"   // The staging directory exists.
	stepSnapshotSaved     = "snapshot:saved"     // The images are written.
	stepSnapshotSealed    = "snapshot:sealed"    // Manifest and images are durable.
	stepSnapshotParent    = "snapshot:parent"    // The directory of the machine's snapshots exists.
	stepSnapshotCommitted = "snapshot:committed" // The snapshot has its name.
	stepDeleteMoved       = "delete:moved"       // The snapshot has lost its name.

	stepRenameRecorded = "rename:recorded" // The record has the new id.
	stepRenameMoved    = "rename:moved"    // The snapshots have the new id.

	stepDestroyKilled  = "destroy:killed"  // The processes have ended.
	stepDestroyCgroup  = "destroy:cgroup"  // The control group is gone.
	stepDestroyFiles   = "destroy:files"   // The files are gone, but for the record.
	stepDestroyRemoved = "destroy:removed" // The record is gone.
)

// Steps returns the names that Config.Failpoint is called with. Adopt of the
// next process takes over or frees the state that a process leaves that dies at one.
func Steps() []string {
	return []string{
		stepCreateLinked, stepCreateBundle, stepCreateCgroup, stepCreateRecord, stepCreateSandbox, stepCreateRecorded,
		stepCreateLoading, stepCreateRunning, stepStartBegun, stepStartRunning, stepStopPaused, stepSnapshotStaging,
		stepSnapshotSaved, stepSnapshotSealed, stepSnapshotParent, stepSnapshotCommitted, stepDeleteMoved, stepRenameRecorded, stepRenameMoved,
		stepDestroyKilled, stepDestroyCgroup, stepDestroyFiles, stepDestroyRemoved,
	}
}
