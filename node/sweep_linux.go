package node

import (
	"context"
	"log/slog"
	"os"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/vm"
)

// SweepEphemeral removes the objects that crashed processes of ephemeral nodes left of a state directory,
// such as "rundlet run". Those that cannot be removed now are left for the next process.
func SweepEphemeral(ctx context.Context, driver vm.Driver, dirs layout.Layout, log *slog.Logger) {
	for _, instance := range statedir.Ephemeral(dirs) {
		unlock, err := statedir.LockInstance(dirs, instance)
		if err != nil {
			continue
		}
		n, err := assemble(ctx, driver, dirs, instance, Config{Ephemeral: true, NoUplink: true, NetworkSlots: -1, Log: log, Progress: func(string) {}})
		if err == nil {
			err = n.Close(EndAll)
		}
		if err != nil {
			log.Warn("could not clean up after a crashed command", "instance", instance, "error", err)
		} else {
			// While the lock is held: it must not be taken in a directory that is being removed.
			os.RemoveAll(dirs.InstanceDir(instance))
		}
		unlock()
	}
}
