// Package node assembles a running node out of a configuration: the locks of the
// state directory, the database, the network, the driver, the images and the runtime
// of sandboxes. "rundlet serve" and "rundlet run" are small programs around it, and
// any other Go program can embed one.
//
// It may import every package but the commands, the benchmark and the simulation;
// commands, the benchmark and programs that embed a node import it.
//
// # Embedding
//
// The example below is a whole program. Two things need care:
//
// The program carries two other programs, the agent of the guest and the processes of a
// sandbox, which this module must have been built with: run "make build" in this
// repository first, or "go run ./internal/embedded/build [arch ...]", which compiles them
// into agent/embedded and vm/gvisor/engine. Without them Open fails with an error that
// says so. The program must run as root, on Linux. Importing the package binds the main
// goroutine to the main thread.
//
// Sandboxes outlive the program unless Close is asked to end them. A node without
// Ephemeral owns its state directory: the next Open of it, in this process or in
// another, finds its sandboxes, snapshots and templates.
package node

import (
	"context"

	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/vm"
	_ "github.com/rundlet/rundlet/vm/drivers" // Registers the drivers of this build.
)

// Open opens a node and recovers the sandboxes that an earlier process left in its state directory.
// The caller ends it with Close. The errors are vm.ErrUnsupported where the host cannot
// run sandboxes, the program carries none, or the process is not root; an error that says
// which process has the state directory; and those of the parts, which may have a hint
// (see vm.Error).
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if cfg.Driver == "" {
		cfg.Driver = vm.AutoDriver
	}
	if _, err := vm.FindDriver(cfg.Driver, ""); err != nil {
		return nil, err // Before anything is made.
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	driver, err := statedir.Driver(ctx, cfg.Dirs, cfg.Driver)
	if err != nil {
		return nil, err
	}
	return open(ctx, driver, cfg)
}
