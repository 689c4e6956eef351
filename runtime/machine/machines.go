// Package machine makes the machine of one sandbox and tears it down: it takes a
// network slot, restores or boots, delivers the guest's identity, asks the agent,
// freezes, continues and destroys. It knows neither rows nor states; the caller
// keeps the resources of a machine, and frees them. It may import envd, sandbox, policy,
// host, vm and the parts of the runtime below it: step, background and claim.
package machine

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Verifier checks the files that a machine is restored from: *claim.Claims.
type Verifier interface {
	Whole(ctx context.Context, from claim.Origin) error
	StillWhole(ctx context.Context, from claim.Origin) error
}

// Config holds the dependencies and settings of Machines.
type Config struct {
	Driver  vm.Runtime
	Network Network
	Claims  Verifier
	Steps   *step.Recorder
	Tokens  Tokens
	// ScratchDir has a mark for each machine that is not a sandbox yet; see Mark. It
	// may be empty: then no machine is known to be one.
	ScratchDir string
	// Authority is the certificate, in PEM, of the one that signs for hosts whose requests get headers; empty: there are
	// no such sandboxes.
	Authority string
	Log       *slog.Logger
}

// Machines makes machines by one driver. Safe for concurrent use.
type Machines struct {
	cfg     Config
	dialer  vm.Dialer
	weights *weights
}

// New returns Machines; sandbox.ErrUnsupported if the driver cannot dial a guest.
func New(cfg Config) (*Machines, error) {
	dialer, ok := cfg.Driver.(vm.Dialer)
	if !ok {
		return nil, fmt.Errorf("driver %s cannot dial a guest: %w", cfg.Driver.Info().Driver, sandbox.ErrUnsupported)
	}
	return &Machines{cfg: cfg, dialer: dialer, weights: newWeights(cfg.Driver, cfg.Log)}, nil
}

// Agent returns a function that opens a connection to a guest's agent.
func (m *Machines) Agent(id string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return m.dialer.Dial(ctx, id, envd.Port) }
}
