// Package freshness is the policy by which a sandbox restored from an older
// template brings its checkout up to date before anything writes to it: the
// request in the sandbox's metadata, the gate, and the git commands as data.
// It is pure and imports the standard library only; runtime may import it.
//
// It has no caller yet: it waits for templates that are built from a repository.
//
// Nothing here runs a command or blocks a write. A runtime that uses it carries
// out Request.Commands in the sandbox, moves the Gate, asks the Gate before it
// lets a write through, and records the time as the sample freshness_sync.
package freshness

import (
	"errors"
	"fmt"
	"strings"
)

// Phase is where a restored sandbox is on its way to a fresh checkout.
type Phase string

// The phases. The spelling is stored and shown.
const (
	Restored Phase = "restored"
	Syncing  Phase = "syncing"
	Ready    Phase = "ready"
	Failed   Phase = "failed"
)

// ErrNotReady: writes wait for the sync, or are blocked since it failed.
var ErrNotReady = errors.New("the checkout is not up to date")

// ErrPhase is a move that the phase does not allow.
var ErrPhase = errors.New("invalid freshness transition")

// Gate says what a sandbox allows. It is a value: a move returns the gate after
// it. The zero Gate lets nothing be written.
//
//	Restored ── Begin ──▶ Syncing ── Complete ──▶ Ready
//	    │ └──────── Complete, by hand ─────────────▲
//	    └─ Fail ─▶ Failed ◀── Fail ── Syncing      │
//	                  └── Begin: try again, or Complete by hand
type Gate struct {
	Phase Phase `json:"phase"`
	// Reason is why the sync failed; "" in every other phase.
	Reason string `json:"reason,omitempty"`
}

// NewGate returns the gate of a sandbox that was just restored: closed for
// writes if a sync was asked for, else ready.
func NewGate(r Request) Gate {
	if r.Gated() {
		return Gate{Phase: Restored}
	}
	return Gate{Phase: Ready}
}

// Begin starts the sync, or starts it again after it failed.
func (g Gate) Begin() (Gate, error) {
	return g.move(Syncing, "", Restored, Failed)
}

// Complete opens the gate: the sync succeeded, or a person says that the
// checkout is good as it is.
func (g Gate) Complete() (Gate, error) {
	return g.move(Ready, "", Restored, Syncing, Failed)
}

// maxReason bounds a reason, which may quote what git wrote.
const maxReason = 500

// Fail keeps the gate closed, with the reason.
func (g Gate) Fail(reason string) (Gate, error) {
	if reason == "" {
		reason = "no reason was given"
	}
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	return g.move(Failed, reason, Restored, Syncing)
}

func (g Gate) move(to Phase, reason string, from ...Phase) (Gate, error) {
	for _, p := range from {
		if g.Phase == p {
			return Gate{to, reason}, nil
		}
	}
	return g, fmt.Errorf("%w: from %.40q to %s", ErrPhase, g.Phase, to)
}

// AllowRead is always nil: what a snapshot holds can be read in every phase.
func (g Gate) AllowRead() error { return nil }

// AllowWrite is nil in phase Ready only, else an ErrNotReady that says why.
func (g Gate) AllowWrite() error {
	switch g.Phase {
	case Ready:
		return nil
	case Failed:
		return fmt.Errorf("%w: its sync failed: %q", ErrNotReady, g.Reason)
	}
	return fmt.Errorf("%w: its sync has not finished", ErrNotReady)
}
