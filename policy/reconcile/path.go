package reconcile

import (
	"errors"
	"fmt"
	"github.com/rundlet/rundlet/sandbox"
	"slices"
	"strings"
	"sync"
)

// Kind is what a record is about.
type Kind string

// The kinds of record.
const (
	// KindSandbox is a row of the store.
	KindSandbox Kind = "sandbox"
	// KindOrphan is a machine without an owner: its maker marked it so.
	KindOrphan Kind = "orphan"
	// KindUnclaimed is a machine without a record. Its row may be in a
	// database that is not this one.
	KindUnclaimed Kind = "unclaimed"
)

// Record is one decision of a plan, and what it is about.
type Record struct {
	Kind Kind
	ID   string
	Decision
}

// Sandbox decides about the sandbox of a row. A row without an id is
// quarantined: it names nothing that could be acted on.
func Sandbox(id string, row Row, machine Machine, network bool) Record {
	if id == "" {
		next := row.State
		if next.Transitional() {
			next = sandbox.StatePaused
		}
		return Record{KindSandbox, id, quarantine(next, "its row has no id")}
	}
	return Record{KindSandbox, id, Decide(row, machine, network)}
}

// Found decides about something of the host that no row is about: what is known to
// be an orphan is freed, and anything else is quarantined, as is what has no id.
func Found(kind Kind, id string) Record {
	d := Decision{Action: Free}
	switch kind {
	case KindOrphan:
		d.Reason = "it is an orphan"
	case KindUnclaimed:
		d = Decision{Action: Quarantine, Reason: "no row is about it"}
	default:
		d = Decision{Action: Quarantine, Reason: fmt.Sprintf("its kind %.40q is unknown", kind)}
	}
	if id == "" {
		d = Decision{Action: Quarantine, Reason: "it has no id"}
	}
	return Record{kind, id, d}
}

// Order returns the records in the order in which they are applied: recover,
// then clean up, then quarantine; within each as they came.
func Order(records []Record) []Record {
	out := slices.Clone(records)
	slices.SortStableFunc(out, func(a, b Record) int { return rank(a) - rank(b) })
	return out
}

func rank(r Record) int {
	return slices.Index([]Class{ClassRecover, ClassCleanup, ClassQuarantine}, r.Action.Class())
}

// ApplyError names the record that could not be applied.
type ApplyError struct {
	Record Record
	Err    error
}

func (e *ApplyError) Error() string {
	return fmt.Sprintf("%s %s %.80q: %v", strings.ReplaceAll(string(e.Record.Action), "_", " "), e.Record.Kind, e.Record.ID, e.Err)
}

// Unwrap returns the executor's error.
func (e *ApplyError) Unwrap() error { return e.Err }

// Report counts the applied records.
type Report struct {
	Recovered, CleanedUp, Quarantined, Failed int
}

// Apply applies the plan, in the order of Order, whatever its own: the records
// of one class at once, at most atOnce of them at a time, and those of the next
// when all of them had their turn. A record that fails does not hold up the
// others, since one sandbox that cannot be ended must not keep a hundred from
// being recovered: it is counted, and Apply returns an *ApplyError for each,
// joined in order. A plan can be applied again.
func Apply(plan []Record, atOnce int, executor func(Record) error) (Report, error) {
	var report Report
	var failures []error
	for rest := Order(plan); len(rest) > 0; {
		class := rest[0].Action.Class()
		n := slices.IndexFunc(rest, func(r Record) bool { return r.Action.Class() != class })
		if n < 0 {
			n = len(rest)
		}
		for i, err := range each(rest[:n], atOnce, executor) {
			if err != nil {
				report.Failed++
				failures = append(failures, &ApplyError{rest[i], err})
				continue
			}
			switch class {
			case ClassRecover:
				report.Recovered++
			case ClassCleanup:
				report.CleanedUp++
			default:
				report.Quarantined++
			}
		}
		rest = rest[n:]
	}
	return report, errors.Join(failures...)
}

// each calls the executor for every record and returns the errors by index.
func each(records []Record, atOnce int, executor func(Record) error) []error {
	errs := make([]error, len(records))
	turn := make(chan struct{}, max(atOnce, 1))
	var all sync.WaitGroup
	for i, r := range records {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			errs[i] = executor(r)
		})
	}
	all.Wait()
	return errs
}
