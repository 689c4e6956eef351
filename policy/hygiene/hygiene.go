// Package hygiene decides what of this daemon's leavings on the host can be
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

// The kinds, in the order in which orphans are freed: what holds others comes
// first.
const (
	KindProcess  Kind = "process"
	KindMount    Kind = "mount"
	KindNetNS    Kind = "netns"
	KindLink     Kind = "link"
	KindNftTable Kind = "nft_table"
	KindCgroup   Kind = "cgroup"
	KindFile     Kind = "file" // A file, or a directory with all that is in it.
)

var order = []Kind{KindProcess, KindMount, KindNetNS, KindLink, KindNftTable, KindCgroup, KindFile}

// Object names one thing on the host.
type Object struct {
	Kind Kind
	// Name is the absolute path of a mount, network namespace, control group or
	// file; the name of a link or table; for a process whatever tells it from a
	// later one of the same number, such as number and start time.
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
	// Objects are things in use whose owner cannot be told from their name.
	Objects []Object
}

// Orphan is a thing to free.
type Orphan struct {
	Found
	Why string
}

// Orphans returns what can be freed, in the order in which to free it, the
// innermost first. That is what is known to be of this instance, is in use by
// nobody, is at least minAge old (a younger one may be of a create whose row is
// not written), and holds nothing that has to stay: a directory with a live
// mount in it is not freed. What is inside something that stays belongs to it,
// unless it names an owner of its own. What does not say of which instance it
// is, or whose kind or path is not understood, is left alone.
//
// The plan is as old as the scan: the executor verifies that a process is still
// the one that was found before it ends it.
func Orphans(found []Found, owned Owned, minAge time.Duration) []Orphan {
	stays := slices.Clone(owned.Objects)
	var free []Orphan
	for _, f := range found {
		if why := owned.orphaned(f, minAge); why != "" {
			free = append(free, Orphan{f, why})
		} else {
			stays = append(stays, f.Object)
		}
	}
	free = slices.DeleteFunc(free, func(o Orphan) bool {
		return slices.ContainsFunc(stays, func(s Object) bool {
			return o.holds(s) || o.Owner == "" && s.holds(o.Object)
		})
	})
	slices.SortFunc(free, func(a, b Orphan) int {
		return cmp.Or(
			slices.Index(order, a.Kind)-slices.Index(order, b.Kind),
			b.depth()-a.depth(),
			cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Owner, b.Owner),
			cmp.Compare(b.Age, a.Age),
		)
	})
	return free
}

// orphaned says why f is in use by nobody, or "".
func (o Owned) orphaned(f Found, minAge time.Duration) string {
	switch {
	case o.Instance == "" || f.Instance != o.Instance,
		f.Age < max(minAge, 0),
		f.Name == "" || !slices.Contains(order, f.Kind),
		f.paths() && !clean(f.Name),
		slices.Contains(o.Objects, f.Object),
		f.Owner != "" && o.Owners[f.Owner]:
		return ""
	case f.Owner == "":
		return "nothing that lives uses it"
	}
	return f.Owner + ", which it was made for, does not live"
}

// holds reports whether freeing o would touch s: they are the same, or s is
// inside it. Mounts, namespaces and files share one tree of paths.
func (o Object) holds(s Object) bool {
	if o == s {
		return true
	}
	if !o.paths() || !s.paths() || (o.Kind == KindCgroup) != (s.Kind == KindCgroup) {
		return false
	}
	return s.Name == o.Name || strings.HasPrefix(s.Name, o.Name+"/")
}

func (o Object) paths() bool {
	switch o.Kind {
	case KindMount, KindNetNS, KindCgroup, KindFile:
		return true
	}
	return false
}

func (o Object) depth() int {
	if !o.paths() {
		return 0
	}
	return strings.Count(o.Name, "/")
}

// clean reports whether a path says by its text alone what is inside it.
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
