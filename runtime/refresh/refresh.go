// Package refresh brings the checkout of a repository in a sandbox up to date, and moves the gate by which the data plane
// lets clients write: it runs the commands of policy/freshness in the guest, in the background, and writes each phase to
// the row before anything depends on it. A sync that a pause, a fork or the end of the daemon breaks off is begun again.
package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// DefaultTimeout bounds a sync, from its first command to its last.
const DefaultTimeout = 5 * time.Minute

// mostAttempts bounds how often a sync is begun whose connection to the guest broke, with the pauses between them.
const mostAttempts = 8

var attemptPauses = retry.Pauses{First: 20 * time.Millisecond, Most: 5 * time.Second}

// Guest is what a Refresher does in guests; *machine.Machines.
type Guest interface {
	Run(ctx context.Context, id string, c machine.Command) error
	Kill(ctx context.Context, id, tag string) error
}

// Config holds the dependencies and settings of a Refresher. All fields are required.
type Config struct {
	Live       *live.Set
	Rows       *rows.Writer
	Guest      Guest
	Steps      *step.Recorder
	Background *background.Group
	// Timeout bounds a sync.
	Timeout time.Duration
	Log     *slog.Logger
}

// Refresher moves the gates of sandboxes. Safe for concurrent use.
type Refresher struct {
	cfg  Config
	life context.Context
}

// New returns a Refresher.
func New(cfg Config) *Refresher { return &Refresher{cfg: cfg, life: cfg.Background.Context()} }

// errOver means that the sandbox has not the machine any more that a sync was in.
var errOver = errors.New("the sandbox was paused or killed")

// Begin begins the sync that a sandbox waits for, if it does, in the machine that it has. The caller has sb.Life.
func (r *Refresher) Begin(sb *live.Sandbox) {
	row, run, _ := sb.Look()
	if f := row.Freshness; f.Decided() || f.Checkout == "" {
		return
	}
	sb.Syncs.Start(r.life, run, r.cfg.Background.Go, func(ctx context.Context) { r.sync(ctx, sb, run) })
}

// sync does one sync to its end. ctx ends it; a kill does, too. A phase that cannot be written is tried again for as long as the
// sandbox has this machine: nothing else would move the gate.
func (r *Refresher) sync(ctx context.Context, sb *live.Sandbox, run int) {
	begin := time.Now()
	again := sb.Row().Freshness.Phase == freshness.Syncing // Something of a sync may be left in the guest.
	if !again {
		if err := r.move(ctx, sb, run, freshness.Gate.Begin); err != nil {
			r.unwritten(ctx, sb, err)
			return
		}
	}
	err := r.cfg.Steps.At(step.SyncBegun)
	if err == nil {
		err = r.attempts(ctx, sb, run, again)
	}
	switch {
	case errors.Is(err, errOver), ctx.Err() != nil:
		return // Whatever ended it decides what comes next.
	case err == nil:
		if err = r.cfg.Steps.At(step.SyncDone); err == nil {
			err = r.move(ctx, sb, run, freshness.Gate.Complete)
		}
	default:
		reason := err.Error()
		r.cfg.Log.Warn("the checkout of a sandbox could not be brought up to date", "sandbox_id", sb.ID, "error", err)
		r.unwritten(ctx, sb, r.move(ctx, sb, run, func(g freshness.Gate) (freshness.Gate, error) { return g.Fail(reason) }))
		return
	}
	if err != nil {
		r.unwritten(ctx, sb, err)
		return
	}
	r.cfg.Steps.Latency.Record(latency.FreshnessSync, time.Since(begin))
	r.cfg.Log.Info("checkout is up to date", "sandbox_id", sb.ID)
	_ = r.cfg.Steps.At(step.SyncOutcome)
}

// unwritten reports that the outcome of a sync is not in the row. Its gate stays closed.
func (r *Refresher) unwritten(ctx context.Context, sb *live.Sandbox, err error) {
	if err != nil && !errors.Is(err, errOver) && ctx.Err() == nil {
		r.cfg.Log.Error("could not record a sync", "sandbox_id", sb.ID, "error", err)
	}
}

// attempts runs the commands of a sync, again if the connection broke and the sandbox runs on. Its error is the reason why the
// sync failed, or errOver.
func (r *Refresher) attempts(ctx context.Context, sb *live.Sandbox, run int, again bool) error {
	in, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, fmt.Errorf("it took more than %s", r.cfg.Timeout))
	defer cancel()
	pauses := attemptPauses.New()
	for attempt := 1; ; attempt++ {
		err := r.commands(in, sb.ID, sb.Row().Freshness, again)
		exit := new(machine.ExitError)
		switch {
		case ctx.Err() != nil:
			return errOver
		case in.Err() != nil:
			return errors.Join(context.Cause(in), r.stopGuest(ctx, sb.ID))
		case err == nil, errors.As(err, &exit), refused(err), attempt == mostAttempts:
			return err
		}
		select {
		case <-time.After(pauses.NextBackOff()):
		case <-in.Done():
			continue // It says why.
		}
		// The connection may have broken for a pause or a snapshot that is under way.
		if err := sb.LockSettled(in); err != nil {
			return err
		}
		row, now, condemned := sb.Look()
		sb.Life.Unlock()
		if condemned || now != run || row.State != sandbox.StateRunning {
			return errOver
		}
		again = true
	}
}

// refused reports an error by which an agent says that it does not run a command.
func refused(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeResourceExhausted:
		return true
	}
	return false
}

// outcomes are the pauses between attempts to write a phase.
var outcomes = retry.Pauses{First: 100 * time.Millisecond, Most: 5 * time.Second}

// move changes the gate of a sandbox that still has the machine run, in the row first.
func (r *Refresher) move(ctx context.Context, sb *live.Sandbox, run int, change func(freshness.Gate) (freshness.Gate, error)) error {
	return outcomes.Do(ctx, func() error {
		if err := sb.Life.Lock(ctx); err != nil {
			return retry.Stop(err)
		}
		defer sb.Life.Unlock()
		if _, now, condemned := sb.Look(); condemned || now != run {
			return retry.Stop(errOver)
		}
		err := r.put(ctx, sb, change)
		if errors.Is(err, freshness.ErrPhase) || errors.Is(err, store.ErrStale) {
			err = retry.Stop(err)
		}
		return err
	}, nil)
}

// put changes the gate of a sandbox, in the row first. The caller has sb.Life.
func (r *Refresher) put(ctx context.Context, sb *live.Sandbox, change func(freshness.Gate) (freshness.Gate, error)) error {
	row := sb.Row()
	gate, err := change(freshness.Gate{Phase: row.Freshness.Phase, Reason: row.Freshness.Reason})
	if err != nil {
		return err
	}
	row.Freshness.Phase, row.Freshness.Reason = gate.Phase, gate.Reason
	if err := r.cfg.Rows.Put(ctx, sb, &row); err != nil {
		return err
	}
	sb.Update(func(now *store.Sandbox) { now.Freshness = row.Freshness })
	return nil
}
