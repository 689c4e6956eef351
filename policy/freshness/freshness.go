// Package freshness is the policy by which a sandbox restored from an older
// template brings its checkout up to date before anything writes to it: the
// request in the sandbox's metadata, the gate, and the git commands as data.
// It is pure and may import sandbox; runtime may import it.
//
// Nothing here runs a command or blocks a write: runtime/refresh runs Request.Commands in the sandbox and moves the
// Gate, and the data plane refuses writes while it is closed.
package freshness

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/rundlet/rundlet/sandbox"
)

// Phase is where a restored sandbox is on its way to a fresh checkout.
type Phase = sandbox.FreshnessPhase

// The phases.
const (
	Restored = sandbox.FreshnessRestored
	Syncing  = sandbox.FreshnessSyncing
	Ready    = sandbox.FreshnessReady
	Failed   = sandbox.FreshnessFailed
)

// ErrPhase is a move that the phase does not allow.
var ErrPhase = errors.New("invalid freshness transition")

// Gate says whether a sandbox is up to date: clients may read in each phase, and write in Ready only (see sandbox.Freshness). It is a
// value: a move returns the gate after it. The zero Gate allows no move.
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

// shown is what a terminal can be given of a character: a reason may have been written by a guest.
func shown(c rune) rune {
	switch {
	case unicode.IsSpace(c):
		return ' '
	case !unicode.IsPrint(c):
		return -1
	}
	return c
}

// Fail keeps the gate closed, with the reason.
func (g Gate) Fail(reason string) (Gate, error) {
	reason = strings.TrimSpace(strings.Map(shown, strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")))
	if reason == "" {
		reason = "no reason was given"
	}
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
