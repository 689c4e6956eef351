package claim

import "github.com/rundlet/rundlet/policy/snapshot"

// The kinds of claims on snapshots.
const (
	KindSnapshot        = string(snapshot.KindSnapshot)
	KindPause           = string(snapshot.KindPause)
	KindFilesystemPause = string(snapshot.KindFilesystemPause)
	KindContinuation    = string(snapshot.KindContinuation)
	KindTemplate        = string(snapshot.KindTemplate)
	KindLayer           = string(snapshot.KindLayer)
	// KindFork is held while the children of a fork are made.
	KindFork = "fork"
)
