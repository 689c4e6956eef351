package network

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/tracked"
)

const (
	// The pause after a repair grows with each that follows soon, so that two
	// programs that undo each other's work do not keep the machine busy. The first
	// ones are short: what reloads a firewall often does it in several steps. The
	// longest costs a processor some percent, and what is lost is repaired within
	// two seconds all the same.
	firstPause = 100 * time.Millisecond
	mostPause  = 1600 * time.Millisecond
)

// repairs records what was lost and repaired, and decides when the next repair and
// the next report are due. Safe for concurrent use.
type repairs struct {
	onRepair func(Repair)

	mu     sync.Mutex
	counts map[string]uint64
	broken []string // What the last look found lost and did not repair.
	// last is the end of the last repair, and pause how long the next one waits
	// from then.
	last  time.Time
	pause time.Duration
	told  string // The last report, which is not repeated.
	by    string // The program that last changed the packet filter.
}

// wait is how long the next repair has to wait, if it is above zero.
func (r *repairs) wait(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.Add(r.pause).Sub(now)
}

// note takes in what a look found, and what became of it. It returns the report
// that is due, if one is.
func (r *repairs) note(now time.Time, lost []string, mended bool, err error) (report Repair, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(lost) == 0 && err == nil {
		if r.broken != nil {
			r.broken, r.told = nil, ""
		}
		return Repair{}, false
	}
	r.broken = nil
	if !mended || err != nil {
		r.broken = lost
		if lost == nil {
			r.broken = []string{LostUnknown}
		}
	}
	if mended {
		for _, what := range lost {
			if err == nil {
				r.count(what)
			}
		}
		if now.Sub(r.last) > 2*mostPause {
			r.pause, r.told = 0, ""
		}
		r.last, r.pause = now, min(max(firstPause, 2*r.pause), mostPause)
	}
	report = Repair{Lost: lost, Err: err}
	if slices.Contains(lost, LostHostRules) || slices.Contains(lost, LostRouterRules) {
		report.By = r.by
	}
	if r.pause == mostPause { // Another program undoes the repairs.
		report.Next = r.last.Add(r.pause).Sub(now)
	}
	key := fmt.Sprint(lost, err, report.Next > 0)
	due, r.told = key != r.told, key
	return report, due
}

func (r *repairs) count(what string) {
	if r.counts == nil {
		r.counts = map[string]uint64{}
	}
	r.counts[what]++
}

func (r *repairs) changedBy(program string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by = program
}

// report notes what a look found, and reports it if that is due.
func (r *repairs) report(lost []string, mended bool, err error) {
	if report, due := r.note(time.Now(), lost, mended, err); due {
		r.onRepair(report)
	}
}

// total counts the repaired losses by kind, of all Losses.
func (r *repairs) total() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]uint64{}
	for _, what := range Losses {
		out[what] = r.counts[what]
	}
	return out
}

// unrepaired returns what the last look found lost and did not repair.
func (r *repairs) unrepaired() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.broken)
}

// mendedRules is an enforcer whose changes survive the loss of the table that they
// are in: it is made anew at once, so that requests for a slot do not wait for the
// watcher.
type mendedRules struct {
	enforcer
	repairs  *repairs
	tracking *tracked.Flows
}

func (r *mendedRules) set(rules ...slotRule) error {
	return r.change(func() error { return r.enforcer.set(rules...) })
}

func (r *mendedRules) remove(ids ...string) error {
	return r.change(func() error { return r.enforcer.remove(ids...) })
}

func (r *mendedRules) change(change func() error) error {
	err := change()
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	was, e := r.enforcer.settle(true)
	if was {
		r.tracking.Suspect.Store(true) // The watcher looks at them.
		r.repairs.report([]string{LostRouterRules}, true, e)
	}
	if e != nil {
		return errors.Join(err, e)
	}
	return change()
}

// Repairs counts the repaired losses since Open, by kind: the map has all Losses.
func (n *Network) Repairs() map[string]uint64 { return n.repairs.total() }

// Broken returns the losses that are not repaired at present; nil if there are none.
// A loss lets guests reach nothing new. Broken does not block.
func (n *Network) Broken() []string { return n.repairs.unrepaired() }
