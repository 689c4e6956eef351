package daemon

import (
	"time"

	"github.com/rundlet/rundlet/simulate/world"
)

// What things cost on the class of machine that is simulated. Times are of one free
// processor.
const (
	costRestore = 60 * time.Millisecond
	costStart   = 25 * time.Millisecond
	costPause   = 200 * time.Millisecond
	costResume  = 80 * time.Millisecond
	costKill    = 30 * time.Millisecond

	memoryPrepared = 20 * world.MiB
	memoryReady    = 60 * world.MiB
	memoryMost     = world.SandboxMemoryMiB * world.MiB
	diskFresh      = 16 * world.MiB

	hangTime = 30 * time.Second // when the owner gives a launch up
)
