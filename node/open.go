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
// The example below is a whole program. Three things need care:
//
// Init must be the first statement of main. The driver that needs nothing installed,
// gVisor, runs the sandbox as a process of the same program: it starts the program
// again under another name, and Init turns that process into the sandbox. Nothing may
// come before it, flag parsing included. Without it Open returns ErrNotInitialized
// before it touches anything; it never starts the program again in a loop. Tests that
// open a node call Init first in TestMain.
//
// The program must be built with CGO_ENABLED=0, with the agent of the guest in it:
// run "make build" in this repository first, which compiles the agent into
// agent/embedded. It must run as root, on Linux.
//
// Sandboxes outlive the program unless Close is asked to end them. A node without
// Ephemeral owns its state directory: the next Open of it, in this process or in
// another, finds its sandboxes, snapshots and templates.
package node

import (
	"context"
	"errors"
	"os"
	"sync/atomic"

	"github.com/rundlet/rundlet/vm"
	_ "github.com/rundlet/rundlet/vm/drivers" // Registers the drivers of this build.
)

var initialized atomic.Bool

// ErrNotInitialized is returned by Open in a program that has not called Init.
var ErrNotInitialized = errors.New("node.Init must be the first statement of main: " +
	"the sandboxes that this program starts are processes of the same program, and would run main again")

// Init must be the first statement of main in a program that opens a node. If a
// driver started this process as a part of a sandbox, it becomes that and Init does
// not return; otherwise Init returns at once.
func Init() {
	if vm.Dispatch() {
		os.Exit(0)
	}
	initialized.Store(true)
}

// Open opens a node and recovers the sandboxes that an earlier process left in its state directory.
// The caller ends it with Close. The errors are ErrNotInitialized; vm.ErrUnsupported
// where the host cannot run sandboxes, or the process is not root; an error that says
// which process has the state directory; and those of the parts, which may have a hint
// (see vm.Error).
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if !initialized.Load() {
		return nil, ErrNotInitialized
	}
	if cfg.Driver == "" {
		cfg.Driver = vm.AutoDriver
	}
	driver, err := vm.FindDriver(cfg.Driver)
	if err != nil {
		return nil, err
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return open(ctx, driver, cfg)
}
