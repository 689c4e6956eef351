package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/telemetry"
	"github.com/rundlet/rundlet/vm"
)

// Node is a running node. Open assembles it and Close takes it apart. Its parts
// belong to it; the caller uses them until Close and closes none of them.
type Node struct {
	// Runtime creates, pauses, resumes and ends sandboxes. A server in front of the
	// node calls it, and so does a program that embeds one.
	Runtime *runtime.Runtime
	// Store is the database: sandboxes, snapshots, templates and API keys.
	Store *store.Store
	// Driver runs the machines under the sandboxes.
	Driver vm.Runtime
	// Network has a slot for each machine.
	Network *network.Network
	// Dirs are the directories in use; the state directory is under the path by which
	// its sandboxes are known.
	Dirs layout.Layout

	// closers run in reverse order.
	closers []func(context.Context) error
}

// Ending is the fate of the sandboxes when a node is closed.
type Ending int

const (
	// LeaveAll leaves sandboxes running, for the next Open of the state directory to
	// find. It is the one for a restart.
	LeaveAll Ending = iota
	// EndRunning ends the sandboxes that run and keeps those that are paused, and
	// snapshots.
	EndRunning
	// EndAll leaves nothing of the instance. It is the one for an ephemeral node.
	EndAll
)

// shutdownTimeout bounds the rest of the shutdown after the sandboxes have ended.
const shutdownTimeout = time.Minute

// Close takes the node apart and releases its locks. No call of its parts may be in
// progress. It goes on after an error, and returns all of them.
func (n *Node) Close(how Ending) error {
	var errs []error
	if n.Runtime != nil {
		ctx, cancel := context.WithTimeout(context.Background(), n.Runtime.EndTimeout())
		defer cancel()
		var err error
		switch how {
		case LeaveAll:
		case EndRunning:
			err = n.Runtime.EndRunning(ctx, "the daemon was shut down")
		case EndAll:
			err = n.Runtime.KillAll(ctx, "the daemon was shut down")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end sandboxes: %w", err))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for i := len(n.closers) - 1; i >= 0; i-- {
		if err := n.closers[i](ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// OnClose adds a function that Close calls when the sandboxes have ended, before
// those that were added earlier.
func (n *Node) OnClose(f func(context.Context) error) { n.closers = append(n.closers, f) }

// Agent returns a client of the agent in a running sandbox, which runs commands.
func (n *Node) Agent(sb sandbox.Sandbox) client.Agent {
	return client.Direct(func(ctx context.Context) (net.Conn, error) {
		return n.Runtime.Dial(ctx, sb.ID, envd.Port)
	}, sb.EnvdAccessToken)
}

// State returns the figures of the node for telemetry.Telemetry.RegisterState.
func (n *Node) State(ctx context.Context) (telemetry.State, error) { return state(ctx, n.Runtime) }
