package e2e

import (
	"fmt"
	"maps"
	"slices"
)

// ledger is what a client was promised, and at which position of the disk.
type ledger struct {
	promises map[string][]promise // by id, in the order of their positions
}

// promise holds from a position on, until the next one about the same id.
type promise struct {
	from int
	kept kept
	// content is what the sandbox's file says.
	content string
}

// kept is what must be found of something after a power cut.
type kept int

const (
	keptNothing      kept = iota // a request is under way, or the sandbox runs and goes with the power
	keptPaused                   // the sandbox is paused and can be resumed
	keptPausedOrRuns             // as paused, but for a request to resume it that is under way
	keptSaved                    // the snapshot or continuation is there
	keptGone                     // it was deleted
	keptBackup                   // the file is there and whole; content lists the paused sandboxes in it
)

func newLedger() *ledger { return &ledger{promises: map[string][]promise{}} }

func (l *ledger) promise(id string, p promise) { l.promises[id] = append(l.promises[id], p) }

// at returns what holds at a position.
func (l *ledger) at(position int) map[string]promise {
	out := map[string]promise{}
	for id, all := range l.promises {
		for _, p := range all {
			if p.from <= position {
				out[id] = p
			}
		}
	}
	return out
}

// turns are the positions from which something else holds.
func (l *ledger) turns() []int {
	var out []int
	for _, all := range l.promises {
		for _, p := range all {
			out = append(out, p.from)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// pausedAt lists the sandboxes that can be resumed at a position.
func (l *ledger) pausedAt(position int) []string {
	var out []string
	at := l.at(position)
	for _, id := range slices.Sorted(maps.Keys(at)) {
		if at[id].kept == keptPaused {
			out = append(out, id)
		}
	}
	return out
}

// verdict is what a cut did to what was promised.
type verdict struct {
	lost, risen, broken []string
}

func (v *verdict) lose(id, format string, args ...any) {
	v.lost = append(v.lost, id+": "+fmt.Sprintf(format, args...))
}

// endsWithThePower are the states, "" for none, of which nothing comes back: the
// next server finds no machine, and no row of a snapshot to resume from.
var endsWithThePower = []string{"", "creating", "running", "killing", "killed"}

// judge compares the promises at a position with what is on the disk.
func (l *ledger) judge(position int, found *remains) verdict {
	v := verdict{broken: found.broken()}
	at := l.at(position)
	for _, id := range slices.Sorted(maps.Keys(at)) {
		switch p := at[id]; p.kept {
		case keptPaused, keptPausedOrRuns:
			state := found.sandboxes[id].state
			could := p.kept == keptPausedOrRuns && slices.Contains([]string{"resuming", "running"}, state)
			if state != "paused" && !could {
				v.lose(id, "acknowledged as paused, is %q", state)
			} else if state != "running" {
				if err := found.whole(found.sandboxes[id].claim); err != nil {
					v.lose(id, "acknowledged as paused, and %v", err)
				}
			}
		case keptSaved:
			if err := found.whole(id); err != nil {
				v.lose(id, "acknowledged as saved, and %v", err)
			}
		case keptBackup:
			if err := found.backup(id, p.content); err != nil {
				v.lose(id, "acknowledged as backed up, and %v", err)
			}
		case keptGone:
			if state := found.sandboxes[id].state; !slices.Contains(endsWithThePower, state) {
				v.risen = append(v.risen, fmt.Sprintf("%s: acknowledged as killed, is %q", id, state))
			}
			if claim, there := found.claims[id]; there {
				v.risen = append(v.risen, fmt.Sprintf("%s: acknowledged as deleted, is %q", id, claim.state))
			}
		}
	}
	return v
}
