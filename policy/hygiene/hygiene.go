// Package hygiene decides which of this daemon's orphans on the host can be
// freed, and which log files are rotated. It is pure policy: what was found
// comes in with its age, decisions come out; the mechanisms that made a thing
// free it, after they verified what it is. It may import the standard library
// only; runtime and rotate may import it.
package hygiene

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Interval is how often the runtime looks.
const Interval = 300 * time.Second

// Kind is a kind of thing that the daemon makes on the host.
type Kind string

// The kinds, in the order in which orphans are freed: what uses others comes first.
const (
	KindProcess Kind = "process"
	KindNetNS   Kind = "netns"
)

var order = []Kind{KindProcess, KindNetNS}

// Object names one thing on the host.
type Object struct {
	Kind Kind
	// Name is the absolute path of a network namespace; for a process anything that identifies
	// it from a later one of the same number, such as its machine's id.
	Name string
}

// Found is a thing that a scan found.
type Found struct {
	Object
	// Instance is the daemon instance that made it, from its name or label; ""
	// if it does not say.
	Instance string
	// Owner is the sandbox, machine, build or slot that it was made for; "" if
	// it does not say.
	Owner string
	Age   time.Duration
}

// Owned is what is in use.
type Owned struct {
	// Instance is this daemon's.
	Instance string
	// Owners are the sandboxes, machines, builds and slots that live, those in
	// a transitional state and in the warm pool included.
	Owners map[string]bool
}

// Orphan is a thing to free.
type Orphan struct {
	Found
	Why string
}

// Orphans returns what can be freed, in the order in which to free it. That is what
// is known to be of this instance, is unused, and is at least minAge old: a
// younger one may be of a create whose row is not written. What does not say of which
// instance it is, or whose kind or path is not understood, is left alone.
//
// The plan is as old as the scan: the executor verifies that a process is still
// the one that was found before it ends it.
func Orphans(found []Found, owned Owned, minAge time.Duration) []Orphan {
	stays := map[Object]bool{}
	var free []Orphan
	for _, f := range found {
		if why := owned.orphaned(f, minAge); why != "" {
			free = append(free, Orphan{f, why})
		} else {
			stays[f.Object] = true
		}
	}
	free = slices.DeleteFunc(free, func(o Orphan) bool { return stays[o.Object] })
	slices.SortFunc(free, func(a, b Orphan) int {
		return cmp.Or(
			slices.Index(order, a.Kind)-slices.Index(order, b.Kind),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Owner, b.Owner),
			cmp.Compare(b.Age, a.Age),
		)
	})
	return free
}

// orphaned returns why f is an orphan, or "".
func (o Owned) orphaned(f Found, minAge time.Duration) string {
	switch {
	case o.Instance == "" || f.Instance != o.Instance,
		f.Age < max(minAge, 0),
		f.Name == "" || !slices.Contains(order, f.Kind),
		f.Kind == KindNetNS && !clean(f.Name),
		f.Owner != "" && o.Owners[f.Owner]:
		return ""
	case f.Owner == "":
		return "nothing that lives uses it"
	}
	return f.Owner + ", which it was made for, does not live"
}

// clean reports whether a path says by its text alone what it is.
func clean(path string) bool {
	if len(path) < 2 || path[0] != '/' {
		return false
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
