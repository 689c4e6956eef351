//go:build linux

package driver

// The steps of lifecycle operations, for vm.Options.Failpoint.
const (
	stepCreateRecord      = "create: record written"
	stepCreateFiles       = "create: files made"
	stepCreateLaunched    = "create: process launched"
	stepCreateLoading     = "create: before it goes on"
	stepCreateRunning     = "create: running"
	stepStartRunning      = "start: running"
	stepStopPaused        = "stop: paused"
	stepSnapshotStaging   = "snapshot: staging made"
	stepSnapshotSaved     = "snapshot: saved"
	stepSnapshotCommitted = "snapshot: committed"
	stepDestroyKilled     = "destroy: killed"
)
